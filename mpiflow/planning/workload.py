"""What there is to place: tasks with the estimates in force, and what is claimed already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from mpiflow.planning.machine import Machine
from mpiflow.planning.progress import UNCLAIMED, Expectations, Holders, Progress
from mpiflow.planning.tasks import TaskGraph


@dataclass(frozen=True)
class Workload:
    """Tasks and the machine that they are to run on.

    Attributes:
        graph: The tasks.
        machine: The ranks.
        estimates: Run times and sizes in force.
        claimed: Rank of each claimed task, -1 of an open one.
        ends: When each claimed task ends [s].
        copies: For each block made already, the ranks that have it.
        holders: For replicated blocks that earlier plans have seen to, the ranks that hold them.
    """

    graph: TaskGraph
    machine: Machine
    estimates: Expectations
    claimed: Sequence[int]
    ends: Sequence[float]
    copies: dict[int, tuple[int, ...]] = field(default_factory=dict)
    holders: Holders = field(default_factory=dict)

    @cached_property
    def open(self) -> list[int]:
        """The tasks to be placed, ascending."""
        return [number for number, rank in enumerate(self.claimed) if rank == UNCLAIMED]

    @cached_property
    def pins(self) -> list[tuple[int, ...] | None]:
        """The ranks that each task may run on; None for any."""
        return [task.ranks for task in self.graph.tasks]

    @cached_property
    def given(self) -> list[int]:
        """The blocks of claimed tasks that open tasks need, ascending."""
        if len(self.open) == len(self.claimed):
            return []
        return sorted({needed for number in self.open for needed in self.graph.needs[number]
                       if self.claimed[needed] != UNCLAIMED})

    @cached_property
    def free(self) -> list[float]:
        """When each rank has ended its claimed tasks [s]."""
        free = [0.0] * self.machine.size
        if self.given or len(self.open) < len(self.claimed):
            for rank, end in zip(self.claimed, self.ends, strict=True):
                if rank != UNCLAIMED:
                    free[rank] = max(free[rank], end)
        return free

    def origins(self, block: int) -> tuple[int, ...]:
        """The ranks that have or will have the block of a claimed task."""
        return self.copies.get(block) or (self.claimed[block],)

    def made(self, block: int) -> float:
        """When the block of a claimed task exists [s]."""
        return 0.0 if self.copies.get(block) else self.ends[block]


def workload(graph: TaskGraph, machine: Machine, progress: Progress | None = None, seconds: Sequence[float] | None = None,
             nbytes: Sequence[int] | None = None) -> Workload:
    """Choose the estimates: those of the progress, else those given, else those that the tasks declare."""
    if progress is not None:
        estimates = Expectations(tuple(progress.seconds), tuple(progress.nbytes))
        return Workload(graph, machine, estimates, progress.ranks, progress.ends, dict(progress.copies),
                        progress.holders)
    estimates = Expectations(tuple([task.seconds for task in graph.tasks] if seconds is None else seconds),
                          tuple([task.nbytes for task in graph.tasks] if nbytes is None else nbytes))
    return Workload(graph, machine, estimates, [UNCLAIMED] * len(graph.tasks), ())

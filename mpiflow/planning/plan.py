"""The plan: placement and transfers, with a digest by which ranks check that they agree."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from mpiflow.planning.machine import Machine
from mpiflow.planning.placement import Placement, place
from mpiflow.planning.progress import Expectations, Holders, Progress
from mpiflow.planning.replicas import replicate
from mpiflow.planning.routes import Route
from mpiflow.planning.tasks import TaskGraph
from mpiflow.planning.teams import side_by_side
from mpiflow.planning.timeline import in_order
from mpiflow.planning.workload import Workload, workload


@dataclass(frozen=True)
class Plan:
    """What runs where, and what moves.

    Attributes:
        graph: The tasks.
        ranks: Rank of each task.
        order: Tasks in order of expected start; the parts of a parallel operation stand side by side.
        starts: Expected start of each task [s]; 0.0 of one that was claimed before.
        estimates: Run times [s] and sizes [bytes] that the plan rests on.
        routes: For each block its (source, destination) edges: from the producer, or from a rank with a copy, to
            ranks that pass it on to their children. Each rank that needs the block, or holds it for the case that others
            die, is a destination once.
        seconds: Expected makespan [s].
        digest: Hash of all this and the machine.
        holders: For each replicated block, the ranks that hold it beyond its last use there, ascending; none if it is given up.
    """

    graph: TaskGraph
    ranks: tuple[int, ...]
    order: tuple[int, ...]
    starts: tuple[float, ...] = field(repr=False)
    estimates: Expectations = field(repr=False)
    routes: tuple[Route, ...] = field(repr=False)
    seconds: float
    digest: str
    holders: Holders = field(default_factory=dict)

    @cached_property
    def destinations(self) -> tuple[tuple[int, ...], ...]:
        """Ranks that each task's block is sent to, ascending: each once."""
        return tuple([tuple(sorted([rank for _, rank in route])) if route else () for route in self.routes])

    @cached_property
    def links(self) -> dict[tuple[int, int], tuple[int, int]]:
        """Blocks and bytes that each (source, destination) pair of ranks carries, ascending."""
        links: dict[tuple[int, int], tuple[int, int]] = {}
        for route, nbytes in zip(self.routes, self.estimates.nbytes, strict=True):
            for edge in route:
                blocks, total = links.get(edge, (0, 0))
                links[edge] = (blocks + 1, total + nbytes)
        return dict(sorted(links.items()))

    @cached_property
    def nbytes(self) -> int:
        """Expected bytes moved between ranks."""
        return sum(nbytes for _, nbytes in self.links.values())

    @cached_property
    def replicas(self) -> tuple[int, int]:
        """How often blocks go to ranks that do not read but only hold them, and expected bytes."""
        num = total = 0
        for block in self.holders:
            readers = {self.ranks[number] for number in self.graph.consumers[block]}
            only = len(set(self.destinations[block]) - readers)
            num += only
            total += only * self.estimates.nbytes[block]
        return num, total

    @cached_property
    def held(self) -> tuple[int, int]:
        """How many copies of replicated blocks are held, and expected bytes."""
        copies = [self.estimates.nbytes[block] for block, ranks in self.holders.items() for _ in ranks]
        return len(copies), sum(copies)


def make_plan(graph: TaskGraph, machine: Machine, progress: Progress | None = None,
              seconds: Sequence[float] | None = None, nbytes: Sequence[int] | None = None) -> Plan:
    """Plan ``graph`` on ``machine``. Pure: equal arguments give equal plans, on every rank.

    Args:
        graph: The tasks.
        machine: The ranks.
        progress: What is running or done already: only the other tasks are placed, and all times count from now.
        seconds: Run times [s] that replace those the tasks declare; a progress has its own.
        nbytes: Sizes of blocks [bytes], likewise.

    Raises:
        PlanningError: A task needs more memory than any rank has.
    """
    work = workload(graph, machine, progress, seconds, nbytes)
    placement, holders = replicate(work, place(work))
    order = tuple(side_by_side(in_order(placement.starts, work.estimates.seconds), graph))
    digest = _digest(work, placement, order, holders)
    return Plan(graph, placement.ranks, order, placement.starts, work.estimates, placement.routes, placement.seconds, digest,
                holders)


def _digest(work: Workload, placement: Placement, order: Sequence[int], holders: Holders) -> str:
    """Hash few long byte strings; of the same content on every kind of machine."""
    tasks = work.graph.tasks
    text = hashlib.blake2b(repr((work.machine, sorted(work.graph.datasets.items()))).encode(), digest_size=16)
    text.update("".join([task.id for task in tasks]).encode())
    text.update(np.array(work.estimates.seconds, dtype="<f8").tobytes())
    text.update(repr((work.estimates.nbytes, work.pins)).encode())
    text.update(np.array([placement.ranks, order], dtype="<i4").tobytes())
    text.update(repr([(block, route) for block, route in enumerate(placement.routes) if route]).encode())
    text.update(repr(sorted(holders.items())).encode())
    return text.hexdigest()

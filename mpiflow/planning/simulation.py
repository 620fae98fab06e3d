"""Simulation of a plan on a machine: what would happen, event by event, if every estimate were right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from mpiflow.planning.machine import Machine
from mpiflow.planning.plan import Plan
from mpiflow.planning.progress import Progress
from mpiflow.planning.timeline import Transfer, memory_peaks, run
from mpiflow.planning.workload import workload


class Event(NamedTuple):
    """Something that happens: a task starts or ends, a block leaves or arrives; ``other`` is the rank at the far end."""

    seconds: float
    what: str
    task: int
    rank: int
    other: int = -1


@dataclass(frozen=True)
class Simulation:
    """What happens to a plan.

    Attributes:
        seconds: When the last task ends [s].
        busy: How long each rank runs tasks [s].
        memory: The most that the blocks on each rank take at one time [bytes].
        starts: When each task starts [s]; 0.0 of one claimed before.
        transfers: What moves, in order of its start.
        ranks: Rank of each task.
        ends: When each task ends [s].
    """

    seconds: float
    busy: tuple[float, ...]
    memory: tuple[int, ...]
    starts: tuple[float, ...]
    transfers: tuple[Transfer, ...]
    ranks: tuple[int, ...]
    ends: tuple[float, ...]

    def events(self) -> list[Event]:
        """Everything that happens, in order of time."""
        found = [Event(start, "start", task, rank)
                 for task, (start, rank) in enumerate(zip(self.starts, self.ranks, strict=True))]
        found += [Event(end, "end", task, rank) for task, (end, rank) in enumerate(zip(self.ends, self.ranks, strict=True))]
        found += [Event(item.start, "send", item.block, item.source, item.destination) for item in self.transfers]
        found += [Event(item.end, "arrive", item.block, item.destination, item.source) for item in self.transfers]
        return sorted(found)


def simulate(plan: Plan, machine: Machine, progress: Progress | None = None) -> Simulation:
    """Run ``plan`` on paper: each rank runs its ready task of lowest position, one at a time. Pure."""
    work = workload(plan.graph, machine, progress, *plan.estimates)
    timeline = run(work, plan.ranks, plan.order, plan.routes)
    seconds = plan.estimates.seconds
    busy = [0.0] * machine.size
    ends = list(work.ends) or [0.0] * len(plan.ranks)
    for number in work.open:
        busy[plan.ranks[number]] += seconds[number]
        ends[number] = timeline.starts[number] + seconds[number]
    memory = memory_peaks(work, plan.ranks, timeline, plan.holders)
    return Simulation(timeline.seconds, tuple(busy), memory, tuple(timeline.starts), tuple(sorted(
        timeline.transfers, key=lambda item: (item.start, item.block, item.destination))), plan.ranks, tuple(ends))

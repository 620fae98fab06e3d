"""Lower bounds: what no plan can beat, however clever."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mpiflow.planning.progress import UNCLAIMED
from mpiflow.planning.workload import Workload

MANY = 64       # groups of ranks; of more, only tasks with exactly the same ranks are added up
WAISTS = 8      # longest tasks that are looked at as waists
LARGEST = 2_000 # tasks of a graph in which waists are looked for


@dataclass(frozen=True, slots=True)
class Bounds:
    """Times that every plan takes at least [s].

    Attributes:
        seconds: The largest of the others.
        path: The longest chain of tasks, each needing the one before, if moving cost nothing.
        critical: Run time of that chain.
        work: All run times, shared evenly by all ranks.
        waist: What has to run before some long task, shared evenly, that task, and what has to run after it.
        pinned: The same as work for the tasks that only some ranks may run, of the group with most to do.
        group: Those ranks.
    """

    seconds: float
    path: tuple[int, ...]
    critical: float
    work: float
    waist: float = 0.0
    pinned: float = 0.0
    group: tuple[int, ...] = ()


def lower_bounds(work: Workload) -> Bounds:
    """Compute the bounds of open tasks, counting from now. Pure."""
    path, critical = _longest_chain(work)
    seconds = work.estimates.seconds
    shared = (sum(work.free) + sum([seconds[number] for number in work.open])) / work.machine.size
    pinned, group = _pinned(work)
    waist = _waist(work)
    return Bounds(max(critical, shared, waist, pinned, max(work.free)), path, critical, shared, waist, pinned, group)


def _longest_chain(work: Workload) -> tuple[tuple[int, ...], float]:
    seconds, needs, claimed = work.estimates.seconds, work.graph.needs, work.claimed
    ends = {block: work.made(block) for block in work.given}
    for number in work.open:
        ends[number] = max([ends[needed] for needed in needs[number]], default=0.0) + seconds[number]
    if not work.open:
        return (), 0.0
    path = [max(work.open, key=ends.__getitem__)]
    while before := [needed for needed in needs[path[-1]] if claimed[needed] == UNCLAIMED]:
        path.append(max(before, key=ends.__getitem__))
    return tuple(reversed(path)), ends[path[0]]


def _waist(work: Workload) -> float:
    """The largest sum of all work before a task, the task, and all work after it; the longest tasks are tried."""
    if len(work.open) > LARGEST:
        return 0.0
    seconds, size = work.estimates.seconds, work.machine.size
    longest = sorted(work.open, key=lambda number: (-seconds[number], number))[:WAISTS]
    around = [_reachable(number, neighbours, work.claimed) for number in longest
              for neighbours in (work.graph.needs, work.graph.consumers)]
    halves = [sum([seconds[number] for number in part]) / size for part in around]
    return max([seconds[number] + before + after
                for number, before, after in zip(longest, halves[::2], halves[1::2], strict=True)], default=0.0)


def _reachable(number: int, neighbours: Sequence[Sequence[int]], claimed: Sequence[int]) -> list[int]:
    """All open tasks that lie before or after one."""
    found, stack = {number}, [number]
    while stack:
        for other in neighbours[stack.pop()]:
            if other not in found and claimed[other] == UNCLAIMED:
                found.add(other)
                stack.append(other)
    return sorted(found - {number})


def _pinned(work: Workload) -> tuple[float, tuple[int, ...]]:
    """The group of ranks that has most to do for itself, and how much [s]."""
    if not any(work.pins):
        return 0.0, ()
    totals: dict[tuple[int, ...], float] = {}
    for number in work.open:
        ranks = work.pins[number]
        if ranks is not None:
            totals[ranks] = totals.get(ranks, 0.0) + work.estimates.seconds[number]
    shared = [(_within(ranks, totals) / len(ranks), ranks) for ranks in totals]
    return max(shared, key=lambda item: (item[0], item[1]), default=(0.0, ()))


def _within(ranks: tuple[int, ...], totals: dict[tuple[int, ...], float]) -> float:
    """All that only some or all of ``ranks`` may run [s]."""
    if len(totals) > MANY:
        return totals[ranks]
    return sum(total for others, total in totals.items() if set(others) <= set(ranks))

"""Placement: which rank runs each task. Several ways are tried, and the best is taken."""

from __future__ import annotations

import heapq
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mpiflow.errors import PlanningError
from mpiflow.planning.bounds import lower_bounds
from mpiflow.planning.placing import Placing, Strategy, priorities
from mpiflow.planning.progress import NOBODY, Holders
from mpiflow.planning.ring import rings
from mpiflow.planning.routes import Route, make_routes
from mpiflow.planning.search import STEP, Search, affordable, searchable
from mpiflow.planning.timeline import in_order, memory_peaks, run
from mpiflow.planning.workload import Workload

FIRST = Strategy(1e6)       # bytes stay where they are; if no time is lost by that, nothing else is tried
# The first of these is all that is tried for very large graphs: with 10 it would keep a grid of short tasks on one rank.
VARIED = (Strategy(3.0), Strategy(10.0), Strategy(100.0), Strategy(1.0), Strategy(30.0), Strategy(1000.0), Strategy(0.0, 0.0))
LEAN = Strategy(1.0, lean=True)
SLACK = 1.03            # a placement that ends so much later may be taken if it moves less
SIMULATED = 20_000      # tasks; larger plans take the times that the placement expects
EFFORT = 50_000         # tasks and inputs that are placed, counted for each strategy tried
FEW = 3                 # strategies: of graphs so large that no more are tried, short tasks are placed at one go
_NOTHING: Mapping[int, int] = {}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and when tasks are expected to run.

    Attributes:
        ranks: Rank of each task.
        starts: Expected start of each task [s].
        seconds: Expected end of the last task [s].
        routes: Edges along which each block goes.
        nbytes: Bytes that move between ranks.
        fits: Whether no rank ever holds more than its memory, as far as simulated.
    """

    ranks: tuple[int, ...]
    starts: tuple[float, ...]
    seconds: float
    routes: tuple[Route, ...]
    nbytes: int
    fits: bool = True


def place(work: Workload) -> Placement:
    """Place with several weights of moving against waiting; of those that end about as early, take what moves least.

    Pure. Earliest finish alone is greedy: it moves a block to a rank that is idle now, and finds too late that the
    rank which had it would have been idle soon.

    Raises:
        PlanningError: A task needs more memory than any rank has.
    """
    if not any(work.graph.needs) and work.machine.memory is None and not any(work.pins):
        return _place_apart(work)
    effort = len(work.open) + sum([len(work.graph.needs[number]) for number in work.open])
    num = EFFORT // max(effort, 1) if work.machine.size > 1 else 1
    bound = lower_bounds(work).seconds if num > 1 or searchable(work) else 0.0
    if 1 < num <= FEW and sum([work.estimates.seconds[number] for number in work.open]) - bound <= effort * STEP:
        num = 1             # whatever the first try loses, a second one would not be worth it, so this is the one to make
    found = _placements(work, num, effort * STEP, bound if num > 1 else 0.0)
    found += _rotated(work, found[0])
    found += _searched(work, found, bound)
    found = [placement for placement in found if placement.fits] or found
    best = min(placement.seconds for placement in found)
    return min((p for p in found if p.seconds <= SLACK * best), key=lambda p: (p.nbytes, p.seconds))


def _placements(work: Workload, num: int, seconds: float, bound: float) -> list[Placement]:
    """Place with up to ``num`` strategies, each of which takes ``seconds`` [s], until the ``bound`` [s] is near enough."""
    strategies = (FIRST, *VARIED[:num - 1]) if num > 1 else VARIED[:1]
    found, error = [], None
    for strategy in strategies + ((LEAN,) if work.machine.memory else ()):
        try:
            found.append(place_greedily(work, strategy))
        except PlanningError as full:
            error = full
        best = min([placement.seconds for placement in found], default=math.inf)
        if best <= bound + seconds or (strategy is FIRST and best <= SLACK * bound):   # a further try saves less than it takes
            break
    if not found:
        raise error
    return found


def _rotated(work: Workload, first: Placement) -> list[Placement]:
    """Let the blocks of pairs lie as in the ``first`` placement, and pass from rank to rank."""
    if not work.graph.pairs or work.machine.size == 1 or len(work.open) > SIMULATED:
        return []
    chosen = rings(work, first.ranks)
    try:
        return [place_greedily(work, FIRST, chosen)] if chosen else []
    except PlanningError:
        return []


def _searched(work: Workload, found: list[Placement], bound: float) -> list[Placement]:
    """Try to better the two placements that end first."""
    starts = sorted(found, key=lambda placement: (placement.seconds, placement.nbytes))[:2]
    search = Search(work, affordable(work, starts[0].seconds, bound))
    better = []
    for placement in starts:
        if search.steps > 0:
            search.improve(placement.ranks, placement.starts)
            better.append(finished(work, search.ranks, search.order))
    return better


def place_greedily(work: Workload, strategy: Strategy, chosen: Mapping[int, int] = _NOTHING) -> Placement:
    """Give each task the rank on which it can end first, where moving counts more than waiting. Pure.

    Some tasks may have a rank that is ``chosen`` already. Ties go to the rank that needs the fewest bytes, then to the lowest.

    Raises:
        PlanningError: A task needs more memory than any rank has.

    Source: Topcuoglu, Hariri, Wu 2002 (HEFT), without insertion.
    """
    placing = Placing(work, strategy.weight)
    for number in priorities(work, strategy):
        placing.place(number, chosen.get(number))
    order = in_order(placing.starts, work.estimates.seconds)
    if len(work.open) <= SIMULATED:
        return finished(work, placing.ranks, order)
    routes = make_routes(work, placing.ranks)
    return Placement(tuple(placing.ranks), tuple(placing.starts), max(placing.free), routes, moved(work, routes))


def finished(work: Workload, ranks: Sequence[int], order: Sequence[int], routes: Sequence[Route] | None = None,
             holders: Holders = NOBODY) -> Placement:
    """Simulate a placement for the times that it really takes.

    Args:
        work: The tasks.
        ranks: Rank of each.
        order: In which each rank runs its own.
        routes: Edges along which each block goes, if not only to those who read it.
        holders: Ranks that hold blocks beyond their last use.
    """
    routes = make_routes(work, ranks) if routes is None else tuple(routes)
    timeline = run(work, ranks, order, routes)
    limits = work.machine.memory
    fits = limits is None or all(map(operator.le, memory_peaks(work, ranks, timeline, holders), limits))
    return Placement(tuple(ranks), tuple(timeline.starts), timeline.seconds, routes, moved(work, routes), fits)


def moved(work: Workload, routes: Sequence[Route]) -> int:
    """Give the bytes that move between ranks along ``routes``."""
    return sum([len(route) * size for route, size in zip(routes, work.estimates.nbytes, strict=True) if route])


def _place_apart(work: Workload) -> Placement:
    """Tasks without inputs that any rank can run: the longest first, each to the rank that is free first."""
    seconds, ranks, starts = work.estimates.seconds, list(work.claimed), [0.0] * len(work.claimed)
    heap = [(free, rank) for rank, free in enumerate(work.free)]
    heapq.heapify(heap)
    for number in sorted(work.open, key=seconds.__getitem__, reverse=True):
        free, rank = heap[0]
        ranks[number], starts[number] = rank, free
        heapq.heapreplace(heap, (free + seconds[number], rank))
    return Placement(tuple(ranks), tuple(starts), max(heap)[0], ((),) * len(ranks), 0)

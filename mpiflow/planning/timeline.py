"""Times of tasks and transfers when every rank runs its ready task of lowest position, one at a time."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiflow.planning.progress import NOBODY, Holders
from mpiflow.planning.routes import Route
from mpiflow.planning.workload import Workload

_ENDED, _HERE, _FREE = range(3)


class Transfer(NamedTuple):
    """A block on its way: when it leaves, and when it is usable at its destination [s]."""

    start: float
    end: float
    block: int
    source: int
    destination: int


@dataclass(slots=True)
class Timeline:
    """What happens when.

    Attributes:
        starts: When each open task starts [s].
        transfers: What moves, in the order in which it was handed to the network.
        seconds: When the last task ends [s].
        moving: How long links are busy, all together [s].
    """

    starts: list[float]
    transfers: list[Transfer]
    seconds: float
    moving: float


def run(work: Workload, ranks: Sequence[int], order: Sequence[int], routes: Sequence[Route]) -> Timeline:
    """Follow all tasks and transfers in order of time. Pure.

    A rank sends one block at a time and receives one at a time; a transfer waits until both ends are free, first
    come, first served. Latency delays a block but keeps nobody busy.
    """
    running = _Running(work, ranks, order, routes)
    running.run()
    return Timeline(running.starts, running.transfers, running.seconds, running.moving)


def in_order(starts: Sequence[float], seconds: Sequence[float]) -> list[int]:
    """Tasks by start; what takes no time goes before what starts with it, and of equals the lower number goes first.

    So a task comes after those that it needs, and running the tasks in this order gives the same starts again.
    """
    return np.lexsort((seconds, starts)).tolist()


class _Running:
    """The state of all ranks at one time; flat lists, as a plan may be simulated thousands of times."""

    def __init__(self, work: Workload, ranks: Sequence[int], order: Sequence[int], routes: Sequence[Route]) -> None:
        self.machine = machine = work.machine
        self.size = size = machine.size
        self.ranks, self.order = ranks, order
        self.runtimes, self.nbytes = work.estimates
        self.position = position = [0] * len(ranks)
        for place, number in enumerate(order):
            position[number] = place
        self.starts = [0.0] * len(ranks)
        self.transfers: list[Transfer] = []
        self.missing = [0] * len(ranks)
        self.waiting: dict[int, list[int]] = {}                     # block and rank: tasks there that need it
        self.onward: dict[int, list[int]] = {}                      # block and rank: where it goes from there
        self.ready: list[list[int]] = [[] for _ in range(size)]     # heaps of positions
        self.idle = [True] * size
        self.sending, self.receiving = [0.0] * size, [0.0] * size   # when each rank can do so again
        self.events: list[tuple[float, int, int, int]] = []
        self.seconds, self.moving = max(work.free), 0.0
        self._prepare(work, routes)

    def _prepare(self, work: Workload, routes: Sequence[Route]) -> None:
        size, ranks, waiting, onward = self.size, self.ranks, self.waiting, self.onward
        needs = work.graph.needs
        for number in work.open:
            rank = ranks[number]
            self.missing[number] = len(needs[number])
            for needed in needs[number]:
                waiting.setdefault(needed * size + rank, []).append(number)
            if not needs[number]:
                self.ready[rank].append(self.position[number])
        for heap in self.ready:
            heap.sort()
        for block, route in enumerate(routes):
            for source, destination in route:
                onward.setdefault(block * size + source, []).append(destination)
        for rank, free in enumerate(work.free):
            if free > 0:
                self.idle[rank] = False
                self.events.append((free, _FREE, rank, rank))
        self.events += [(work.made(block), _HERE, block, rank) for block in work.given for rank in work.origins(block)]
        heapq.heapify(self.events)

    def run(self) -> None:
        for rank in range(self.size):
            self._dispatch(rank, 0.0)
        events, idle = self.events, self.idle
        while events:
            now = events[0][0]
            touched = set()
            while events and events[0][0] == now:
                _, what, number, rank = heapq.heappop(events)
                if what != _HERE:
                    idle[rank] = True
                if what != _FREE:
                    self._here(number, rank, now)
                touched.add(rank)
            for rank in sorted(touched):
                self._dispatch(rank, now)

    def _here(self, block: int, rank: int, now: float) -> None:
        """A block is on a rank: send it on, and see which tasks it was the last to be missed by."""
        key = block * self.size + rank
        for destination in self.onward.get(key, ()):
            self._send(block, rank, destination, now)
        for number in self.waiting.get(key, ()):
            self.missing[number] -= 1
            if not self.missing[number]:
                heapq.heappush(self.ready[rank], self.position[number])

    def _send(self, block: int, source: int, destination: int, now: float) -> None:
        machine = self.machine
        apart = machine.nodes[source] != machine.nodes[destination]
        start = max(now, self.sending[source], self.receiving[destination])
        end = start + self.nbytes[block] / machine.bandwidth[apart]
        self.sending[source] = self.receiving[destination] = end
        end += machine.latency[apart]
        self.moving += end - start
        self.transfers.append(Transfer(start, end, block, source, destination))
        heapq.heappush(self.events, (end, _HERE, block, destination))

    def _dispatch(self, rank: int, now: float) -> None:
        ready = self.ready[rank]
        if ready and self.idle[rank]:
            number = self.order[heapq.heappop(ready)]
            self.idle[rank] = False
            self.starts[number] = now
            end = now + self.runtimes[number]
            self.seconds = max(self.seconds, end)
            heapq.heappush(self.events, (end, _ENDED, number, rank))


def memory_peaks(work: Workload, ranks: Sequence[int], timeline: Timeline, holders: Holders = NOBODY) -> tuple[int, ...]:
    """Give the most that blocks take on each rank at one time [bytes]: from their coming to their last use or sending.

    On ``holders`` they stay to the end, or until all that is made of them is held there too.
    """
    changes: list[list[tuple[float, int]]] = [[] for _ in range(work.machine.size)]
    for nbytes, rank, start, end in _lives(work, ranks, timeline, holders):
        changes[rank] += [(start, -nbytes), (end, nbytes)]      # what comes sorts before what goes at the same time
    peaks = []
    for own in changes:
        held = peak = 0
        for _, nbytes in sorted(own):
            held -= nbytes
            peak = max(peak, held)
        peaks.append(peak)
    return tuple(peaks)


def _lives(work: Workload, ranks: Sequence[int], timeline: Timeline,
           holders: Holders) -> Iterator[tuple[int, int, float, float]]:
    """Yield size, rank, first and last moment of each copy of each block."""
    size, (runtimes, sizes), starts = work.machine.size, work.estimates, timeline.starts
    copies: dict[int, list[float]] = {}
    for number in work.open:
        end = starts[number] + runtimes[number]
        copies[number * size + ranks[number]] = [end, end]
    for block in work.given:
        for rank in work.origins(block):
            copies[block * size + rank] = [work.made(block)] * 2
    for item in timeline.transfers:
        copies[item.block * size + item.destination] = [item.end, item.end]
        source = copies[item.block * size + item.source]
        source[1] = max(source[1], item.end)
    for number in work.open:
        end = starts[number] + runtimes[number]
        for needed in work.graph.needs[number]:
            copy = copies[needed * size + ranks[number]]
            copy[1] = max(copy[1], end)
    for block, rank in [(block, rank) for block, members in holders.items() for rank in members]:
        if copy := copies.get(block * size + rank):
            following = work.graph.consumers[block]
            held = following and all(rank in holders.get(number, ()) for number in following)
            copy[1] = max([copy[1], *(copies[number * size + rank][0] for number in following)]) if held else timeline.seconds
    for key, (start, end) in copies.items():
        yield sizes[key // size], key % size, start, end

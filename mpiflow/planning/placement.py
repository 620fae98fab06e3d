"""Placement: which rank runs each task."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from mpiflow.planning.machine import Machine
from mpiflow.planning.tasks import Kind, TaskGraph


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and when tasks are expected to run.

    Attributes:
        ranks: Rank of each task.
        starts: Expected start of each task [s].
        seconds: Expected end of the last task [s].
        nbytes: Expected bytes moved between ranks.
    """

    ranks: tuple[int, ...]
    starts: tuple[float, ...]
    seconds: float
    nbytes: int


WEIGHTS = (1.0, 10.0, 1e6)      # from "a transfer costs twice its time" to "bytes stay where they are"
SLACK = 1.03


def place(graph: TaskGraph, machine: Machine) -> Placement:
    """Place with several weights of moving against waiting; of those that end about as early, take what moves least.

    Pure. Earliest finish alone is greedy: it moves a block to a rank that is idle now, and finds too late that the
    rank which had it would have been idle soon.
    """
    found = [place_weighted(graph, machine, weight) for weight in (WEIGHTS if machine.size > 1 else WEIGHTS[:1])]
    best = min(placement.seconds for placement in found)
    return min((p for p in found if p.seconds <= SLACK * best), key=lambda p: (p.nbytes, p.seconds))


def place_weighted(graph: TaskGraph, machine: Machine, weight: float) -> Placement:
    """Give each task the rank on which it can end first, where moving counts ``weight`` times more than waiting.

    Looked at are the ranks that hold inputs of the task and the least loaded rank, or those that the task is
    restricted to. Partial results are combined where the larger one lies. Ties go to the rank that needs the fewest
    bytes, then to the lowest. Pure.

    Args:
        graph: Tasks with expected sizes [bytes] and run times [s].
        machine: Ranks and links.
        weight: What a second of link time costs beyond the delay that it causes [s].

    Source: Topcuoglu, Hariri, Wu 2002 (HEFT), without insertion.
    """
    return _Placing(graph, machine, weight).run()


class _Placing:
    """A placement in the making: when each rank is free, and when each block can be where."""

    def __init__(self, graph: TaskGraph, machine: Machine, weight: float) -> None:
        self.tasks = graph.tasks
        self.needs = graph.needs
        self.consumers = graph.consumers
        self.machine = machine
        self.weight = weight
        self.nbytes = 0
        num = len(graph.tasks)
        self.ranks = [-1] * num
        self.starts = [0.0] * num
        self.here: list[dict[int, float]] = [{} for _ in range(num)]    # block: rank to time at which it is there
        self.free = [0.0] * machine.size
        self.idlest = [(0.0, rank) for rank in range(machine.size)]     # heap; may hold outdated times

    def run(self) -> Placement:
        for task in self._order():
            self._place(task)
        return Placement(tuple(self.ranks), tuple(self.starts), max(self.free), self.nbytes)

    def _order(self) -> list[int]:
        """Longest way to the end first; a task never comes before one that it needs."""
        upward = [0.0] * len(self.tasks)
        for number in reversed(range(len(self.tasks))):
            task = self.tasks[number]
            rest = max((upward[c] for c in self.consumers[number]), default=0.0)
            moving = self.machine.mean_seconds(task.nbytes) if self.consumers[number] else 0.0
            upward[number] = max(task.seconds, 1e-9) + moving + rest
        return sorted(range(len(self.tasks)), key=lambda number: (-upward[number], number))

    def _place(self, number: int) -> None:
        task = self.tasks[number]
        _, nbytes, rank, start = min(self._cost(number, rank) for rank in self._candidates(number))
        end = start + task.seconds
        for needed in self.needs[number]:
            self.here[needed].setdefault(rank, self._arrival(needed, rank))
        self.ranks[number], self.starts[number], self.free[rank] = rank, start, end
        self.here[number][rank] = end
        self.nbytes += nbytes
        heapq.heappush(self.idlest, (end, rank))

    def _candidates(self, number: int) -> set[int]:
        task = self.tasks[number]
        holders = {rank for needed in self.needs[number] for rank in self.here[needed]}
        if task.kind is Kind.COMBINE:
            sizes = {rank: sum(self.tasks[n].nbytes for n in self.needs[number] if rank in self.here[n]) for rank in holders}
            return {rank for rank in holders if sizes[rank] == max(sizes.values())}
        if task.ranks is not None:
            idlest = min(task.ranks, key=lambda rank: (self.free[rank], rank))
            return {idlest, *holders.intersection(task.ranks)}
        return {self._idlest(), *holders}

    def _idlest(self) -> int:
        while self.idlest[0][0] != self.free[self.idlest[0][1]]:
            heapq.heappop(self.idlest)
        return self.idlest[0][1]

    def _cost(self, number: int, rank: int) -> tuple[float, int, int, float]:
        """What ``number`` costs on ``rank``: its end and, weighted, the time that links are busy for it [s].

        Then, to choose among equals: bytes moved and the rank; and last the start. A rank receives one block after
        the other.
        """
        ready, moving, first, nbytes = 0.0, 0.0, None, 0
        for needed in self.needs[number]:
            ready = max(ready, self._arrival(needed, rank))
            if rank not in self.here[needed]:
                source = self.ranks[needed]
                sent = self.here[needed][source]
                first = sent if first is None else min(first, sent)
                moving += self.machine.seconds(self.tasks[needed].nbytes, source, rank)
                nbytes += self.tasks[needed].nbytes
        if first is not None:
            ready = max(ready, first + moving)
        start = max(ready, self.free[rank])
        return start + self.tasks[number].seconds + self.weight * moving, nbytes, rank, start

    def _arrival(self, needed: int, rank: int) -> float:
        """When the block of ``needed`` can be on ``rank``: at once if it is there, else sent by its producer."""
        there = self.here[needed].get(rank)
        if there is not None:
            return there
        source = self.ranks[needed]
        return self.here[needed][source] + self.machine.seconds(self.tasks[needed].nbytes, source, rank)

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
    """

    ranks: tuple[int, ...]
    starts: tuple[float, ...]
    seconds: float


def place(graph: TaskGraph, consumers: list[list[int]], machine: Machine) -> Placement:
    """Give each task the rank on which it can end first.

    Looked at are the ranks that hold inputs of the task and the least loaded rank, or those that the task is
    restricted to. Partial results are combined where the larger one lies. Ties go to the lowest rank. Pure.

    Args:
        graph: Tasks with expected sizes [bytes] and run times [s].
        consumers: Tasks that need each task.
        machine: Ranks and links.

    Source: Topcuoglu, Hariri, Wu 2002 (HEFT), without insertion.
    """
    return _Placing(graph, consumers, machine).run()


class _Placing:
    """A placement in the making: when each rank is free, and when each block can be where."""

    def __init__(self, graph: TaskGraph, consumers: list[list[int]], machine: Machine) -> None:
        self.tasks = graph.tasks
        self.needs = [task.needs for task in graph.tasks]
        self.consumers = consumers
        self.machine = machine
        num = len(graph.tasks)
        self.ranks = [-1] * num
        self.starts = [0.0] * num
        self.here: list[dict[int, float]] = [{} for _ in range(num)]    # block: rank to time at which it is there
        self.free = [0.0] * machine.size
        self.idlest = [(0.0, rank) for rank in range(machine.size)]     # heap; may hold outdated times

    def run(self) -> Placement:
        for task in self._order():
            self._place(task)
        return Placement(tuple(self.ranks), tuple(self.starts), max(self.free))

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
        ends = sorted((self._end(number, rank), rank) for rank in self._candidates(number))
        end, rank = ends[0]
        for needed in self.needs[number]:
            self.here[needed].setdefault(rank, self._arrival(needed, rank))
        self.ranks[number], self.starts[number], self.free[rank] = rank, end - task.seconds, end
        self.here[number][rank] = end
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

    def _end(self, number: int, rank: int) -> float:
        ready = max((self._arrival(needed, rank) for needed in self.needs[number]), default=0.0)
        return max(ready, self.free[rank]) + self.tasks[number].seconds

    def _arrival(self, needed: int, rank: int) -> float:
        """When the block of ``needed`` can be on ``rank``: at once if it is there, else sent by its producer."""
        there = self.here[needed].get(rank)
        if there is not None:
            return there
        source = self.ranks[needed]
        return self.here[needed][source] + self.machine.seconds(self.tasks[needed].nbytes, source, rank)

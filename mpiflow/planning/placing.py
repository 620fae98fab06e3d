"""One greedy placement: task after task goes where it costs least, given what was placed before."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple

from mpiflow.errors import PlanningError
from mpiflow.planning.progress import UNCLAIMED
from mpiflow.planning.tasks import WRITES
from mpiflow.planning.workload import Workload

MANY = 8        # of more holders of a block, or of the inputs together, only the most promising are weighed


class Strategy(NamedTuple):
    """How a greedy placement decides.

    Attributes:
        weight: What a second of link time costs beyond the delay that it causes [s].
        distance: How much the time on links counts when tasks are put in order, 1 for its mean.
        lean: Whether tasks come depth first, so that few blocks are alive at one time, and not by urgency.
    """

    weight: float
    distance: float = 1.0
    lean: bool = False


class Weighed(NamedTuple):
    """What a task costs on a rank; the least wins: by ``cost``, then bytes to move, then rank."""

    cost: float
    nbytes: int
    rank: int
    ready: float
    start: float


def urgency(work: Workload, distance: float = 1.0) -> list[float]:
    """Give the time from the start of each task to the end of the last that depends on it [s]."""
    seconds, nbytes = work.estimates
    latency, per_byte = (distance * part for part in work.machine.mean_link())
    rest = [0.0] * len(seconds)
    consumers = work.graph.consumers
    for number in reversed(work.open):
        following = consumers[number]
        after = latency + nbytes[number] * per_byte + max([rest[c] for c in following]) if following else 0.0
        rest[number] = max(seconds[number], 1e-9) + after
    return rest


def priorities(work: Workload, strategy: Strategy) -> list[int]:
    """Put open tasks in the order in which they are placed; each comes after those that it needs."""
    rest = urgency(work, strategy.distance)
    if not strategy.lean:
        return sorted(work.open, key=lambda number: (-rest[number], number))
    claimed, needs, consumers = work.claimed, work.graph.needs, work.graph.consumers
    missing = {number: sum(claimed[needed] == UNCLAIMED for needed in needs[number]) for number in work.open}
    stack = [number for number in reversed(work.open) if not missing[number]]
    order = []
    while stack:
        order.append(stack.pop())
        for following in reversed(consumers[order[-1]]):
            if following in missing:
                missing[following] -= 1
                if not missing[following]:
                    stack.append(following)
    return order


class Placing:
    """A placement in the making: when each rank and its links are free, and when each block can be where.

    Attributes:
        ranks: Rank of each task, -1 of one not placed yet.
        starts: Expected start of each task [s].
        free: When each rank has run what was placed on it [s].
    """

    def __init__(self, work: Workload, weight: float) -> None:
        machine = work.machine
        num = len(work.claimed)
        self.work, self.weight, self.size = work, weight, machine.size
        self.needs, self.consumers, self.pins = work.graph.needs, work.graph.consumers, work.pins
        self.seconds, self.nbytes = work.estimates
        self.nodes, self.latency, self.bandwidth = machine.nodes, machine.latency, machine.bandwidth
        self.ranks, self.starts = list(work.claimed), [0.0] * num
        self.free = list(work.free)
        self.sending, self.receiving = [0.0] * self.size, [0.0] * self.size
        self.home, self.made = list(work.claimed), [0.0] * num      # the first rank with each block, and since when
        self.copies: dict[int, float] = {}                          # block and rank: when a further copy is there
        self.holders: dict[int, list[int]] = {}                     # block: all ranks with it, if more than one
        self.local: dict[tuple[int, int], list[int]] = {}           # block and node: likewise on one node
        self.idlest: dict[object, list[tuple[float, int]]] = {}     # heaps of ranks by a time they were free at
        members: dict[int, list[int]] = {}
        for rank, node in enumerate(self.nodes):
            members.setdefault(node, []).append(rank)
        self.members = members if len(members) > 1 else {}
        self.memory = _Memory(work) if machine.memory is not None else None
        for block in work.given:
            first, *others = work.origins(block)
            self.home[block], self.made[block] = first, work.made(block)
            for rank in others:
                self._copy(block, rank, work.made(block))

    def place(self, number: int, rank: int | None = None) -> None:
        """Put a task on the rank where it costs least, or on a given one.

        Raises:
            PlanningError: It fits nowhere.
        """
        best = min(self.weigh(number)) if rank is None else self.cost(number, rank)
        rank = best.rank
        missing = self._missing(number, rank)
        self._bring(missing, rank)
        if self.memory is not None:
            for block in self.memory.take(number, rank, missing):
                self.memory.release(block, self.holders.get(block) or (self.home[block],))
        end = best.start + self.seconds[number]
        self.ranks[number] = self.home[number] = rank
        self.starts[number] = best.start
        self.made[number] = self.free[rank] = end

    def weigh(self, number: int) -> list[Weighed]:
        """Give the costs of a task on the ranks worth looking at: holders of its inputs and the least loaded."""
        candidates = self._candidates(number)
        if self.memory is not None:
            ranks = self.pins[number] or range(self.size)
            candidates = ([rank for rank in candidates if self._fits(number, rank)]
                          or [rank for rank in ranks if self._fits(number, rank)]
                          or [rank for rank in candidates if self.memory.possible(number, rank)]      # others will make room
                          or [rank for rank in ranks if self.memory.possible(number, rank)])
            if not candidates:
                raise self.memory.full(number, self.pins[number])
        return [self.cost(number, rank) for rank in candidates]

    def _candidates(self, number: int) -> Sequence[int]:
        pins, needs = self.pins[number], self.needs[number]
        if pins is not None and len(pins) == 1:
            return pins
        found: dict[int, None] = {}
        for needed in needs:
            found[self.home[needed]] = None
            holders = self.holders.get(needed)
            if holders:
                found.update(dict.fromkeys(holders if len(holders) <= MANY else [self._idlest(needed, holders)]))
        if len(found) > MANY:
            found = self._richest(needs, found)
        if pins is not None:
            found = {rank: None for rank in found if rank in pins}
            found[self._idlest(pins, pins)] = None
            return list(found)
        found[self._idlest("all", range(self.size))] = None
        if self.members and needs:
            node = self.nodes[self.home[max(needs, key=self.nbytes.__getitem__)]]
            found[self._idlest(("node", node), self.members[node])] = None
        return list(found)

    def _richest(self, needs: Sequence[int], found: dict[int, None]) -> dict[int, None]:
        """Of many holders keep those that have most bytes of the inputs."""
        held = dict.fromkeys(found, 0)
        for needed in needs:
            held[self.home[needed]] += self.nbytes[needed]
            for rank in self.holders.get(needed, ())[:MANY]:
                if rank in held and rank != self.home[needed]:
                    held[rank] += self.nbytes[needed]
        return dict.fromkeys(sorted(held, key=lambda rank: (-held[rank], self.free[rank], rank))[:MANY])

    def _idlest(self, name: object, ranks: Sequence[int]) -> int:
        """The rank of ``ranks`` that is free first; times only grow, so an outdated heap is mended at its top."""
        heap = self.idlest.get(name)
        if heap is None:
            heap = self.idlest[name] = sorted((self.free[rank], rank) for rank in ranks)
        while heap[0][0] < self.free[heap[0][1]]:
            rank = heap[0][1]
            heapq.heapreplace(heap, (self.free[rank], rank))
        return heap[0][1]

    def cost(self, number: int, rank: int) -> Weighed:
        """What a task costs on a rank: its end and, weighted, the time for which links are busy for it [s]."""
        size, home, made, copies, nodes = self.size, self.home, self.made, self.copies, self.nodes
        ready, moving, nbytes, receiving = 0.0, 0.0, 0, self.receiving[rank]
        for needed in self.needs[number]:
            source = home[needed]
            if source == rank:
                there = made[needed]
            else:
                there = copies.get(needed * size + rank)
                if there is None:
                    if needed in self.holders:
                        source = self._source(needed, rank)
                    apart = nodes[source] != nodes[rank]
                    since = made[needed] if source == home[needed] else copies[needed * size + source]
                    seconds = self.nbytes[needed] / self.bandwidth[apart]
                    receiving = max(since, receiving, self.sending[source]) + seconds
                    there = receiving + self.latency[apart]
                    moving += seconds + self.latency[apart]
                    nbytes += self.nbytes[needed]
            if there > ready:
                ready = there
        free = self.free[rank]
        start = ready if ready > free else free
        return Weighed(start + self.seconds[number] + self.weight * moving, nbytes, rank, ready, start)

    def _source(self, block: int, rank: int) -> int:
        """Who would send a block of several holders to one more rank: as in the tree that routes form."""
        holders = self.holders[block]
        if self.members:
            holders = self.local.get((block, self.nodes[rank])) or holders
        return holders[len(holders) - (1 << (len(holders).bit_length() - 1))]

    def _missing(self, number: int, rank: int) -> list[int]:
        """The blocks that a task needs and its rank has not."""
        size = self.size
        return [needed for needed in self.needs[number]
                if self.home[needed] != rank and needed * size + rank not in self.copies]

    def _bring(self, blocks: Sequence[int], rank: int) -> None:
        """Send blocks to a rank, in the same order as they were weighed."""
        for block in blocks:
            source = self._source(block, rank) if block in self.holders else self.home[block]
            apart = self.nodes[source] != self.nodes[rank]
            since = self.made[block] if source == self.home[block] else self.copies[block * self.size + source]
            end = max(since, self.receiving[rank], self.sending[source]) + self.nbytes[block] / self.bandwidth[apart]
            self.sending[source] = self.receiving[rank] = end
            self._copy(block, rank, end + self.latency[apart])

    def _copy(self, block: int, rank: int, seconds: float) -> None:
        """Note that a block is on one more rank from some time on."""
        home = self.home[block]
        self.copies[block * self.size + rank] = seconds
        holders = self.holders.setdefault(block, [home])
        holders.append(rank)
        if len(holders) > MANY + 1:
            heap = self.idlest.get(block)
            if heap is not None:
                heapq.heappush(heap, (self.free[rank], rank))
        if self.members:
            self.local.setdefault((block, self.nodes[home]), [home])
            local = self.local.setdefault((block, self.nodes[rank]), [])
            local.append(rank)

    def _fits(self, number: int, rank: int) -> bool:
        return self.memory.fits(number, rank, self._missing(number, rank))


class _Memory:
    """What blocks take on each rank while tasks are placed: a block goes when all that need it are placed."""

    def __init__(self, work: Workload) -> None:
        self.work = work
        self.nbytes = work.estimates.nbytes
        self.limits = work.machine.memory
        self.held = [0] * work.machine.size
        self.uses = [0] * len(work.claimed)
        for number in work.open:
            for needed in work.graph.needs[number]:
                self.uses[needed] += 1
        for block in work.given:
            for rank in work.origins(block):
                self.held[rank] += self.nbytes[block]

    def fits(self, number: int, rank: int, missing: Sequence[int]) -> bool:
        """Whether a task's result and the blocks that its rank lacks find room there."""
        return self.held[rank] + self._needed(number, missing) <= self.limits[rank]

    def possible(self, number: int, rank: int) -> bool:
        """Whether it would if there were nothing else; a result is written one block after the other."""
        graph = self.work.graph
        return graph.tasks[number].kind in WRITES or self._needed(number, graph.needs[number]) <= self.limits[rank]

    def _needed(self, number: int, blocks: Sequence[int]) -> int:
        return self.nbytes[number] + sum([self.nbytes[block] for block in blocks])

    def take(self, number: int, rank: int, missing: Sequence[int]) -> list[int]:
        """Hold what a task makes and what came for it; give the blocks that it was the last to need."""
        self.held[rank] += sum([self.nbytes[block] for block in missing])
        self.held[rank] += self.nbytes[number] if self.uses[number] else 0
        for needed in self.work.graph.needs[number]:
            self.uses[needed] -= 1
        return [needed for needed in self.work.graph.needs[number] if not self.uses[needed]]

    def release(self, block: int, holders: Sequence[int]) -> None:
        """Let a block go wherever it is."""
        for rank in holders:
            self.held[rank] -= self.nbytes[block]

    def full(self, number: int, pins: Sequence[int] | None) -> PlanningError:
        """Say what does not fit."""
        task = self.work.graph.tasks[number]
        ranks = pins or range(len(self.limits))
        rank = max(ranks, key=lambda rank: (self.limits[rank], -rank))
        need = self._needed(number, self.work.graph.needs[number])
        return PlanningError(
            f"step {task.step!r}: a task needs {need} bytes for its inputs and result, and no rank that may run it has more than "
            f"{self.limits[rank]} bytes of memory for blocks; use more memory or more blocks")

"""Pairs of blocks on a ring of ranks: which rank runs which pair, so that blocks travel little and all ranks have as much to do.

Each rank has blocks of its own, and gets those of the ranks that follow it, up to half of the way round. Two ranks opposite each
other, of an even number, are half of the way apart in both directions: the blocks of one are dealt out to all that have those of
the other already, so that no block travels twice for them. Which of the ranks that have both blocks runs a pair is then a matter
of balance.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from mpiflow.planning.progress import UNCLAIMED
from mpiflow.planning.workload import Workload

Pair = tuple[int, int]


def rings(work: Workload, ranks: Sequence[int]) -> dict[int, int]:
    """Give ranks to the open tasks on pairs of blocks, and to all that make these, so that the blocks rotate. Pure.

    Args:
        work: The tasks.
        ranks: Rank of each task in some placement; the blocks stay there.
    """
    chosen: dict[int, int] = {}
    for pairs in work.graph.pairs:
        mine = {task: pair for task, pair in pairs.items() if work.claimed[task] == UNCLAIMED and work.pins[task] is None}
        chosen |= _ring(work, ranks, mine)
    stack = [need for task in chosen for need in work.graph.needs[task]]
    while stack:
        task = stack.pop()
        if task not in chosen and work.claimed[task] == UNCLAIMED:
            chosen[task] = ranks[task]
            stack += work.graph.needs[task]
    return chosen


def _ring(work: Workload, ranks: Sequence[int], tasks: Mapping[int, Pair]) -> dict[int, int]:
    """Rotate the blocks of one dataset, or of two that one which has fewer bytes."""
    first, second = ({pair[side] for pair in tasks.values()} for side in (0, 1))
    if first & second:
        counts: dict[Pair, int] = {}
        for one, other in tasks.values():
            pair = min(one, other), max(one, other)
            counts[pair] = counts.get(pair, 0) + 1
        found = rotate(_groups(ranks, first | second, work.machine.size), counts)
        return {task: found[min(pair), max(pair)] for task, pair in tasks.items()}
    sizes = work.estimates.nbytes
    staying = 0 if sum(sizes[block] for block in first) >= sum(sizes[block] for block in second) else 1
    return {task: ranks[pair[staying]] for task, pair in tasks.items()}


def _groups(ranks: Sequence[int], blocks: Iterable[int], size: int) -> list[list[int]]:
    groups: list[list[int]] = [[] for _ in range(size)]
    for block in sorted(blocks):
        groups[ranks[block]].append(block)
    return groups


def rotate(groups: Sequence[Sequence[int]], pairs: Mapping[Pair, int]) -> dict[Pair, int]:
    """Give the rank of each pair of blocks. Pure.

    Args:
        groups: For each rank, the blocks that are there already; each block once.
        pairs: The pairs, and how many tasks each stands for.
    """
    found = [balanced(pairs, held, len(groups)) for held in _held(groups)]
    return min(found, key=lambda ranks: max(_loads(pairs, ranks, len(groups))))


def _held(groups: Sequence[Sequence[int]]) -> list[dict[int, set[int]]]:
    """The ranks that get each block, in a few ways that move about as much."""
    num = len(groups)
    half = num // 2
    near = {block: {(rank - step) % num for step in range((num + 1) // 2)}
            for rank, group in enumerate(groups) for block in group}
    if num % 2:
        return [near]
    ways = []
    for turn in (0, 1, 2):                      # which of two opposite ranks stays: the first, the second, in turn
        held = {block: set(ranks) for block, ranks in near.items()}
        for rank in range(half):
            staying, going = (rank, rank + half) if (turn == 0 or (turn == 2 and rank % 2 == 0)) else (rank + half, rank)
            for place, block in enumerate(groups[going]):
                held[block].add((staying - place % half) % num)
        ways.append(held)
    return ways


def balanced(pairs: Mapping[Pair, int], held: Mapping[int, set[int]], num: int) -> dict[Pair, int]:
    """Give each pair to one of the ranks that have both blocks, so that the busiest has as little as possible."""
    able = {pair: sorted(held[pair[0]] & held[pair[1]]) for pair in pairs}
    loads, ranks = [0] * num, {}
    for pair in sorted(pairs, key=lambda pair: (len(able[pair]), pair)):
        ranks[pair] = min(able[pair], key=lambda rank: (loads[rank], rank))
        loads[ranks[pair]] += pairs[pair]
    while path := _relief(ranks, able, loads):
        for pair, rank in path:
            loads[ranks[pair]] -= pairs[pair]
            loads[rank] += pairs[pair]
            ranks[pair] = rank
    return ranks


def _relief(ranks: Mapping[Pair, int], able: Mapping[Pair, Sequence[int]], loads: Sequence[int]) -> list[tuple[Pair, int]]:
    """Pairs to be handed on, and to whom, from the busiest rank to one that is less busy by two; none if there is no way."""
    busiest = loads.index(max(loads))
    mine: dict[int, list[Pair]] = {}
    for pair, rank in ranks.items():
        mine.setdefault(rank, []).append(pair)
    came: dict[int, tuple[Pair, int] | None] = {busiest: None}
    waiting = deque([busiest])
    while waiting:
        rank = waiting.popleft()
        if loads[rank] + 2 <= loads[busiest]:
            return _back(came, rank)
        for pair in mine.get(rank, ()):
            for other in able[pair]:
                if other not in came:
                    came[other] = pair, rank
                    waiting.append(other)
    return []


def _back(came: Mapping[int, tuple[Pair, int] | None], rank: int) -> list[tuple[Pair, int]]:
    path = []
    while step := came[rank]:
        path.append((step[0], rank))
        rank = step[1]
    return path


def _loads(pairs: Mapping[Pair, int], ranks: Mapping[Pair, int], num: int) -> list[int]:
    loads = [0] * num
    for pair, rank in ranks.items():
        loads[rank] += pairs[pair]
    return loads

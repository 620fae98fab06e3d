"""Parallel operations in the plan: which ranks run one together, on which blocks, and in which order.

A parallel operation is one task for each of its ranks, its parts. They are pinned to these ranks, so that nothing has to be
agreed on while the workflow runs. That no two operations wait for each other for ever follows from two rules:

1. In the plan's order the parts of an operation stand side by side, after all that any of them needs.
2. A rank starts a part only when all of its tasks that come before it in this order are over. Any other task may start as soon
   as its blocks are there.

For suppose that nothing goes on any more, and let T be the first task in the order that is not over. All that it needs is over,
so its blocks are there or under way, and these need no rank to be idle. A rank of T that runs something else would run a part of
another operation, for all other tasks end; since T comes before that, rule 2 would not have let it start. So its rank is free for
T. If T is a part, the same holds for each other part of its operation that is not over: by rule 1 nothing that is not over stands
before it. So all of them run, at the same time, and end. A new plan would give another order in the midst of this; so there is
none before all parts are over.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from msgspec.structs import replace

from mpiflow.planning.tasks import Input, Kind, TaskGraph


def shares(inputs: Sequence[Input], num: int) -> list[tuple[Input, ...]]:
    """Give the arguments of each of ``num`` members: its share of the blocks, in their order; one block goes whole to all.

    Raises:
        ValueError: A dataset has too few blocks.
    """
    for item in inputs:
        if 1 < len(item.tasks) < num:
            raise ValueError(f"'ranks: {num}' shares out whole blocks, and an argument has {len(item.tasks)}; give it at least "
                             f"{num}, or 1, which all ranks get")
    return [tuple(Input(item.argument, _share(item.tasks, member, num)) for item in inputs) for member in range(num)]


def _share(tasks: tuple[int, ...], member: int, num: int) -> tuple[int, ...]:
    return tasks if len(tasks) == 1 else tasks[member * len(tasks) // num:(member + 1) * len(tasks) // num]


def pin(graph: TaskGraph, size: int) -> None:
    """Give each parallel operation of a new graph its ranks, and each source that parts of one rank only read that rank.

    Each gets those of neighbouring ranks where it can start first; of equals those with most of its inputs, then the lowest.
    One that has its ranks already keeps them.
    """
    if not graph.teams:
        return
    free, ends = [0.0] * size, [0.0] * len(graph.tasks)
    for number, task in enumerate(graph.tasks):
        team = graph.teams.get(number, (number,))
        if number != team[-1]:
            continue
        ready = max([ends[need] for part in team for need in graph.needs[part]], default=0.0)
        if task.part is not None:
            ranks = task.part.ranks or _best(graph, team, ready, free)
            ready = max(ready, *(free[rank] for rank in ranks))
            for part, rank in zip(team, ranks, strict=True):
                free[rank] = ready + task.seconds
                own = graph.tasks[part]
                graph.tasks[part] = replace(own, ranks=(rank,), part=replace(own.part, ranks=ranks))
        for part in team:
            ends[part] = ready + task.seconds
    _pin_sources(graph)


def _best(graph: TaskGraph, team: Sequence[int], ready: float, free: Sequence[float]) -> tuple[int, ...]:
    num = len(team)
    held = [_held(graph, part) for part in team]
    groups = [tuple(range(first, first + num)) for first in range(0, len(free) - num + 1, num)]
    return min(groups, key=lambda ranks: (max(ready, *(free[rank] for rank in ranks)),
                                          -sum(own.get(rank, 0) for own, rank in zip(held, ranks, strict=True)), ranks))


def _held(graph: TaskGraph, part: int) -> dict[int, int]:
    """The bytes of a part's inputs that are surely made on each rank."""
    held: dict[int, int] = {}
    for need in graph.needs[part]:
        task = graph.tasks[need]
        if task.ranks is not None and len(task.ranks) == 1:
            held[task.ranks[0]] = held.get(task.ranks[0], 0) + task.nbytes
    return held


def _pin_sources(graph: TaskGraph) -> None:
    for number, consumers in enumerate(graph.consumers):
        task = graph.tasks[number]
        if task.kind is Kind.LOAD and task.ranks is None:
            ranks = {graph.tasks[reader].ranks for reader in consumers if reader in graph.teams}
            if len(ranks) == 1:
                graph.tasks[number] = replace(task, ranks=ranks.pop())


def side_by_side(order: Sequence[int], graph: TaskGraph) -> list[int]:
    """Change an order of tasks as little as needed for the parts of each operation to stand side by side (rule 1). Pure.

    An operation comes where its last part was. Every task still comes after those that it needs.
    """
    teams = graph.teams
    if not teams:
        return list(order)
    heads = [teams[number][0] if number in teams else number for number in range(len(order))]
    place = [0] * len(order)
    for position, number in enumerate(order):
        place[heads[number]] = max(place[heads[number]], position)
    missing = [0] * len(order)
    for number, needs in enumerate(graph.needs):
        missing[heads[number]] += len(needs)
    ready = [(place[number], number) for number in order if heads[number] == number and not missing[number]]
    heapq.heapify(ready)
    found: list[int] = []
    while ready:
        _, head = heapq.heappop(ready)
        members = teams.get(head, (head,))
        found += members
        for member in members:
            for consumer in graph.consumers[member]:
                missing[heads[consumer]] -= 1
                if not missing[heads[consumer]]:
                    heapq.heappush(ready, (place[heads[consumer]], heads[consumer]))
    return found

"""Parallel operations on the ranks that hold a dataset, ``ranks: holders``: on which rank each block is, decided before the plan.

What a parallel operation gives depends on how many ranks run it and on which blocks each has, so its id does. Ids are the same in
every run, whatever was measured; so which rank holds a block must follow from the document and from who sees which file alone.
It is decided here, while the graph is made, and the plan is bound to it: the tasks that make the blocks are pinned.

A block is where the largest block that it was made of is, back to the one that was loaded, or that a rank has anyway; what any
rank can load is shared out evenly. If this used fewer ranks than there are blocks for, since many blocks were made of few (a
sweep over one dataset), the blocks themselves, with what is made for one of them only, are shared out evenly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

from msgspec.structs import replace

from mpiflow.operations.operation import Operation
from mpiflow.planning.blocks import Blocks
from mpiflow.planning.tasks import Input, Kind, TaskGraph
from mpiflow.planning.teams import pin

HOLDERS = "holders"         # the word in documents
Named = Sequence[tuple[str, Blocks]]


class Members(NamedTuple):
    """Who runs a parallel operation together.

    Attributes:
        inputs: The arguments of each member.
        ranks: Their ranks; empty if they are not known yet.
        held: The numbers of the blocks of each member; empty if these follow from how many members there are.
    """

    inputs: list[tuple[Input, ...]]
    ranks: tuple[int, ...] = ()
    held: tuple[tuple[int, ...], ...] = ()


class Holders:
    """Where the blocks of a graph under construction are.

    Args:
        graph: The graph. Tasks are pinned when it is asked where their blocks are.
        size: Number of ranks.
    """

    def __init__(self, graph: TaskGraph, size: int) -> None:
        self._graph, self._size = graph, size
        self._nbytes = [0] * size           # what was shared out so far, by rank
        self._largest: dict[int, int] = {}  # inputs by task

    def members(self, operation: Operation, arguments: Named) -> Members:
        """Let those run an operation who hold blocks of its first dataset, the one with the first block first.

        Each member gets the blocks that it holds, of other datasets those with the same numbers; one block goes whole to all.

        Raises:
            ValueError: Datasets are cut into different numbers of blocks.
        """
        name, first = _first_cut(operation, arguments)
        for other, blocks in arguments:
            _check_alike(name, len(first.tasks), other, len(blocks.tasks))
        ranks, held = self._holding(first.tasks), {}
        for block, rank in enumerate(ranks):
            held.setdefault(rank, []).append(block)
        for _, blocks in arguments:
            if len(blocks.tasks) == len(ranks):
                self._lead(blocks.tasks, ranks)
        inputs = [tuple([Input(other, _chosen(blocks.tasks, numbers)) for other, blocks in arguments])
                  for numbers in held.values()]
        return Members(inputs, tuple(held), tuple(map(tuple, held.values())))

    def _holding(self, tasks: Sequence[int]) -> list[int]:
        """Give the rank of each task's block, and pin the tasks that make it there."""
        self._choose_teams(tasks)
        paths = [self._path(task) for task in tasks]
        if len({path[-1] for path in paths}) < min(len(tasks), self._size):
            paths = _apart(paths)
        places = self._places(list(dict.fromkeys(path[-1] for path in paths)))
        for path in paths:
            self._pin(path, places[path[-1]])
        return [places[path[-1]] for path in paths]

    def _lead(self, tasks: Sequence[int], ranks: Sequence[int]) -> None:
        """Pin the tasks that make these blocks, each to its rank, unless something else decides where they are."""
        for task, rank in zip(tasks, ranks, strict=True):
            path = self._path(task)
            root = self._graph.tasks[path[-1]]
            if root.ranks is None and root.part is None:
                self._pin(path, rank)

    def _choose_teams(self, tasks: Sequence[int]) -> None:
        """Choose the ranks of parallel operations that made any of the blocks, if they have none yet."""
        for task in tasks:
            part = self._graph.tasks[self._path(task)[-1]].part
            if part is not None and not part.ranks:
                pin(TaskGraph(self._graph.tasks), self._size)
                return

    def _path(self, task: int) -> list[int]:
        """From a task to the one that decides where its block is, always along the largest input; of equals the first one."""
        tasks, path = self._graph.tasks, [task]
        while tasks[task].ranks is None and tasks[task].part is None and tasks[task].inputs:
            if task not in self._largest:
                needs = [need for item in tasks[task].inputs for need in item.tasks]
                self._largest[task] = max(needs, key=lambda need: (tasks[need].nbytes, -need))
            task = self._largest[task]
            path.append(task)
        return path

    def _places(self, roots: Sequence[int]) -> dict[int, int]:
        """The rank of each of these blocks; those that several ranks can make are shared out, in order, to neighbouring ones."""
        alike: dict[tuple[int, ...], list[int]] = {}
        for root in roots:
            alike.setdefault(self._graph.tasks[root].ranks or tuple(range(self._size)), []).append(root)
        places = {}
        for ranks, blocks in alike.items():
            num = min(len(blocks), len(ranks))
            groups = [ranks[first:first + num] for first in range(0, len(ranks) - num + 1, num)]
            group = min(groups, key=lambda group: sum([self._nbytes[rank] for rank in group]))
            for place, block in enumerate(blocks):
                places[block] = group[place * num // len(blocks)]
                self._nbytes[places[block]] += self._graph.tasks[block].nbytes
        return places

    def _pin(self, path: Sequence[int], rank: int) -> None:
        tasks = self._graph.tasks
        for number in path:
            if tasks[number].kind is not Kind.GONE and tasks[number].part is None:
                tasks[number] = replace(tasks[number], ranks=(rank,))


def _apart(paths: Sequence[list[int]]) -> list[list[int]]:
    """Let each path end before what it has in common with others, but not before its first task."""
    num = Counter(task for path in {path[0]: path for path in paths}.values() for task in path)
    return [path[:1] + list(takewhile(lambda task: num[task] == 1, path[1:])) for path in paths]


def _first_cut(operation: Operation, arguments: Named) -> tuple[str, Blocks]:
    """Give the argument whose blocks count, and its blocks: the first in the function's order that has several, or the first."""
    names = operation.named
    ordered = sorted(arguments, key=lambda pair: names.index(pair[0]) if pair[0] in names else len(names))
    return next((pair for pair in ordered if len(pair[1].tasks) > 1), ordered[0])


def _check_alike(first: str, num: int, other: str, others: int) -> None:
    if others not in (1, num):
        raise ValueError(f"'ranks: {HOLDERS}' gives each rank those blocks of {other!r} that have the numbers of its blocks of "
                         f"{first!r}, and they have {others} and {num}; cut both alike, or give one block, which all ranks get")


def _chosen(tasks: tuple[int, ...], numbers: Sequence[int]) -> tuple[int, ...]:
    return tasks if len(tasks) == 1 else tuple([tasks[number] for number in numbers])

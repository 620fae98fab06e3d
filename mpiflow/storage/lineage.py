"""Where a block comes from and what it is of: what is saved beside it, for people who look into a store."""

from __future__ import annotations

import time
from bisect import bisect
from collections.abc import Sequence
from functools import cached_property, lru_cache
from itertools import accumulate, starmap
from pathlib import Path

import msgspec
from msgspec.structs import replace

from mpiflow.catalog.catalog import DatasetEntry
from mpiflow.errors import OperationError
from mpiflow.operations.layout import ArrayHeader, describe
from mpiflow.operations.registry import Registry
from mpiflow.operations.values import Value, columns
from mpiflow.planning.tasks import Input, Kind, Task, TaskGraph, recipe_id
from mpiflow.storage.records import Given, Made, Share

MOST_IDS = 1000         # of the blocks of all arguments so many are named, but one of each,
MOST = 20_000           # of so many arguments and datasets,
MOST_COLUMNS = 100      # of tables so many columns,
MOST_TEXT = 64 << 10    # and parameters if they are not longer than this [bytes]: a record must stay short


class Lineage:
    """What is known of the tasks of one graph. Costs something only for tasks whose blocks are saved. Local."""

    def __init__(self, graph: TaskGraph, registry: Registry, results: Path) -> None:
        self._graph, self._registry, self._results = graph, registry, results

    def told(self, made: Made, task: Task, value: Value) -> Made:
        """Complete what is saved of ``task``, that has just ended with ``value``."""
        write, inputs = task.kind is Kind.WRITE, task.inputs[:MOST]
        shares = map(self._written, inputs) if write else starmap(self._share, self._places.get(task.id, ()))
        return replace(
            made, operation=self._registry[task.operation].name if task.operation else "", kind=str(task.kind),
            instance=task.instance, shares=tuple(shares), inputs=self._given(inputs), parameters=_text(task), form=_form(value),
            ended=time.time(), file=str(self._results / dict(task.parameters)["file"]) if write else "")

    @cached_property
    def _places(self) -> dict[str, list[tuple[DatasetEntry, int]]]:
        """The datasets that each block is of, and which of their blocks it is; by its id."""
        places: dict[str, list[tuple[DatasetEntry, int]]] = {}
        for entry in self._graph.datasets.values():
            for number, task in enumerate(entry.tasks):
                places.setdefault(self._graph.tasks[task].id, []).append((entry, number))
        return places

    def _share(self, entry: DatasetEntry, number: int) -> Share:
        share = Share(entry.name, entry.id, number, len(entry.tasks), entry.unit, entry.tags)
        labels, starts = self._instances(entry.name)
        if not labels or starts[-1] != len(entry.tasks):
            return share
        index = bisect(starts, number) - 1
        first, stop = starts[index:index + 2]
        return replace(share, instance=labels[index], part=(number - first, stop - first),
                       part_id=recipe_id("blocks", [self._graph.tasks[task].id for task in entry.tasks[first:stop]]))

    @lru_cache(maxsize=64)      # noqa: B019 (there is one of this object in a run)
    def _instances(self, name: str) -> tuple[list[str], list[int]]:
        """The names of the instances of a step, and the first block of each, and the end."""
        found = self._graph.instances.get(name)
        return (found.labels, [0, *accumulate(len(blocks.tasks) for blocks in found.blocks)]) if found else ([], [0])

    def _written(self, item: Input) -> Share:
        """What a file of results holds; the name of an instance is that of its step and its own."""
        entry = self._graph.written[item.argument]
        share = Share(entry.name, entry.id, 0, len(entry.tasks), entry.unit, entry.tags)
        step, _, instance = entry.name.partition("/")
        if entry.name in self._graph.datasets or step not in self._graph.instances:
            return share
        return replace(share, instance=instance, part=(0, len(entry.tasks)), part_id=entry.id)

    def _given(self, inputs: Sequence[Input]) -> tuple[Given, ...]:
        tasks, most = self._graph.tasks, max(1, MOST_IDS // max(1, len(inputs)))
        return tuple([Given(item.argument, tasks[item.tasks[0]].name if item.tasks else "",
                            tuple([tasks[number].id for number in item.tasks[:most]]), len(item.tasks)) for item in inputs])


def _text(task: Task) -> str:
    text = msgspec.json.encode(dict(task.parameters)).decode() if task.parameters else ""
    return text if len(text) <= MOST_TEXT else ""


def _form(value: Value) -> tuple[ArrayHeader, ...]:
    try:
        return describe(value) if len(columns(value)) <= MOST_COLUMNS else ()
    except OperationError:                      # then it will not be saved
        return ()

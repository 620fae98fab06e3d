"""Where a block comes from and what it is of: what is saved beside it, for people who look into a store."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import accumulate, starmap
from pathlib import Path

import msgspec
import numpy as np
from msgspec.structs import replace

from mpiflow.catalog.catalog import DatasetEntry
from mpiflow.errors import OperationError
from mpiflow.operations.layout import ArrayHeader, describe, header
from mpiflow.operations.registry import Registry
from mpiflow.operations.values import Value
from mpiflow.planning.tasks import Input, Kind, Task, TaskGraph, recipe_id
from mpiflow.storage.records import Given, Made, Share
from mpiflow.workflow.loops import label

MOST_IDS = 1000         # of the blocks of all arguments so many are named, but one of each,
MOST = 20_000           # of so many arguments and datasets,
MOST_COLUMNS = 100      # of tables so many columns,
MOST_TEXT = 64 << 10    # and parameters if they are not longer than this [bytes]: a record must stay short


class Lineage:
    """What is known of the tasks of one graph. It costs only for tasks whose blocks are saved. For one thread."""

    def __init__(self, graph: TaskGraph, registry: Registry, results: Path) -> None:
        self._graph, self._registry, self._results = graph, registry, results
        self._owners = _owners(graph.datasets.values())
        self._positions = lru_cache(64)(self._find_positions)
        self._starts = lru_cache(64)(self._find_starts)

    def told(self, number: int, made: Made, value: Value) -> Made:
        """Complete what is saved of the task ``number``, that has ended with ``value``."""
        task = self._graph.tasks[number]
        write, inputs = task.kind is Kind.WRITE, task.inputs[:MOST]
        shares = map(self._written, inputs) if write else starmap(self._share, self._places(number))
        return Made(
            made.id, made.step, made.nbytes, made.seconds, made.rank, made.host, made.workflow, made.code,
            self._registry[task.operation].name if task.operation else "", str(task.kind), task.instance, tuple(shares),
            self._given(inputs), _text(task), _form(value), made.ended,
            str(self._results / dict(task.parameters)["file"]) if write else "")

    def _places(self, number: int) -> list[tuple[DatasetEntry, int]]:
        """The datasets that a block is of, and which of their blocks it is."""
        first, others = self._owners
        entries = [first[number], *others.get(number, ())] if number in first else []
        return [(entry, place) for entry in entries for place in self._positions(entry.name).get(number, ())]

    def _find_positions(self, name: str) -> dict[int, tuple[int, ...]]:
        """Where each task is among those of a dataset."""
        tasks = self._graph.datasets[name].tasks
        plain = dict(zip(tasks, zip(range(len(tasks))), strict=True))
        if len(plain) < len(tasks):
            plain = dict.fromkeys(tasks, ())
            for place, task in enumerate(tasks):
                plain[task] += (place,)
        return plain

    def _share(self, entry: DatasetEntry, number: int) -> Share:
        share = Share(entry.name, entry.id, number, len(entry.tasks), entry.unit, entry.tags)
        found, starts = self._graph.instances.get(entry.name), self._starts(entry.name)
        if found is None or starts[-1] != len(entry.tasks):
            return share
        index = bisect(starts, number) - 1
        first, stop = starts[index:index + 2]
        return replace(share, instance=label(found.variables, found.rows[index]), part=(number - first, stop - first),
                       part_id=recipe_id("blocks", [self._graph.tasks[task].id for task in entry.tasks[first:stop]]))

    def _find_starts(self, name: str) -> list[int]:
        """The first block of each instance of a step, and the end."""
        found = self._graph.instances.get(name)
        return [0, *accumulate(len(blocks.tasks) for blocks in found.blocks)] if found else [0]

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


def _owners(datasets: Iterable[DatasetEntry]) -> tuple[dict[int, DatasetEntry], dict[int, list[DatasetEntry]]]:
    """Give the dataset that each block is of; and the others, of those few that are of several. There may be many blocks."""
    first: dict[int, DatasetEntry] = {}
    others: dict[int, list[DatasetEntry]] = {}
    for entry in datasets:
        own = dict.fromkeys(entry.tasks, entry)
        for number in sorted(first.keys() & entry.tasks):
            others.setdefault(number, []).append(entry)
            own[number] = first[number]
        first.update(own)
    return first, others


def _text(task: Task) -> str:
    text = msgspec.json.encode(dict(task.parameters)).decode() if task.parameters else ""
    return text if len(text) <= MOST_TEXT else ""


def _form(value: Value) -> tuple[ArrayHeader, ...]:
    try:
        if isinstance(value, dict):
            return describe(value) if len(value) <= MOST_COLUMNS else ()
        return _plain_form(value.dtype, value.shape)
    except OperationError:                      # then it will not be saved
        return ()


@lru_cache(1024)        # programs make few kinds of values, again and again
def _plain_form(dtype: np.dtype, shape: tuple[int, ...]) -> tuple[ArrayHeader, ...]:
    return (header("", dtype, shape),)

"""What one task does with its inputs; no MPI here."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mpiflow.errors import MachineError, MpiflowError, OperationError
from mpiflow.operations.operation import Operation
from mpiflow.operations.registry import Registry
from mpiflow.operations.values import Value, as_value, columns, concatenate, ndim, rows_of
from mpiflow.planning.tasks import Input, Kind, Task, TaskGraph
from mpiflow.storage.results import Parts, Result, stamp, write_results
from mpiflow.storage.sources import load
from mpiflow.storage.spill import Spill
from mpiflow.storage.store import Place
from mpiflow.storage.store import load as load_block
from mpiflow.workflow.reading import Workflow

_EMPTY = np.empty(0, np.uint8)
_NOTHING: Mapping[int, Any] = {}
_Call = tuple[Callable[..., Any], list[int], list[str] | None]      # function with its parameters, blocks, their names


class Executor:
    """Runs tasks of one workflow. Local."""

    def __init__(self, workflow: Workflow, registry: Registry, graph: TaskGraph, results: Path,
                 held: Mapping[int, Value] = _NOTHING, places: Mapping[int, Place] = _NOTHING) -> None:
        """Prepare.

        Args:
            workflow: The document.
            registry: The operations that it names.
            graph: The tasks.
            results: Where relative paths of results start.
            held: Blocks that this rank has in memory from before.
            places: Blocks that it can load from a store.
        """
        self._workflow = workflow
        self._registry = registry
        self._calls: dict[int, _Call] = {}
        self._tasks = graph.tasks
        self._written = graph.written
        self._results = results
        self._held, self._places = held, places

    def prepare(self, tasks: Iterable[int]) -> None:
        """Get ready to run ``tasks``; others can be run as well, but take longer."""
        for number in tasks:
            task = self._tasks[number]
            if task.kind is not Kind.APPLY or task.rows is not None or any(len(item.tasks) > 1 for item in task.inputs):
                continue
            operation = self._registry[task.operation]
            names = [item.argument for item in task.inputs]
            if operation.dtype is None and (all(names) or not any(names)):
                blocks = [item.tasks[0] for item in task.inputs]
                function = partial(operation.function, **dict(task.parameters)) if task.parameters else operation.function
                self._calls[number] = function, blocks, names if any(names) else None

    def at_once(self, number: int) -> frozenset[int]:
        """Give the blocks that a task needs in memory at the same time; what is written is read one block after the other."""
        task = self._tasks[number]
        return frozenset(task.needs) if task.kind is not Kind.WRITE else frozenset()

    def run(self, number: int, values: Mapping[int, Value]) -> Value:
        """Run task ``number`` on the blocks that it needs, all of which are in ``values``.

        Raises:
            Exception: Whatever the user's code raises.
            OperationError: The result is not what the operation promised.
            MachineError: A file cannot be read or written.
        """
        call = self._calls.get(number)
        if call is not None:
            function, blocks, names = call
            given = map(values.__getitem__, blocks)
            return as_value(function(*given) if names is None else function(**dict(zip(names, given, strict=True))))
        task = self._tasks[number]
        kind = task.kind
        if kind is Kind.LOAD:
            return as_value(load(self._workflow, task.block))
        if kind is Kind.WRITE:
            return self._write(task, values)
        if kind is Kind.RESTORE:
            return self._held[number] if number in self._held else load_block(self._places[number])
        if kind is Kind.KEPT:
            return _EMPTY
        if kind is Kind.GONE:
            raise MachineError(f"{task.block.file} was only to be seen by a rank that has died")
        operation = self._registry[task.operation]
        positional: list[Value] = []
        keywords = dict(task.parameters)
        for name, value in _arguments(task, operation, values):
            if name:
                keywords[name] = value
            else:
                positional.append(value)
        if kind is Kind.APPLY:
            result = operation.function(*positional, **keywords)
        elif kind is Kind.COMBINE:
            result = operation.merge(*positional)
        else:
            result = operation.finish(*positional, **(operation.defaults | keywords))
        result = as_value(result)
        if task.rows is not None or operation.dtype is not None:
            _check(task, operation, result)
        return result

    def _write(self, task: Task, values: Mapping[int, Value]) -> np.ndarray:
        file, results = self._results / dict(task.parameters)["file"], []
        for item in task.inputs:
            entry = self._written[item.argument]
            value = _parts(item, values) if isinstance(values, Spill) and len(item.tasks) > 1 else _joined(item, values)
            results.append(Result(entry.name, value, entry.unit, entry.tags, entry.id, self._workflow.document.name))
        write_results(file, results)
        return as_value(stamp(file))


def _joined(item: Input, values: Mapping[int, Value]) -> Value:
    tasks = item.tasks
    return values[tasks[0]] if len(tasks) == 1 else concatenate([values[task] for task in tasks])


def _parts(item: Input, values: Spill) -> Parts:
    return Parts([values.form(task) for task in item.tasks], lambda: (values[task] for task in item.tasks))


def _arguments(task: Task, operation: Operation, values: Mapping[int, Value]) -> list[tuple[str, Value]]:
    """Join each argument's blocks; in an elementwise task on one block, cut whole datasets to the rows of that block.

    Numpy broadcasts along axis 0 what has fewer dimensions. A whole dataset is then given whole; a block cannot be.
    """
    arguments = [(item.argument, _joined(item, values)) for item in task.inputs]
    if task.rows is None:
        return arguments
    least = max(ndim(value) for _, value in arguments) if operation.broadcast else 0
    for item, (_, value) in zip(task.inputs, arguments, strict=True):
        if item.cut is None and ndim(value) < least:
            raise OperationError(f"operation {operation.name!r}: a dataset of {ndim(value)} dimensions that is cut into blocks "
                                 f"cannot be broadcast to {least}; leave it in one block, or give it {least} dimensions")
    return [(name, rows_of(value, item.cut, least) if item.cut else value)
            for item, (name, value) in zip(task.inputs, arguments, strict=True)]


def _check(task: Task, operation: Operation, result: Value) -> None:
    for name, array in columns(result):
        what = f"column {name!r}" if name else "the result"
        if task.rows is not None and array.shape[:1] != (task.rows,):
            raise OperationError(f"operation {operation.name!r} is elementwise, but for {task.rows} rows {what} has "
                                 f"shape {array.shape}")
        if operation.dtype is not None and task.kind is Kind.APPLY and array.dtype != np.dtype(operation.dtype):
            raise OperationError(f"operation {operation.name!r} declares {operation.dtype}, but {what} is {array.dtype}")


def describe_failure(error: BaseException) -> str:
    """Give the traceback of what a task raised, from the first line that is not ours; our own errors as one line."""
    if isinstance(error, MpiflowError):
        return f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    own = str(Path(__file__).parent)
    skipped = next((i for i, frame in enumerate(frames) if not frame.filename.startswith(own)), 0)
    shown = traceback.TracebackException.from_exception(error)
    shown.stack = traceback.StackSummary.from_list(frames[skipped:])
    return "".join(shown.format()).rstrip().encode("utf-8", "backslashreplace").decode()    # no lone surrogates on the wire

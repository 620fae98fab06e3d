"""What one task does with its inputs; no MPI here."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from mpiflow.errors import MachineError, MpiflowError, OperationError
from mpiflow.operations.folders import Folders
from mpiflow.operations.interrupts import Interrupted, Interrupts
from mpiflow.operations.layout import form_of
from mpiflow.operations.operation import COMM, Operation
from mpiflow.operations.printed import Printed
from mpiflow.operations.programs import Program
from mpiflow.operations.registry import Registry
from mpiflow.operations.skipping import Skipped
from mpiflow.operations.values import Value, as_value, columns, concatenate, ndim, rows_of
from mpiflow.peer.programs import run_program
from mpiflow.planning.tasks import WRITES, Block, Input, Kind, Task, TaskGraph, missing, written_file
from mpiflow.storage.parts import Virtual
from mpiflow.storage.results import Parts, Result, stamp, virtual, write_results
from mpiflow.storage.sources import get_ready, load, untouched
from mpiflow.storage.spill import Spill
from mpiflow.storage.store import Place
from mpiflow.storage.store import load as load_block
from mpiflow.workflow.policies import Policy
from mpiflow.workflow.programs import PLAIN
from mpiflow.workflow.reading import Workflow

_EMPTY = np.empty(0, np.uint8)
_NOTHING: Mapping[int, Any] = {}
_Call = tuple[Callable[..., Any], list[int], list[str] | None]      # function with its parameters, blocks, their names

_forked: list[bool] = []
os.register_at_fork(after_in_child=lambda: _forked.append(True))


class Exhausted(Exception):
    """A task has failed as often as it was to be tried."""

    def __init__(self, last: Exception, num: int) -> None:
        super().__init__(last, num)
        self.last, self.num = last, num


class Executor:
    """Runs tasks of one workflow. Local.

    Attributes:
        policies: What becomes of failures, for tasks of steps that say so.
        interrupts: When the code that runs may be interrupted.
        meet: Waits for the other parts of a parallel operation, and gives their communicator.
        release: Tells them that this one does not come to its end.
        gone: Tasks that are skipped, as all ranks know.
    """

    def __init__(self, workflow: Workflow, registry: Registry, graph: TaskGraph, results: Path,
                 held: Mapping[int, Value] = _NOTHING, places: Mapping[int, Place] = _NOTHING,
                 folders: Folders | None = None, printed: Printed | None = None) -> None:
        """Prepare.

        Args:
            workflow: The document.
            registry: The operations that it names.
            graph: The tasks.
            results: Where relative paths of results start.
            held: Blocks that this rank has in memory from before.
            places: Blocks that it can load from a store.
            folders: Where programs run.
            printed: Keeps what they write.
        """
        self._workflow = workflow
        self._registry = registry
        self._calls: dict[int, _Call] = {}
        self._next: Mapping[int, Block] = _NOTHING              # what is loaded next of the file that a block is of
        self._tasks = graph.tasks
        self._written = graph.written
        self._results = results
        self._held, self._places = held, places
        self._folders, self._printed = folders or Folders(), printed or Printed()
        self.interrupts = Interrupts()
        self.policies: dict[int, Policy] = policies(workflow, graph)
        self.meet: Callable[[int], Any] | None = None
        self.release: Callable[[], None] = lambda: None
        self.gone: Set[int] = frozenset()

    def prepare(self, tasks: Iterable[int]) -> None:
        """Get ready to run ``tasks``, in about this order; others can be run as well, but take longer."""
        tasks = tuple(tasks)
        self._next = following(self._tasks, tasks)
        loads = [task for task in map(self._tasks.__getitem__, tasks) if task.kind is Kind.LOAD]
        for dataset in dict.fromkeys(task.block.dataset for task in loads):
            get_ready(self._workflow, dataset)
        optional = {number for number, task in enumerate(self._tasks) if task.optional}
        for number in tasks:
            task = self._tasks[number]
            joined = any(len(item.tasks) > 1 for item in task.inputs)
            if (task.kind is not Kind.APPLY or task.rows is not None or task.part is not None or joined or task.guard is not None
                    or (optional and not optional.isdisjoint(task.needs))):
                continue
            operation = self._registry[task.operation]
            names = [item.argument for item in task.inputs]
            if isinstance(operation, Program):
                continue
            if operation.dtype is None and (all(names) or not any(names)):
                blocks = [item.tasks[0] for item in task.inputs]
                function = partial(operation.function, **dict(task.parameters)) if task.parameters else operation.function
                self._calls[number] = function, blocks, names if any(names) else None

    def at_once(self, number: int) -> frozenset[int]:
        """Give the blocks that a task needs in memory at the same time; what is written is read one block after the other."""
        task = self._tasks[number]
        return frozenset(task.needs) if task.kind not in WRITES else frozenset()

    def run(self, number: int, values: Mapping[int, Value]) -> Value:
        """Run task ``number`` on the blocks that it needs, all of which are in ``values``. It may be interrupted.

        Raises:
            Exception: Whatever the user's code raises.
            OperationError: The result is not what the operation promised.
            MachineError: A file cannot be read or written.
            Skipped: It is not to run.
            Interrupted: It was, or is to be before it begins.
        """
        interrupts = self.interrupts
        try:
            interrupts.open = True
            if interrupts.wanted:
                raise Interrupted
            call = self._calls.get(number)
            if call is None:
                return self._run(number, values)
            function, blocks, names = call
            given = map(values.__getitem__, blocks)
            return as_value(function(*given) if names is None else function(**dict(zip(names, given, strict=True))))
        finally:
            interrupts.open = False
            if _forked:                         # a child that the operation forked must not go on as a second peer
                os._exit(1)

    def load(self, number: int) -> Value:
        """Read the block of a source, for a task or once more; whether that may be interrupted stays as it is.

        Raises:
            MachineError: Its file cannot be read.
        """
        return as_value(load(self._workflow, self._tasks[number].block, self._next.get(number)))

    def _run(self, number: int, values: Mapping[int, Value]) -> Value:
        """Run a task that ``prepare`` has made no call of."""
        task = self._tasks[number]
        kind = task.kind
        if task.guard is not None and bool(values[task.guard[0]]) is not task.guard[1]:
            raise Skipped
        if kind is Kind.LOAD:
            return self.load(number)
        if kind is Kind.WRITE:
            return self._write(task, values)
        if kind is Kind.WRITE_PART:
            return self._write_part(task, values)
        if kind is Kind.RESTORE:
            return self._held[number] if number in self._held else load_block(self._places[number])
        if kind is Kind.KEPT:
            return _EMPTY
        if kind is Kind.LEFT_OUT:
            raise Skipped
        if kind is Kind.GATE:
            return found_out(task, values)
        if kind is Kind.PASS:
            return next(values[need] for need in task.inputs[0].tasks if need not in self.gone)
        if kind is Kind.GONE:
            raise MachineError(f"{task.block.file} was only to be seen by a rank that has died")
        operation = self._registry[task.operation]
        if isinstance(operation, Program) and kind is Kind.APPLY:
            return self._program(number, operation, values)
        positional: list[Value] = []
        keywords = dict(task.parameters)
        if self.gone:
            task = self._there(task)
        if kind is Kind.COMBINE and len(task.inputs) == 1:      # the other part was skipped
            return values[task.inputs[0].tasks[0]]
        for name, value in _arguments(task, operation, values):
            if name:
                keywords[name] = value
            else:
                positional.append(value)
        if task.part is not None:
            result = self._part(number, operation, positional, keywords)
        elif kind is Kind.APPLY:
            result = operation.function(*positional, **keywords)
        elif kind is Kind.COMBINE:
            result = operation.merge(*positional)
        else:
            result = operation.finish(*positional, **(operation.defaults | keywords))
        result = as_value(result)
        if task.rows is not None or operation.dtype is not None:
            _check(task, operation, result)
        return result

    def _there(self, task: Task) -> Task:
        """Give a task with those of its inputs that are there; others are skipped, and it does without them."""
        if self.gone.isdisjoint(task.needs):
            return task
        tasks, inputs = self._tasks, []
        for item in task.inputs:
            if not missing(tasks, item, self.gone):
                inputs.append(replace(item, tasks=tuple([need for need in item.tasks if need not in self.gone])))
        return replace(task, inputs=tuple(inputs))

    def _part(self, number: int, operation: Operation, positional: list[Value], keywords: dict[str, Any]) -> Any:
        try:
            result = operation.function(*positional, **keywords, **{COMM: self.meet(number)})
        except BaseException:
            self.release()
            raise
        if operation.parallel == "first" and self._tasks[number].part.number:
            return _EMPTY
        if result is None and operation.parallel != "first":
            raise OperationError(f"operation {operation.name!r} returned None on one of its ranks; each must return its rows, or "
                                 "declare @operation(parallel=\"first\"), and the first returns all of them")
        return result

    def keeps_time(self, number: int) -> bool:
        """Whether a task itself sees to it that it does not take too long."""
        return isinstance(self._registry.get(self._tasks[number].operation), Program)

    def _program(self, number: int, program: Program, values: Mapping[int, Value]) -> Value:
        task, policy = self._there(self._tasks[number]), self.policies.get(number)
        plain = {name: value for name, value in task.parameters if name in PLAIN}
        inputs = {item.argument.removeprefix("in."): item for item in task.inputs}
        links = {name: file for name, item in inputs.items() if (file := self._untouched(item))}
        given = {name: _joined(item, values) for name, item in inputs.items() if name not in links}
        return as_value(run_program(program, plain, given, links, self._results, self._folders, self.interrupts,
                                    policy and policy.timeout, self._printed))

    def _untouched(self, item: Input) -> str | None:
        """The file that an input is, byte by byte, if it is on this node."""
        block = self._tasks[item.tasks[0]].block if len(item.tasks) == 1 else None
        datasets = self._workflow.document.datasets
        return untouched(block) if block and block.file and datasets[block.dataset].taken_as == "bytes" else None

    def _write(self, task: Task, values: Mapping[int, Value]) -> np.ndarray:
        file, results = self._results / written_file(task), []
        parted = dict(task.parameters).get("parts", ())
        for item in self._there(task).inputs:
            if item.argument in parted:
                value = virtual(file, item.argument, [(self._results / written_file(self._tasks[need]), values[need])
                                                      for need in item.tasks])
            elif isinstance(values, Spill) and len(item.tasks) > 1:
                value = _parts(item, values)
            else:
                value = _joined(item, values)
            results.append(self._result(item, value))
        write_results(file, results)
        return as_value(stamp(file))

    def _write_part(self, task: Task, values: Mapping[int, Value]) -> np.ndarray:
        file, (item,) = self._results / written_file(task), self._there(task).inputs
        write_results(file, [self._result(item, _parts(item, values))])
        return as_value(stamp(file))

    def _result(self, item: Input, value: Value | Parts | Virtual) -> Result:
        entry = self._written[item.argument]
        return Result(entry.name, value, entry.unit, entry.tags, entry.id, self._workflow.document.name)


def following(tasks: Sequence[Task], numbers: Sequence[int]) -> dict[int, Block]:
    """Give, for each of ``numbers`` that loads a block of a file, the block of that dataset and file that comes next. Pure."""
    last: dict[tuple[str, str], Block] = {}
    found = {}
    for number in reversed(numbers):
        block = tasks[number].block
        if tasks[number].kind is Kind.LOAD and block.file:
            key = block.dataset, block.file
            if key in last:
                found[number] = last[key]
            last[key] = block
    return found


def policies(workflow: Workflow, graph: TaskGraph) -> dict[int, Policy]:
    """Give the policy of each task whose step has another than the usual one. Pure."""
    if not workflow.policies:
        return {}
    return {number: workflow.policies[task.step] if task.part is None else _for_part(workflow.policies[task.step])
            for number, task in enumerate(graph.tasks)
            if task.step in workflow.policies and task.kind in (Kind.APPLY, Kind.COMBINE, Kind.FINISH)}


def _for_part(policy: Policy) -> Policy:
    """The policy for a part of a parallel operation: when it fails, the others cannot go on."""
    return Policy(timeout=policy.timeout)


def found_out(task: Task, values: Mapping[int, Value]) -> np.ndarray:
    """Give what the condition of a GATE task says: bool, shape ().

    Raises:
        OperationError: It is not one value, or there were to be no more turns.
    """
    given = dict(task.parameters)
    if not task.inputs:
        return as_value(given["holds"])
    value = _joined(task.inputs[0], values)
    if isinstance(value, dict) or value.size != 1 or value.dtype.kind not in "biuf":
        raise OperationError(f"{given['key']!r} of step {task.name!r} must be one value, true or false; it is "
                             f"{_described(value)}")
    holds = bool(value.reshape(()))
    if "at_most" in given and not holds:
        raise OperationError(f"step {task.step!r}: 'until' did not hold after {given['at_most']} turns, as many as 'at-most' "
                             "allows; allow more, or write 'on-limit: accept' to go on with what the last one has made")
    return as_value(holds)


def _described(value: Value) -> str:
    if isinstance(value, dict):
        return f"a table of {', '.join(value)}"
    return f"an array of shape {value.shape} and dtype {value.dtype}: {np.array2string(value, threshold=6, edgeitems=2)}"


def _joined(item: Input, values: Mapping[int, Value]) -> Value:
    tasks = item.tasks
    return values[tasks[0]] if len(tasks) == 1 else concatenate([values[task] for task in tasks])


def _parts(item: Input, values: Mapping[int, Value]) -> Parts:
    form = values.form if isinstance(values, Spill) else lambda task: form_of(values[task])
    return Parts([form(task) for task in item.tasks], lambda: (values[task] for task in item.tasks))


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
    """Give the traceback of what a task raised, from the first line that is not ours; our own errors as they are."""
    if isinstance(error, Exhausted):
        return f"{describe_failure(error.last)}\n(the last of {error.num} attempts)"
    if isinstance(error, MpiflowError):
        return f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    own = str(Path(__file__).parent)
    skipped = next((i for i, frame in enumerate(frames) if not frame.filename.startswith(own)), 0)
    shown = traceback.TracebackException.from_exception(error)
    shown.stack = traceback.StackSummary.from_list(frames[skipped:])
    return "".join(shown.format()).rstrip().encode("utf-8", "backslashreplace").decode()    # no lone surrogates on the wire

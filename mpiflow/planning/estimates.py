"""How large results will be and how long tasks will run, as far as it can be known before they do. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mpiflow.catalog.entries import Form
from mpiflow.operations.operation import Operation
from mpiflow.operations.registry import BUILTIN
from mpiflow.planning.forms import (
    UNKNOWN,
    applied_form,
    combined_form,
    cut_form,
    finished_form,
    form_nbytes,
    joined_form,
)
from mpiflow.planning.tasks import Input, Task

BYTES_PER_SECOND = 2e9      # of an operation that declares nothing; numpy streams at a few GB/s
SECONDS_PER_TASK = 2e-5
Parameters = tuple[tuple[str, Any], ...]


class Expected(NamedTuple):
    """What is expected of one task.

    Attributes:
        nbytes: Size of its result [bytes]; exact if the form or the sizes of the columns are known.
        seconds: Run time [s].
        form: Columns, dtypes and shapes of its result, if known.
        columns: Sizes of the columns of its result [bytes], if declared.
    """

    nbytes: int
    seconds: float
    form: Form = UNKNOWN
    columns: Mapping[str, int] | None = None


class Estimates:
    """What is expected of the tasks of a graph under construction.

    Args:
        tasks: The tasks of the graph.
        fail: Takes messages about operations whose declarations give no estimate.
    """

    def __init__(self, tasks: Sequence[Task], fail: Callable[[str], None]) -> None:
        self._tasks = tasks
        self._fail = fail
        self._forms: dict[int, Form] = {}
        self._columns: dict[int, Mapping[str, int]] = {}
        self._found: dict[tuple, Form] = {}

    def note(self, task: int, expected: Expected) -> None:
        """Keep what is known of a new task's result."""
        if expected.form:
            self._forms[task] = expected.form
        if expected.columns is not None:
            self._columns[task] = expected.columns

    def handed(self, task: int) -> Expected:
        """Expect of a task that hands on the block of another what is known of that."""
        return Expected(self._tasks[task].nbytes, SECONDS_PER_TASK, self._forms.get(task, UNKNOWN), self._columns.get(task))

    def several(self, task: int) -> bool:
        """Whether the result of a task is known not to be one value."""
        form = self._forms.get(task, UNKNOWN)
        return bool(form) and (len(form) > 1 or bool(form[0][0]) or math.prod(form[0][2]) != 1)

    def read(self, inputs: Sequence[Input], nbytes: int | None = None) -> Expected:
        """Expect of a task that its time follows from the bytes that it reads, and its result has as many, or ``nbytes``."""
        size = sum(self._sizes(inputs))
        return Expected(size if nbytes is None else nbytes, SECONDS_PER_TASK + size / BYTES_PER_SECOND)

    def applied(self, operation: Operation, inputs: Sequence[Input], parameters: Parameters, rows: int | None,
                otherwise: int | None = None) -> Expected:
        """Expect of an operation what it declares or, if it is built in, what follows from the forms of its inputs.

        ``otherwise`` is the size of the result [bytes] if nothing is declared, instead of that of an input.
        """
        sizes = self._sizes(inputs)
        total = sum(sizes)
        seconds = operation.guess + SECONDS_PER_TASK + total / BYTES_PER_SECOND
        if operation.code == BUILTIN and operation.seconds is None:
            form = self._applied_form(operation, inputs, parameters, rows)
            if form:
                return Expected(form_nbytes(form), seconds, form)
            column = self._column(operation, inputs, parameters)
            if column is not None:
                return Expected(column, seconds)
        named = {item.argument: size for item, size in zip(inputs, sizes, strict=True)} | dict(parameters)
        largest = max(sizes, default=8) if operation.elementwise else sum(sizes[:1]) or 8
        nbytes, columns = self._nbytes(operation, "nbytes", (sizes[0] if sizes else 0,), named,
                                       largest if otherwise is None else otherwise)
        if operation.seconds is not None:
            seconds = self._number(operation, "seconds", (total,), named, seconds)
        return Expected(nbytes, seconds, self._kept_form(operation, inputs, nbytes, rows), columns)

    def _kept_form(self, operation: Operation, inputs: Sequence[Input], nbytes: int, rows: int | None) -> Form:
        """The form of the first argument, if the result keeps its rows and is declared to have its dtype and size."""
        if operation.dtype is None or not operation.blockwise or not inputs or rows is not None or len(inputs[0].tasks) > 1:
            return UNKNOWN
        form = self._forms.get(inputs[0].tasks[0], UNKNOWN)
        alike = len(form) == 1 and np.dtype(form[0][1]) == np.dtype(operation.dtype) and form_nbytes(form) == nbytes
        return form if alike else UNKNOWN

    def alike(self, operation: Operation, inputs: Sequence[Input]) -> bool:
        """Whether the same is expected of ``operation`` on ``inputs`` whatever its plain arguments are."""
        wanted = operation.estimated_by
        return not (wanted["nbytes"] or wanted["seconds"]) and operation.code != BUILTIN

    def combined(self, operation: Operation, pair: Sequence[Input]) -> Expected:
        """Expect of two merged partial results the size of one, or of both if they are concatenated."""
        left, right = (item.tasks[0] for item in pair)
        expected = self.read(pair)
        forms = self._forms.get(left, UNKNOWN), self._forms.get(right, UNKNOWN)
        if operation.code == BUILTIN and all(forms):
            form = self._once(combined_form, operation, *forms)
            if form:
                return expected._replace(nbytes=form_nbytes(form), form=form)
        sizes = self._tasks[left].nbytes, self._tasks[right].nbytes
        columns = self._columns.get(left) if self._columns.get(left) == self._columns.get(right) else None
        default = sum(sizes) if operation.combine == "concatenate" else max(sizes)
        nbytes, declared = self._nbytes(operation, "combine_nbytes", sizes, {}, default)
        kept = columns if operation.combine_nbytes is None and operation.combine != "concatenate" else declared
        return expected._replace(nbytes=nbytes, columns=kept)

    def finished(self, operation: Operation, inputs: Sequence[Input], parameters: Parameters,
                 others: Sequence[Input] = ()) -> Expected:
        """Expect of a finished result what is declared, by sizes of ``others`` too; else as many bytes as go into it."""
        partial = inputs[0].tasks[0]
        expected = self.read(inputs)
        if operation.code == BUILTIN and partial in self._forms:
            form = self._once(finished_form, operation, self._forms[partial], parameters)
            if form:
                return expected._replace(nbytes=form_nbytes(form), form=form)
        sizes = self._sizes((*inputs, *others))
        named = {item.argument: size for item, size in zip((*inputs, *others), sizes, strict=True)} | dict(parameters)
        nbytes, columns = self._nbytes(operation, "finish_nbytes", (sizes[0],), named, expected.nbytes)
        return expected._replace(nbytes=nbytes, columns=columns)

    # Sizes and forms

    def _sizes(self, inputs: Sequence[Input]) -> list[int]:
        tasks = self._tasks
        return [tasks[item.tasks[0]].nbytes if len(item.tasks) == 1 else sum([tasks[task].nbytes for task in item.tasks])
                for item in inputs]

    def _applied_form(self, operation: Operation, inputs: Sequence[Input], parameters: Parameters, rows: int | None) -> Form:
        forms = [joined_form([self._forms.get(task, UNKNOWN) for task in item.tasks]) for item in inputs]
        if not all(forms):
            return UNKNOWN
        if rows is not None:
            most = max(len(shape) for form in forms for _, _, shape in form)
            least = most if operation.broadcast else 0
            forms = [cut_form(form, item.cut, least) if item.cut else form for item, form in zip(inputs, forms, strict=True)]
        arguments = tuple((item.argument, form) for item, form in zip(inputs, forms, strict=True))
        return self._once(applied_form, operation, arguments, parameters)

    def _once(self, how: Callable[..., Form], operation: Operation, *arguments: Any) -> Form:
        """Ask once what the same operation makes of the same forms; the value of a number does not matter to a ufunc."""
        *forms, parameters = arguments
        if operation.broadcast:
            parameters = [(name, type(value) if type(value) in (int, float, bool) else value) for name, value in parameters]
        key = (how, operation.name, *forms, repr(parameters))
        if key not in self._found:
            self._found[key] = how(operation, *arguments)
        return self._found[key]

    def _column(self, operation: Operation, inputs: Sequence[Input], parameters: Parameters) -> int | None:
        """The size of a column of tables that declare it."""
        if operation.name != "column":
            return None
        name = dict(parameters).get("name")
        tables = [self._columns.get(task, {}) for task in inputs[0].tasks]
        return sum(table[name] for table in tables) if all(name in table for table in tables) else None

    # Declarations

    def _nbytes(self, operation: Operation, what: str, sizes: Sequence[int], named: Mapping[str, Any],
                default: int) -> tuple[int, Mapping[str, int] | None]:
        """Give a size that an operation declares, and the sizes of columns if these are declared."""
        declared = self._ask(operation, what, sizes, named)
        if declared is None:
            return default, None
        if not isinstance(declared, Mapping):
            return int(self._checked(operation, what, sizes, declared, default)), None
        columns = {str(name): int(self._checked(operation, what, sizes, size, 0)) for name, size in declared.items()}
        return sum(columns.values()), columns

    def _number(self, operation: Operation, what: str, sizes: Sequence[int], named: Mapping[str, Any], default: float) -> float:
        declared = self._ask(operation, what, sizes, named)
        return default if declared is None else self._checked(operation, what, sizes, declared, default)

    def _ask(self, operation: Operation, what: str, sizes: Sequence[int], named: Mapping[str, Any]) -> Any:
        """What an operation declares, or what its function gives; None if it declares nothing or the function raises."""
        declared = getattr(operation, what)
        if not callable(declared):
            return declared
        wanted = operation.estimated_by[what]
        try:
            given = declared(*sizes, **{name: named.get(name, operation.parameters[name].default) for name in wanted})
            return given if isinstance(given, Mapping) and what != "seconds" else float(given)
        except Exception as error:           # user code may raise anything
            self._complain(operation, what, sizes, f"raises {type(error).__name__}: {error}")
            return None

    def _checked(self, operation: Operation, what: str, sizes: Sequence[int], estimate: Any, default: float) -> float:
        try:
            number = float(estimate)
            if math.isfinite(number):
                return max(number, 0.0)
            reason = f"gives {number}"
        except (TypeError, ValueError, OverflowError) as error:
            reason = f"raises {type(error).__name__}: {error}"
        self._complain(operation, what, sizes, reason)
        return default

    def _complain(self, operation: Operation, what: str, sizes: Sequence[int], reason: str) -> None:
        size = " and ".join(f"{size}" for size in sizes)
        self._fail(f"operation {operation.name!r}: its {what} for {size} bytes {reason}")

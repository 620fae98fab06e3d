"""Dtypes and shapes of values before they exist: what built-in operations make of known ones. Pure.

A form is (column, dtype, shape) of each array, as in the catalog; an empty one is not known. Dtypes come from running the
operation itself on arrays of one element or none, so that they are numpy's own answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mpiflow.catalog.entries import Form
from mpiflow.operations.operation import Operation
from mpiflow.operations.values import as_value, columns, from_columns

Arguments = Sequence[tuple[str, Form]]
UNKNOWN: Form = ()


def array_form(dtype: Any, shape: Sequence[int]) -> Form:
    """Give the form of a plain array."""
    return (("", np.dtype(dtype).newbyteorder("=").str, tuple(shape)),)


def form_nbytes(form: Form) -> int:
    """Give the size of a value [bytes]."""
    return sum(np.dtype(dtype).itemsize * math.prod(shape) for _, dtype, shape in form)


def column_form(form: Form, name: str) -> Form:
    """Give the form of one column of a table."""
    return next((array_form(dtype, shape) for column, dtype, shape in form if column == name), UNKNOWN)


def joined_form(forms: Sequence[Form]) -> Form:
    """Give the form of values joined along axis 0; see ``values.concatenate``."""
    if len(forms) == 1 or not all(forms):
        return forms[0] if len(forms) == 1 else UNKNOWN
    done = []
    for parts in zip(*forms, strict=False):
        shapes = [shape or (1,) for _, _, shape in parts]
        if len({part[0] for part in parts}) > 1 or len({shape[1:] for shape in shapes}) > 1:
            return UNKNOWN
        rows = sum(shape[0] for shape in shapes)
        done.append((parts[0][0], np.result_type(*{np.dtype(part[1]) for part in parts}).str, (rows, *shapes[0][1:])))
    return tuple(done)


def cut_form(form: Form, cut: tuple[int, int, int], least: int) -> Form:
    """Give the form of the rows that belong to one block; see ``values.rows_of``."""
    start, stop, total = cut
    return tuple((name, dtype, (stop - start, *shape[1:]) if shape[:1] == (total,) and len(shape) >= least else shape)
                 for name, dtype, shape in form)


def applied_form(operation: Operation, arguments: Arguments, parameters: tuple[tuple[str, Any], ...]) -> Form:
    """Give the form of what a built-in operation returns; unknown if a form is, or if it would raise."""
    if not all(form for _, form in arguments):
        return UNKNOWN
    how = _elementwise if operation.elementwise else _reduction if operation.linear else _PLAIN.get(operation.name)
    return _tried(how, operation, arguments, dict(parameters)) if how else UNKNOWN


def combined_form(operation: Operation, left: Form, right: Form) -> Form:
    """Give the form of two merged partial results of a built-in operation."""
    if not left or [part[2] for part in left] != [part[2] for part in right]:
        return UNKNOWN
    return _tried(_merged, operation, left, right)


def finished_form(operation: Operation, partial: Form, parameters: tuple[tuple[str, Any], ...]) -> Form:
    """Give the form of a finished partial result of a built-in operation."""
    return _tried(_closed, operation, partial, dict(parameters)) if partial else UNKNOWN


def _tried(how: Callable[..., Form], *arguments: Any) -> Form:
    try:
        with np.errstate(all="ignore"):
            return how(*arguments)
    except Exception:           # the operation raises, so it will when it runs, and say why
        return UNKNOWN


# How

def _ones(form: Form, extent: int = 1) -> Any:
    """A value of this form, but with this extent along all axes."""
    return from_columns([(name, np.ones((extent,) * len(shape), dtype)) for name, dtype, shape in form])


def _shape(form: Form) -> tuple[int, ...]:
    """The shape of all columns together; a table's differ in leading dimensions only."""
    return np.broadcast_shapes(*(shape for _, _, shape in form))


def _trailing(result: Any, shape: tuple[int, ...]) -> Form:
    """The form of a result that was made of one element, if it keeps the last axes."""
    return tuple((name, array.dtype.str, shape[len(shape) - array.ndim:]) for name, array in columns(as_value(result)))


def _elementwise(operation: Operation, arguments: Arguments, parameters: dict[str, Any]) -> Form:
    """Shapes are broadcast; a list counts as the array that numpy makes of it, a number has no dtype of its own."""
    lists = {name: np.asarray(value) for name, value in parameters.items() if isinstance(value, list)}
    shapes = [_shape(form) for _, form in arguments] + [value.shape for value in lists.values()]
    dummies = {name: np.ones(0, value.dtype) for name, value in lists.items()}
    dummies |= {name: np.ones(0, form[0][1]) for name, form in arguments if not form[0][0]}
    result = operation.function(**(parameters | dummies))
    return array_form(result.dtype, np.broadcast_shapes(*shapes))


def _reduction(operation: Operation, arguments: Arguments, parameters: dict[str, Any]) -> Form:
    ((name, form),) = arguments
    result = operation.function(**{name: _ones(form)}, **parameters)
    if operation.name == "histogram":                       # as many as bins, however many elements there are
        return array_form(result.dtype, result.shape)
    return _trailing(result, _shape(form))


def _merged(operation: Operation, left: Form, right: Form) -> Form:
    return _trailing(operation.merge(_ones(left), _ones(right)), _shape(left))


def _closed(operation: Operation, partial: Form, parameters: dict[str, Any]) -> Form:
    if operation.name == "histogram":
        real = from_columns([(name, np.ones(shape, dtype)) for name, dtype, shape in partial])
        result = as_value(operation.finish(real, **(operation.defaults | parameters)))
        return tuple((name, array.dtype.str, array.shape) for name, array in columns(result))
    return _trailing(operation.finish(_ones(partial), **(operation.defaults | parameters)), _shape(partial))


def _column(operation: Operation, arguments: Arguments, parameters: dict[str, Any]) -> Form:
    return column_form(arguments[0][1], parameters["name"])


def _same_shape(operation: Operation, arguments: Arguments, parameters: dict[str, Any]) -> Form:
    ((name, form),) = arguments
    return array_form(operation.function(**{name: _ones(form)}).dtype, form[0][2])


def _median(operation: Operation, arguments: Arguments, parameters: dict[str, Any]) -> Form:
    ((name, form),) = arguments
    axis, shape = parameters.get("axis"), form[0][2]
    gone = range(len(shape)) if axis is None else [each % len(shape) for each in ([axis] if isinstance(axis, int) else axis)]
    dtype = np.asarray(operation.function(**{name: _ones(form)}, **parameters)).dtype
    return array_form(dtype, [extent for number, extent in enumerate(shape) if number not in gone])


def _sort(operation: Operation, arguments: Arguments, parameters: dict[str, Any]) -> Form:
    (_, dtype, shape), = arguments[0][1]
    flat = "axis" in parameters and parameters["axis"] is None
    return array_form(dtype, (math.prod(shape),) if flat else shape)


def _row(operation: Operation, arguments: Arguments, parameters: dict[str, Any]) -> Form:
    return tuple((name, dtype, shape[1:]) for name, dtype, shape in arguments[0][1])


def _compare(operation: Operation, arguments: Arguments, parameters: dict[str, Any]) -> Form:
    result = operation.function(*(np.ones(1, form[0][1]) for _, form in arguments))
    return tuple((name, array.dtype.str, ()) for name, array in columns(as_value(result)))


_PLAIN: dict[str, Callable[..., Form]] = {
    "column": _column, "compare": _compare, "median": _median, "normalise": _same_shape, "row": _row, "sort": _sort,
}

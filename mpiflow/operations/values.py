"""Values of datasets: one array, or a table of named arrays; and the ways partial results are merged."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mpiflow.errors import OperationError

Value = np.ndarray | dict[str, np.ndarray]
Combine = Callable[[Any, Any], Any]
_NUMBERS = frozenset({float, bool})


def as_value(result: Any) -> Value:
    """Give what an operation returned as a value: C-contiguous, read-only, native arrays.

    Args:
        result: An array, a number, or a mapping from column name to such.

    Raises:
        OperationError: It is something else, for example None, an array of Python objects or one with masked elements.
    """
    if type(result) is np.ndarray:          # the common cases, without ceremony
        dtype = result.dtype
        if dtype.isnative and not dtype.hasobject and result.flags.c_contiguous:
            if result.base is not None:
                return _locked(result)
            result.setflags(False)
            return result.view()
    elif type(result) in _NUMBERS:
        return _locked(np.array(result))
    elif isinstance(result, Mapping):
        if not result:
            raise OperationError("the operation returned an empty table")
        return {_column_name(name): _as_array(item) for name, item in result.items()}
    return _as_array(result)


def _column_name(name: Any) -> str:
    if not isinstance(name, str) or name in ("", ".") or "/" in name:      # a column is an object in an HDF5 group
        raise OperationError(f"a column of a table needs a name without '/', not {name!r}")
    return name


def _as_array(result: Any) -> np.ndarray:
    if result is None:
        raise OperationError("the operation returned None; it must return an array, a number or a dict of such")
    masked = sys.modules.get("numpy.ma")       # numpy loads it when it is first asked for; what nobody loaded made no array
    if masked and masked.is_masked(result):
        raise OperationError("the operation returned a masked array; use its filled(), or the masked elements would count")
    try:
        array = np.asarray(result)
    except ValueError as error:
        raise OperationError(f"the operation returned no array: {error}") from None
    if array.dtype.hasobject:
        raise OperationError(f"the operation returned Python objects ({type(result).__name__}); "
                             "it must return an array, a number or a dict of such")
    if not array.dtype.isnative or not array.flags.c_contiguous:
        array = np.asarray(array, array.dtype.newbyteorder("="), order="C")
    return _locked(array)


def _locked(array: np.ndarray) -> np.ndarray:
    """View ``array`` as read-only: an operation that has kept its buffer must fail, not change the value."""
    array.setflags(False)
    owner = array.base
    while isinstance(owner, np.ndarray):
        owner.setflags(False)
        owner = owner.base
    return array.view()


def columns(value: Value) -> tuple[tuple[str, np.ndarray], ...]:
    """Give the arrays of ``value`` with their names; the name of a plain array is empty."""
    return tuple(value.items()) if isinstance(value, dict) else (("", value),)


def nbytes(value: Value) -> int:
    """Give the size of ``value`` [bytes]."""
    return sum([array.nbytes for array in value.values()]) if isinstance(value, dict) else value.nbytes


def from_columns(arrays: Sequence[tuple[str, np.ndarray]]) -> Value:
    """Undo ``columns``."""
    return arrays[0][1] if len(arrays) == 1 and not arrays[0][0] else dict(arrays)


def _pairwise(name: str, ufunc: np.ufunc) -> Combine:
    def combine(left: Value, right: Value) -> Value:
        _check_alike(name, left, right)
        pairs = zip(columns(left), columns(right), strict=True)
        return from_columns([(key, np.asarray(ufunc(a, b))) for (key, a), (_, b) in pairs])

    combine.__name__ = name
    return combine


def _check_alike(name: str, left: Value, right: Value) -> None:
    """Numpy would broadcast unequal partial results, and give a number that nobody asked for."""
    shapes = [[(key, array.shape) for key, array in columns(value)] for value in (left, right)]
    if shapes[0] != shapes[1]:
        one, other = (", ".join(f"{key} {shape}".strip() for key, shape in value) for value in shapes)
        raise OperationError(f"partial results differ in shape and cannot be combined by {name}: {one} and {other}")


def concatenate(values: Sequence[Value]) -> Value:
    """Join values along axis 0, column by column; a single number counts as a row. One value is given back as it is.

    Raises:
        OperationError: Their columns, dimensions or trailing extents differ.
    """
    if len(values) == 1:
        return values[0]
    parts = [columns(value) for value in values]
    names = [name for name, _ in parts[0]]
    if any([name for name, _ in part] != names for part in parts):
        raise OperationError("tables with different columns cannot be joined")
    try:
        return from_columns([(name, np.concatenate([np.atleast_1d(part[i][1]) for part in parts]))
                             for i, name in enumerate(names)])
    except (ValueError, TypeError) as error:            # TypeError: no common dtype
        raise OperationError(f"values cannot be joined along axis 0: {error}") from None


def rows_of(value: Value, cut: tuple[int, int, int], least: int) -> Value:
    """Give the rows of a whole dataset that belong to one block.

    Args:
        value: The whole dataset.
        cut: First row of the block, the row behind its last one, and the number of rows that a dataset must have to be cut.
        least: Dimensions that it must have to be cut; one with fewer, or with other rows, is broadcast, so given back whole.
    """
    start, stop, total = cut
    return from_columns([
        (name, array[start:stop] if array.shape[:1] == (total,) and array.ndim >= least else array)
        for name, array in columns(value)])


def ndim(value: Value) -> int:
    """Give the number of dimensions of ``value``; of a table, the greatest of its columns."""
    return max(array.ndim for _, array in columns(value))


COMBINES: dict[str, Combine] = {
    "add": _pairwise("add", np.add),
    "minimum": _pairwise("minimum", np.minimum),
    "maximum": _pairwise("maximum", np.maximum),
    "concatenate": lambda left, right: concatenate([left, right]),
}

"""Built-in operations that keep rows apart, and plain ones that need whole datasets."""

from __future__ import annotations

import numpy as np

from mpiflow.operations.operation import Operation, operation
from mpiflow.operations.values import Value, columns
from mpiflow.operations.values import concatenate as join

_UNARY = {
    "negative": np.negative, "positive": np.positive, "absolute": np.absolute, "sqrt": np.sqrt, "exp": np.exp,
    "log": np.log, "log10": np.log10, "sin": np.sin, "cos": np.cos, "tanh": np.tanh, "square": np.square,
    "floor": np.floor, "ceil": np.ceil, "rint": np.rint, "isfinite": np.isfinite, "logical_not": np.logical_not,
}
_BINARY = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide,
    "floor_divide": np.floor_divide, "remainder": np.remainder, "power": np.power, "less": np.less,
    "less_equal": np.less_equal, "greater": np.greater, "greater_equal": np.greater_equal, "equal": np.equal,
    "not_equal": np.not_equal, "minimum": np.minimum, "maximum": np.maximum, "logical_and": np.logical_and,
    "logical_or": np.logical_or, "hypot": np.hypot, "arctan2": np.arctan2,
}


def _unary(name: str, ufunc: np.ufunc) -> Operation:
    def apply(x):
        return ufunc(x)

    apply.__doc__ = f"numpy.{ufunc.__name__} of each element."
    return Operation(name, apply, elementwise=True, broadcast=True)


def _binary(name: str, ufunc: np.ufunc) -> Operation:
    def apply(x, y):
        return ufunc(x, y)

    apply.__doc__ = f"numpy.{ufunc.__name__} of each pair of elements; numpy's broadcasting rules."
    return Operation(name, apply, elementwise=True, broadcast=True)


globals().update({name: _unary(name, ufunc) for name, ufunc in _UNARY.items()})
globals().update({name: _binary(name, ufunc) for name, ufunc in _BINARY.items()})


@operation(elementwise=True, broadcast=True)
def clip(x, low, high):
    """Each element, but not below ``low`` nor above ``high``."""
    return np.clip(x, low, high)


@operation(elementwise=True, broadcast=True)
def where(condition, x, y):
    """``x`` where ``condition`` holds, else ``y``."""
    return np.where(condition, x, y)


@operation(elementwise=True)
def astype(x, dtype):
    """Each element as ``dtype``, for example float32."""
    return x.astype(dtype)


@operation
def concatenate(first, *others):
    """The datasets joined along axis 0, in the order given. Their blocks stay where they are."""
    return join([first, *others])


@operation
def normalise(x):
    """(x - mean) / standard deviation over all elements, in float64; zeros where all elements are equal.

    It needs the whole dataset in one place; ``(x - mean(x)) / std(x)`` says the same and stays cut into blocks.
    """
    centred = x - np.mean(x, dtype=np.float64)
    spread = np.sqrt(np.mean(np.square(centred)))
    return centred / spread if spread > 0 else np.zeros_like(centred)


@operation(nbytes=lambda nbytes, axis: 8 if axis is None else nbytes)
def median(x, axis=None):
    """Median over all elements, or along ``axis``."""
    return np.median(x, axis=axis)


@operation
def sort(x, axis=0):
    """The elements in ascending order along ``axis``."""
    return np.sort(x, axis=axis)


@operation(nbytes={"equal": 1, "max_abs": 8, "rms": 8})
def compare(x, y):
    """How far two datasets of one shape are apart: table of ``equal``, ``max_abs`` and ``rms``.

    Raises:
        ValueError: Their shapes differ.
    """
    if x.shape != y.shape:
        raise ValueError(f"datasets of shapes {x.shape} and {y.shape} cannot be compared")
    apart = np.abs(np.subtract(x, y, dtype=np.float64)) if x.size else np.zeros(1)
    return {"equal": np.array_equal(x, y), "max_abs": np.max(apart), "rms": np.sqrt(np.mean(np.square(apart)))}


@operation(nbytes=lambda n: n // 2)
def column(table: Value, name):
    """One array of a table; ``table.name`` in expressions.

    Raises:
        KeyError: The dataset is no table, or has no such column.
    """
    if not isinstance(table, dict):
        raise KeyError(f"no column {name!r}: the dataset is one array, not a table")
    if name not in table:
        raise KeyError(f"no column {name!r}; there are {', '.join(key for key, _ in columns(table))}")
    return table[name]


@operation(nbytes=8)
def row(x, index):
    """One row of a dataset, without axis 0; of a table, that of each column.

    Raises:
        IndexError: There is no such row.
    """
    return {name: array[index] for name, array in columns(x)} if isinstance(x, dict) else x[index]

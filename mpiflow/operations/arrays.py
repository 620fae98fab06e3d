"""Built-in operations that keep rows apart, and plain ones that need whole datasets."""

from __future__ import annotations

import numpy as np

from mpiflow.operations.operation import Operation, operation
from mpiflow.operations.units import ONE, UnitError, alike, conversion, number, parse_unit
from mpiflow.operations.values import Value, columns
from mpiflow.operations.values import concatenate as join


def _number(x):
    return number(x)


def _alike(x, y):
    return alike(x, y)


def _compared(x, y):
    alike(x, y)
    return ONE


# Each with what it makes of units.
_UNARY = {
    **dict.fromkeys(("negative", "positive", "absolute", "floor", "ceil", "rint"), "same"),
    **dict.fromkeys(("exp", "log", "log10", "sin", "cos", "tanh"), _number),
    **dict.fromkeys(("isfinite", "logical_not"), "1"),
    "sqrt": lambda x: x ** 0.5, "square": lambda x: x ** 2,
}
_BINARY = {
    **dict.fromkeys(("add", "subtract", "remainder", "minimum", "maximum", "hypot"), _alike),
    **dict.fromkeys(("less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "arctan2"), _compared),
    **dict.fromkeys(("logical_and", "logical_or"), "1"),
    "multiply": lambda x, y: x * y, "divide": lambda x, y: x / y, "floor_divide": lambda x, y: x / y,
    "power": lambda x, y: x ** y,
}


def _unary(name: str, ufunc: np.ufunc) -> Operation:
    def apply(x):
        return ufunc(x)

    apply.__doc__ = f"numpy.{name} of each element."
    return Operation(name, apply, elementwise=True, broadcast=True, unit=_UNARY[name])


def _binary(name: str, ufunc: np.ufunc) -> Operation:
    def apply(x, y):
        return ufunc(x, y)

    apply.__doc__ = f"numpy.{name} of each pair of elements; numpy's broadcasting rules."
    return Operation(name, apply, elementwise=True, broadcast=True, unit=_BINARY[name])


globals().update({name: _unary(name, getattr(np, name)) for name in _UNARY})
globals().update({name: _binary(name, getattr(np, name)) for name in _BINARY})


@operation(elementwise=True, broadcast=True, unit=lambda x, low, high: alike(x, low, high))
def clip(x, low, high):
    """Each element, but not below ``low`` nor above ``high``."""
    return np.clip(x, low, high)


@operation(elementwise=True, broadcast=True, unit=_alike)
def where(condition, x, y):
    """``x`` where ``condition`` holds, else ``y``."""
    return np.where(condition, x, y)


@operation(elementwise=True, unit="same")
def astype(x, dtype):
    """Each element as ``dtype``, for example float32."""
    return x.astype(dtype)


def _factor(unit, to):
    """Factor and summand that turn numbers of one unit into those of another."""
    found = conversion(*map(_read, (unit, to)))
    if found is None:
        raise UnitError(f"{unit} cannot be converted to {to}")
    return found


def _read(unit):
    if not isinstance(unit, str):
        raise UnitError(f"{unit!r} is no name of a unit")
    return parse_unit(unit)


def _converted(x, unit, to):
    _factor(unit, to)
    alike(_read(unit), x)
    return _read(to)


@operation(elementwise=True, broadcast=True, unit=_converted)
def convert(x, unit, to):
    """Numbers in ``to`` of numbers in ``unit``: ``convert(x, 'nm', to='angstrom')`` is 10 x.

    Raises:
        UnitError: There is no such conversion.
    """
    factor, summand = _factor(unit, to)
    return x * factor + summand if summand else x * factor


@operation(unit=alike)
def concatenate(first, *others):
    """The datasets joined along axis 0, in the order given. Their blocks stay where they are."""
    return join([first, *others])


@operation(unit="1")
def normalise(x):
    """(x - mean) / standard deviation over all elements, in float64; zeros where all elements are equal.

    It needs the whole dataset in one place; ``(x - mean(x)) / std(x)`` says the same and stays cut into blocks.
    """
    centred = x - np.mean(x, dtype=np.float64)
    spread = np.sqrt(np.mean(np.square(centred)))
    return centred / spread if spread > 0 else np.zeros_like(centred)


@operation(nbytes=lambda nbytes, axis: 8 if axis is None else nbytes, unit="same")
def median(x, axis=None):
    """Median over all elements, or along ``axis``."""
    return np.median(x, axis=axis)


@operation(unit="same")
def sort(x, axis=0):
    """The elements in ascending order along ``axis``."""
    return np.sort(x, axis=axis)


@operation(nbytes={"equal": 1, "max_abs": 8, "rms": 8}, unit={"equal": _compared, "max_abs": _alike, "rms": _alike})
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


@operation(nbytes=8, unit="same")
def row(x, index):
    """One row of a dataset, without axis 0; of a table, that of each column.

    Raises:
        IndexError: There is no such row.
    """
    return {name: array[index] for name, array in columns(x)} if isinstance(x, dict) else x[index]

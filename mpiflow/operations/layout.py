"""Arrays as bytes: what must be known of arrays so that their bytes become the same arrays again. Never a pickle."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from mpiflow.errors import OperationError
from mpiflow.operations.values import Value, columns, from_columns


class ArrayHeader(Struct, frozen=True, array_like=True):
    """One array of a block, as it is written: name of its column, dtype as numpy's file format writes it, shape."""

    name: str
    dtype: str | list
    shape: tuple[int, ...]


class ArrayForm(NamedTuple):
    """One array of a block, ready to be made."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]


Forms = tuple[ArrayForm, ...]


def form_of(value: Value) -> Forms:
    """Give the form of each array of ``value``."""
    return tuple([ArrayForm(name, array.dtype, array.shape) for name, array in columns(value)])


def describe(value: Value) -> tuple[ArrayHeader, ...]:
    """Give what must be known of the arrays of ``value``. Metadata of dtypes are left out.

    Raises:
        OperationError: A dtype cannot be written: a type that is not numpy's own, or fields that overlap.
    """
    return tuple([header(name, array.dtype, array.shape) for name, array in columns(value)])


def header(name: str, dtype: np.dtype, shape: tuple[int, ...]) -> ArrayHeader:
    """The same for one array, that need not be there."""
    plain = np.lib.format.drop_metadata(dtype)
    try:
        descr = np.lib.format.dtype_to_descr(plain)
        same = _dtype(descr) == plain           # of a type made by somebody else, numpy writes the size only
    except (ValueError, TypeError):
        same = False
    if not same:
        raise OperationError(f"arrays of dtype {dtype} cannot be written as bytes and read again")
    return ArrayHeader(name, descr, shape)


def forms(headers: Iterable[ArrayHeader]) -> Forms:
    """Undo ``describe``.

    Raises:
        ValueError, TypeError: A dtype is none.
    """
    return tuple([ArrayForm(item.name, _dtype(item.dtype), item.shape) for item in headers])


def _dtype(descr: str | list) -> np.dtype:
    return np.lib.format.descr_to_dtype(_tuples(descr))


def _tuples(descr: str | list) -> str | list:
    """msgpack gives lists where numpy wants tuples: (name, dtype) or (name, dtype, shape) for each field."""
    if isinstance(descr, str):
        return descr
    return [(name if isinstance(name, str) else tuple(name), _tuples(kind), *map(tuple, shape))      # (title, name)
            for name, kind, *shape in descr]


def allocate(arrays: Forms, empty: Callable[..., np.ndarray] = np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Make arrays to be filled, by ``empty``; np.empty would make texts of length 0 one character long."""
    return [(name, empty(shape, dtype)) for name, dtype, shape in arrays]


def as_bytes(array: np.ndarray) -> np.ndarray:
    """View a C-contiguous array as uint8, without a copy."""
    if array.ndim != 1:
        array = array.reshape(-1)
    return array.view(np.uint8) if array.nbytes else np.empty(0, np.uint8)


def pieces(arrays: Iterable[tuple[str, np.ndarray]], size: int) -> list[np.ndarray]:
    """Cut arrays into uint8 views of at most ``size`` bytes; an empty array has none."""
    cut = []
    for _, array in arrays:
        flat = as_bytes(array)
        if 0 < array.nbytes <= size:
            cut.append(flat)
        else:
            cut += [flat[start:start + size] for start in range(0, len(flat), size)]
    return cut


def finished(arrays: list[tuple[str, np.ndarray]]) -> Value:
    """Give the filled arrays as a read-only value."""
    for _, array in arrays:
        array.flags.writeable = False
    return from_columns(arrays)

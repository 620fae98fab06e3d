"""The message before a block: what it is, and the block itself if it is small. Never a pickle.

    task u4 | sequence u4 | nbytes u8 | form u4 | length u4 | description | payload

``description`` tells columns, dtypes and shapes in typed msgpack, filled up with bytes whose last one counts them, so that
the payload is aligned. ``form`` says where the rest is: the payload behind the
description; or in pieces, messages of their own; or, of a table with very many columns, the description in a message of
its own, and then the pieces. ``nbytes`` is the size of the payload, or of a description that follows. Little-endian.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from mpiflow.operations.values import Value, columns, from_columns

INLINE = 4096       # a block up to this size [bytes] travels in one message with its header
HEADER = 8192       # size [bytes] of a receive posted for a header
PIECE = 64 << 20    # larger arrays travel in pieces of this size [bytes]
_KNOWN = 1024       # descriptions remembered; programs send few kinds of values, again and again
_PREFIX = struct.Struct("<IIQII")
_SIZE = _PREFIX.size
_ALIGNMENT = 16


INLINED, IN_PIECES, DESCRIBED = range(3)       # where the rest of a block is


class ArrayHeader(Struct, frozen=True, array_like=True):
    """One array of a block: name of its column, dtype as numpy's file format writes it, shape."""

    name: str
    dtype: str | list
    shape: tuple[int, ...]


class ArrayForm(NamedTuple):
    """The same, ready to be made."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    nbytes: int


Forms = tuple[ArrayForm, ...]


_ENCODER = msgspec.msgpack.Encoder()
_ARRAYS = msgspec.msgpack.Decoder(tuple[ArrayHeader, ...])
_written: dict[tuple[np.dtype, tuple[int, ...]], bytes] = {}
_read: dict[bytes, Forms] = {}


def describe(value: Value) -> bytes:
    """Give the description of the columns of ``value``."""
    if isinstance(value, dict):
        return _described(value)
    key = value.dtype, value.shape
    found = _written.get(key)
    if found is None:
        found = _described(value)
        if value.dtype.metadata is None:
            _remember(_written, key, found)
    return found


def _described(value: Value) -> bytes:
    text = _ENCODER.encode([ArrayHeader(name, np.lib.format.dtype_to_descr(array.dtype), array.shape)
                            for name, array in columns(value)])
    gap = _ALIGNMENT - (_SIZE + len(text)) % _ALIGNMENT
    return text + bytes(gap - 1) + bytes([gap])


def _remember(known: dict, key: object, found: object) -> None:
    if len(known) >= _KNOWN:
        known.clear()
    known[key] = found


def pack(task: int, sequence: int, value: Value) -> tuple[bytes, bytes, int]:
    """Give the header of a block; the description of its columns if it does not fit in; and the payload's size [bytes].

    The header holds a small payload. A larger one, or any whose description comes by itself, follows in ``pieces``.
    """
    description = describe(value)
    length = len(description)
    plain = not isinstance(value, dict)
    nbytes = value.nbytes if plain else sum(array.nbytes for array in value.values())
    if length > HEADER - INLINE - _SIZE:
        return _PREFIX.pack(task, sequence, length, DESCRIBED, 0), description, nbytes
    if nbytes > INLINE:
        return _PREFIX.pack(task, sequence, nbytes, IN_PIECES, length) + description, b"", nbytes
    payload = value.tobytes() if plain else b"".join([array.tobytes() for array in value.values()])
    return _PREFIX.pack(task, sequence, nbytes, INLINED, length) + description + payload, b"", nbytes


class Follows(NamedTuple):
    """What comes after a header: its size [bytes]; and the arrays, or None if their description comes first."""

    nbytes: int
    arrays: Forms | None


def unpack(data: memoryview) -> tuple[int, int, Value | Follows]:
    """Undo ``pack``; ``data`` may be longer than the header.

    Returns:
        The task that made the block. Its sequence, which counts the blocks from one rank to another that are not whole in
        their headers. The block itself, read-only, or what follows.

    Raises:
        msgspec.ValidationError: The bytes are no header.
    """
    try:
        task, sequence, nbytes, form, length = _PREFIX.unpack_from(data)
    except struct.error as error:
        raise msgspec.ValidationError(f"not a header: {error}") from None
    if form == INLINED:
        start = _SIZE + length
        message = bytes(data[:start + nbytes])
        return task, sequence, _from_inline(unpack_arrays(message[_SIZE:start]), message, start)
    if form == DESCRIBED:
        return task, sequence, Follows(nbytes, None)
    if form != IN_PIECES:
        raise msgspec.ValidationError(f"not a header: form {form}")
    return task, sequence, Follows(nbytes, unpack_arrays(bytes(data[_SIZE:_SIZE + length])))


def _from_inline(arrays: Forms, message: bytes, start: int) -> Value:
    """Give a small block as a read-only value: ``message`` from ``start``, seen as arrays."""
    if len(arrays) == 1 and not arrays[0].name:
        return np.ndarray(arrays[0].shape, arrays[0].dtype, message, start)
    made = []
    for array in arrays:
        column = np.ndarray(array.shape, array.dtype, message, start)
        made.append((array.name, column if column.flags.aligned else column.copy()))
        start += array.nbytes
    return finished(made)


def unpack_arrays(data: bytes) -> Forms:
    """Read the description of columns.

    Raises:
        msgspec.ValidationError: The bytes are none.
    """
    found = _read.get(data)
    if found is None:
        found = tuple(_form(item) for item in _ARRAYS.decode(data[:-data[-1]] if data else b""))
        _remember(_read, data, found)
    return found


def _form(header: ArrayHeader) -> ArrayForm:
    dtype = _dtype(header.dtype)
    return ArrayForm(header.name, dtype, header.shape, math.prod(header.shape) * dtype.itemsize)


def _dtype(descr: str | list) -> np.dtype:
    return np.lib.format.descr_to_dtype(_tuples(descr))


def _tuples(descr: str | list) -> str | list:
    """msgpack gives lists where numpy wants tuples: (name, dtype) or (name, dtype, shape) for each field."""
    if isinstance(descr, str):
        return descr
    return [(name if isinstance(name, str) else tuple(name), _tuples(kind), *map(tuple, shape))      # (title, name)
            for name, kind, *shape in descr]


def allocate(arrays: Forms, empty: Callable[..., np.ndarray] = np.empty) -> list[tuple[str, np.ndarray]]:
    """Make the arrays that a block is received into, by ``np.empty`` or the like."""
    return [(array.name, empty(array.shape, array.dtype)) for array in arrays]


def as_bytes(array: np.ndarray) -> np.ndarray:
    """View a C-contiguous array as uint8, without a copy."""
    return array.reshape(-1).view(np.uint8) if array.nbytes else np.empty(0, np.uint8)


def finished(arrays: list[tuple[str, np.ndarray]]) -> Value:
    """Give the received arrays as a read-only value."""
    for _, array in arrays:
        array.flags.writeable = False
    return from_columns(arrays)


def pieces(arrays: list[tuple[str, np.ndarray]] | tuple[tuple[str, np.ndarray], ...]) -> list[np.ndarray]:
    """Cut arrays into messages: uint8 views of at most PIECE bytes."""
    cut = []
    for _, array in arrays:
        flat = as_bytes(array)
        cut += [flat[start:start + PIECE] for start in range(0, len(flat), PIECE)]
    return cut

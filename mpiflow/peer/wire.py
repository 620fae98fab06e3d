"""The message before a block: what it is, and the block itself if it is small. Never a pickle.

    task u4 | sequence u4 | key u8 | length u4 | head | payload

``head``, of ``length`` bytes, of which ``key`` is a hash, is typed msgpack: columns, dtypes and shapes, and where the rest
is. The payload follows at once; or in pieces, messages of their own; or, of a table with very many columns, a
description of them in a message of its own, and then the pieces. Little-endian. Blocks of one dtype and shape have the
same head, so both sides remember it, the receiver by its key.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from mpiflow.operations.values import Value, columns, from_columns, nbytes

INLINE = 4096       # a block up to this size [bytes] travels in one message with its header
HEADER = 8192       # size [bytes] of a receive posted for a header
PIECE = 64 << 20    # larger arrays travel in pieces of this size [bytes]
_KNOWN = 1024       # descriptions remembered; programs send few kinds of values, again and again
_PREFIX = struct.Struct("<II")
_KEY = struct.Struct("<QI")
_START = struct.Struct(_PREFIX.format + _KEY.format[1:])
_SIZE = _START.size


INLINED, IN_PIECES, DESCRIBED = range(3)       # where the rest of a block is


class ArrayHeader(Struct, frozen=True, array_like=True):
    """One array of a block: name of its column, dtype as numpy's file format writes it, shape."""

    name: str
    dtype: str | list
    shape: tuple[int, ...]


class Head(Struct, frozen=True, array_like=True):
    """What the head of a message says.

    Attributes:
        form: INLINED, IN_PIECES or DESCRIBED.
        nbytes: Size of the payload, or of a description in a message of its own [bytes].
        arrays: The columns; none if their description follows.
    """

    form: int
    nbytes: int
    arrays: tuple[ArrayHeader, ...]


class ArrayForm(NamedTuple):
    """One array of a block, ready to be made."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]


Forms = tuple[ArrayForm, ...]


class Follows(NamedTuple):
    """What comes after a header: its size [bytes]; and the arrays, or None if their description comes first."""

    nbytes: int
    arrays: Forms | None


class _Written(NamedTuple):
    """What the header of a block of a certain kind says; ``head`` with its key and length before it."""

    head: bytes
    inlined: bool
    description: bytes
    nbytes: int


class _Read(NamedTuple):
    """The same, read; with what takes an inlined payload out of the message."""

    inlined: bool
    plain: bool
    rest: Follows
    payload: struct.Struct


_ENCODER = msgspec.msgpack.Encoder()
_HEAD = msgspec.msgpack.Decoder(Head)
_ARRAYS = msgspec.msgpack.Decoder(tuple[ArrayHeader, ...])
_written: dict[tuple[np.dtype, tuple[int, ...]], _Written] = {}
_read: dict[int, _Read] = {}


def pack(task: int, sequence: int, value: Value) -> tuple[bytes, bytes, int]:
    """Give the header of a block; the description of its columns if it does not fit in; and the block's size [bytes].

    The header holds a small payload. A larger one, or any whose description comes by itself, follows in ``pieces``.
    """
    if isinstance(value, dict):
        head, inlined, description, nbytes = _write(value)
        payload = b"".join([array.tobytes() for array in value.values()]) if inlined else b""
    else:
        known = _written.get((value.dtype, value.shape))
        head, inlined, description, nbytes = _write(value) if known is None else known
        payload = value.tobytes() if inlined else b""
    return _PREFIX.pack(task, sequence) + head + payload, description, nbytes


def _write(value: Value) -> _Written:
    arrays = tuple([ArrayHeader(name, np.lib.format.dtype_to_descr(array.dtype), array.shape) for name, array in columns(value)])
    size = nbytes(value)
    inlined = size <= INLINE
    head = _ENCODER.encode(Head(INLINED if inlined else IN_PIECES, size, arrays))
    if len(head) > HEADER - INLINE - _SIZE:
        description = _ENCODER.encode(arrays)
        return _Written(_keyed(_ENCODER.encode(Head(DESCRIBED, len(description), ()))), False, description, size)
    found = _Written(_keyed(head), inlined, b"", size)
    if not isinstance(value, dict) and value.dtype.metadata is None:
        _remember(_written, (value.dtype, value.shape), found)
    return found


def _keyed(head: bytes) -> bytes:
    key = int.from_bytes(hashlib.blake2b(head, digest_size=8).digest(), "little")
    return _KEY.pack(key, len(head)) + head


def _remember(known: dict, key: object, found: object) -> None:
    if len(known) >= _KNOWN:
        known.clear()
    known[key] = found


def unpack(data: bytearray) -> tuple[int, int, Value | Follows]:
    """Undo ``pack``; ``data`` may be longer than the header.

    Returns:
        The task that made the block. Its sequence, which counts the blocks from one rank to another that are not whole in
        their headers. The block itself, read-only, or what follows.

    Raises:
        msgspec.ValidationError: The bytes are no header.
    """
    try:
        task, sequence, key, length = _START.unpack_from(data)
        inlined, plain, rest, payload = _read.get(key) or _read_head(key, bytes(data[_SIZE:_SIZE + length]))
        if not inlined:
            return task, sequence, rest
        payload, = payload.unpack_from(data, _SIZE + length)
    except struct.error as error:
        raise msgspec.ValidationError(f"not a header: {error}") from None
    if plain:
        _, dtype, shape = rest.arrays[0]
        return task, sequence, np.ndarray(shape, dtype, payload)
    return task, sequence, _table(rest.arrays, payload)


def _read_head(key: int, data: bytes) -> _Read:
    head = _HEAD.decode(data)
    if not INLINED <= head.form <= DESCRIBED:
        raise msgspec.ValidationError(f"not a header: form {head.form}")
    arrays = _forms(head.arrays)
    rest = Follows(head.nbytes, None if head.form == DESCRIBED else arrays)
    payload = struct.Struct(f"{head.nbytes if head.form == INLINED else 0}s")
    found = _Read(head.form == INLINED, len(arrays) == 1 and not arrays[0].name, rest, payload)
    _remember(_read, key, found)
    return found


def _table(arrays: Forms, payload: bytes) -> Value:
    made = allocate(arrays)
    start = 0
    for _, array in made:
        as_bytes(array)[:] = np.frombuffer(payload, np.uint8, array.nbytes, start)
        start += array.nbytes
    return finished(made)


def unpack_arrays(data: bytes) -> Forms:
    """Read the description of columns that comes by itself.

    Raises:
        msgspec.ValidationError: The bytes are none.
    """
    return _forms(_ARRAYS.decode(data))


def _forms(arrays: tuple[ArrayHeader, ...]) -> Forms:
    return tuple([ArrayForm(item.name, _dtype(item.dtype), item.shape) for item in arrays])


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
    return [(name, empty(shape, dtype)) for name, dtype, shape in arrays]


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

"""The message that tells of a block: what it is, and the block itself if it is small. Never a pickle.

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

from mpiflow.operations.layout import ArrayHeader, Forms, allocate, as_bytes, describe, finished, forms
from mpiflow.operations.values import Value, nbytes

INLINE = 4096       # a block up to this size [bytes] travels in one message with its header
HEADER = 8192       # size [bytes] of a receive posted for a header
PIECE = 64 << 20    # larger arrays travel in pieces of this size [bytes]
_KNOWN = 1024       # descriptions remembered; programs send few kinds of values, again and again
_PREFIX = struct.Struct("<II")
_KEY = struct.Struct("<QI")
_START = struct.Struct(_PREFIX.format + _KEY.format[1:])
_SIZE = _START.size
_begin, _array = _START.unpack_from, np.ndarray


INLINED, IN_PIECES, DESCRIBED = range(3)       # where the rest of a block is


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


class Follows(NamedTuple):
    """What comes after a header: its size [bytes]; and the arrays, or None if their description comes first.

    Of a plain array ``dtype`` and ``shape`` say the same again.
    """

    nbytes: int
    arrays: Forms | None
    dtype: np.dtype | None
    shape: tuple[int, ...]


class Kind(NamedTuple):
    """What the header of a block of a certain kind says.

    Attributes:
        fill: Writes a message: task, sequence, head, payload.
        head: With its key and length before it.
        inlined: Whether the payload is part of the message.
        description: Of its columns, where it comes by itself.
        nbytes: Size of the payload [bytes].
    """

    fill: Callable[..., bytes]
    head: bytes
    inlined: bool
    description: bytes
    nbytes: int

    def header(self, task: int, sequence: int) -> bytes:
        """Give the header of the block of ``task``, whose payload follows."""
        return self.fill(task, sequence, self.head, b"")

    def whole(self, task: int, value: Value) -> bytes:
        """Give the one message that a small block of ``task`` is."""
        payload = b"".join([item.tobytes() for item in value.values()]) if isinstance(value, dict) else value.tobytes()
        return self.fill(task, 0, self.head, payload)


class _Read(NamedTuple):
    """The same, read. ``take`` gets an inlined payload out of the message; of a plain array we know dtype and shape."""

    take: Callable[..., tuple[bytes]] | None
    dtype: np.dtype | None
    shape: tuple[int, ...]
    rest: Follows


_ENCODER = msgspec.msgpack.Encoder()
_HEAD = msgspec.msgpack.Decoder(Head)
_ARRAYS = msgspec.msgpack.Decoder(tuple[ArrayHeader, ...])
_kinds: dict[tuple[np.dtype, tuple[int, ...]], Kind] = {}
_read: dict[int, _Read] = {}


def kind_of(value: Value) -> Kind:
    """Say of what kind a block is.

    Raises:
        OperationError: Its dtype cannot be sent.
    """
    return (None if isinstance(value, dict) else _kinds.get((value.dtype, value.shape))) or _find(value)


def _find(value: Value) -> Kind:
    arrays = describe(value)
    size = nbytes(value)
    inlined = size <= INLINE
    head = _ENCODER.encode(Head(INLINED if inlined else IN_PIECES, size, arrays))
    if len(head) > HEADER - INLINE - _SIZE:
        description = _ENCODER.encode(arrays)
        return _writing(_ENCODER.encode(Head(DESCRIBED, len(description), ())), False, description, size)
    found = _writing(head, inlined, b"", size)
    if not isinstance(value, dict) and value.dtype.metadata is None:
        _remember(_kinds, (value.dtype, value.shape), found)
    return found


def _writing(head: bytes, inlined: bool, description: bytes, size: int) -> Kind:
    key = int.from_bytes(hashlib.blake2b(head, digest_size=8).digest(), "little")
    keyed = _KEY.pack(key, len(head)) + head
    whole = struct.Struct(f"{_PREFIX.format}{len(keyed)}s{size if inlined else 0}s")
    return Kind(whole.pack, keyed, inlined, description, size)


def _remember(known: dict, key: object, found: object) -> None:
    if len(known) >= _KNOWN:
        known.clear()
    known[key] = found


def unpack(data: bytearray) -> tuple[int, int, Value | Follows]:
    """Undo ``Kind.whole`` and ``Kind.header``; ``data`` may be longer than the header.

    Returns:
        The task that made the block. Its sequence, which counts the blocks from one rank to another that are not whole in
        their headers. The block itself, read-only, or what follows.

    Raises:
        msgspec.ValidationError: The bytes are no header.
    """
    try:
        task, sequence, key, length = _begin(data)
        take, dtype, shape, rest = _read.get(key) or _read_head(key, bytes(data[_SIZE:_SIZE + length]))
        if take is None:
            return task, sequence, rest
        payload, = take(data, _SIZE + length)
    except struct.error as error:
        raise msgspec.ValidationError(f"not a header: {error}") from None
    if dtype is not None:
        return task, sequence, _array(shape, dtype, payload)
    return task, sequence, _table(rest.arrays, payload)


def _read_head(key: int, data: bytes) -> _Read:
    head = _HEAD.decode(data)
    if not INLINED <= head.form <= DESCRIBED:
        raise msgspec.ValidationError(f"not a header: form {head.form}")
    arrays = forms(head.arrays)
    take = struct.Struct(f"{head.nbytes}s").unpack_from if head.form == INLINED else None
    _, dtype, shape = arrays[0] if len(arrays) == 1 and not arrays[0].name else ("", None, ())
    found = _Read(take, dtype, shape, Follows(head.nbytes, None if head.form == DESCRIBED else arrays, dtype, shape))
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
    return forms(_ARRAYS.decode(data))

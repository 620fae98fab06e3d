"""The message before a block: what it is, and the block itself if it is small. Never a pickle."""

from __future__ import annotations

import msgspec
import numpy as np
from msgspec import Struct

from mpiflow.operations.values import Value, columns, from_columns

INLINE = 4096       # a block up to this size [bytes] travels in one message with its header
HEADER = 8192       # size [bytes] of a receive posted for a header
PIECE = 64 << 20    # larger arrays travel in pieces of this size [bytes]


class ArrayHeader(Struct, frozen=True, array_like=True):
    """One array of a block: name of its column, dtype as numpy's file format writes it, shape."""

    name: str
    dtype: str | list
    shape: tuple[int, ...]


class BlockHeader(Struct, frozen=True, array_like=True):
    """What precedes a block.

    Attributes:
        task: The task that made it.
        sequence: Counts the blocks from this source to this destination; tells pieces of different blocks apart.
        arrays: Its columns; None if they need more room than a header has, and follow by themselves.
        nbytes: Size of the payload [bytes], or of the column descriptions if ``arrays`` is None.
        inline: The payload, if it is small.
    """

    task: int
    sequence: int
    nbytes: int
    arrays: tuple[ArrayHeader, ...] | None
    inline: bytes | None = None


_ENCODER = msgspec.msgpack.Encoder()
_HEADER = msgspec.msgpack.Decoder(BlockHeader)
_ARRAYS = msgspec.msgpack.Decoder(tuple[ArrayHeader, ...])


def describe(value: Value) -> tuple[ArrayHeader, ...]:
    """Give the header of each column of ``value``."""
    return tuple(
        ArrayHeader(name, np.lib.format.dtype_to_descr(array.dtype), array.shape) for name, array in columns(value))


def pack(task: int, sequence: int, value: Value) -> tuple[bytes, bytes]:
    """Give the header of a block, and the description of its columns if they do not fit into it."""
    arrays = describe(value)
    size = sum(array.nbytes for _, array in columns(value))
    inline = b"".join(array.tobytes() for _, array in columns(value)) if size <= INLINE else None
    header = _ENCODER.encode(BlockHeader(task, sequence, size, arrays, inline))
    if len(header) <= HEADER:
        return header, b""
    described = _ENCODER.encode(arrays)
    return _ENCODER.encode(BlockHeader(task, sequence, len(described), None)), described


def unpack(data: memoryview) -> BlockHeader:
    """Undo ``pack``.

    Raises:
        msgspec.ValidationError: The bytes are no header.
    """
    return _HEADER.decode(data)


def unpack_arrays(data: memoryview | bytes) -> tuple[ArrayHeader, ...]:
    """Read the description of columns that came by itself."""
    return _ARRAYS.decode(data)


def allocate(arrays: tuple[ArrayHeader, ...]) -> list[tuple[str, np.ndarray]]:
    """Make the arrays that a block is received into."""
    return [(item.name, np.empty(item.shape, _dtype(item.dtype))) for item in arrays]


def _dtype(descr: str | list) -> np.dtype:
    return np.lib.format.descr_to_dtype(_tuples(descr))


def _tuples(descr: str | list) -> str | list:
    """msgpack gives lists where numpy wants tuples: (name, dtype) or (name, dtype, shape) for each field."""
    if isinstance(descr, str):
        return descr
    return [(name if isinstance(name, str) else tuple(name), _tuples(kind), *map(tuple, shape))      # (title, name)
            for name, kind, *shape in descr]


def as_bytes(array: np.ndarray) -> np.ndarray:
    """View a C-contiguous array as uint8, without a copy."""
    return array.reshape(-1).view(np.uint8) if array.nbytes else np.empty(0, np.uint8)


def fill(arrays: list[tuple[str, np.ndarray]], payload: bytes) -> None:
    """Copy an inline payload into its arrays."""
    start = 0
    for _, array in arrays:
        as_bytes(array)[:] = np.frombuffer(payload, np.uint8, array.nbytes, start)
        start += array.nbytes


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

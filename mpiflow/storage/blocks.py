"""Blocks as bytes: small ones as the data of a record, large ones in files of their own.

A file begins with a record (see ``records``) whose head tells the arrays and a checksum of each of their pieces; the bytes of
the arrays follow. So it is checked while it is read, into the arrays that are then the value.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

import msgspec
import numpy as np
from msgspec import Struct, msgpack

from mpiflow.errors import DamagedError
from mpiflow.operations.layout import ArrayHeader, allocate, as_bytes, describe, finished, forms, header, pieces
from mpiflow.operations.values import Value, columns
from mpiflow.storage.records import FORMAT, SIZE, check_format, frame, read_record

PIECE = 1 << 20         # one checksum for each piece of an array of this size [bytes]
_BUFFER = 1 << 20       # small columns are gathered for writing [bytes]
_LENGTH = struct.Struct("<I")
_DECODING = (msgspec.DecodeError, struct.error, ValueError, TypeError, UnicodeError)


class BlockFile(Struct, frozen=True, array_like=True, tag="block file"):
    """Head of a file that holds one block.

    Attributes:
        format: Version of the format.
        id: Id of the block.
        arrays: Its columns.
        piece: Size of the pieces [bytes]; the last one of a column may be shorter.
        checksums: CRC-32 of each piece, u4, little-endian.
    """

    format: int
    id: str
    arrays: tuple[ArrayHeader, ...]
    piece: int
    checksums: bytes


_encode = msgpack.Encoder().encode
_decode_file = msgpack.Decoder(BlockFile).decode
_decode_arrays = msgpack.Decoder(tuple[ArrayHeader, ...]).decode


def pack(value: Value) -> bytes:
    """Give ``value`` as bytes: length of the description u4, description, arrays.

    Raises:
        OperationError: A dtype cannot be written.
    """
    if isinstance(value, dict):
        described = _encode(describe(value))
        return b"".join([_LENGTH.pack(len(described)), described, *[array.tobytes() for array in value.values()]])
    return _described(value.dtype, value.shape) + value.tobytes()


@lru_cache(1024)        # programs make few kinds of values, again and again
def _described(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    described = _encode((header("", dtype, shape),))
    return _LENGTH.pack(len(described)) + described


def unpack(data: bytes, where: str) -> Value:
    """Undo ``pack``.

    Raises:
        DamagedError: The bytes are no value; the message begins with ``where``.
    """
    try:
        start = _LENGTH.size + _LENGTH.unpack_from(data)[0]
        arrays = allocate(forms(_decode_arrays(data[_LENGTH.size:start])))
        for _, array in arrays:
            as_bytes(array)[:] = np.frombuffer(data, np.uint8, array.nbytes, start if array.nbytes else 0)
            start += array.nbytes
    except _DECODING as error:
        raise DamagedError(f"{where}: no value: {error}") from None
    if start != len(data):
        raise DamagedError(f"{where}: {len(data)} bytes for a value of {start}")
    return finished(arrays)


def write_block(file: Path, aside: Path, id: str, value: Value) -> None:
    """Put ``value`` into a file of its own, whole and flushed; the folder has yet to be.

    Args:
        file: Where it is to be.
        aside: Where it is written before; nobody else may use this name.
        id: Id of the block.
        value: Its value.

    Raises:
        OSError: It cannot be written; nothing is left of it.
        OperationError: A dtype cannot be written.
    """
    parts = pieces(columns(value), PIECE)
    headers = describe(value)
    empty = frame(0, _head(id, headers, [0] * len(parts)))
    try:
        with open(aside, "xb", buffering=_BUFFER) as opened:
            opened.write(empty)             # until the checksums are known
            checksums = []
            for part in parts:
                checksums.append(crc32(part))
                opened.write(part)
            opened.seek(0)
            opened.write(frame(0, _head(id, headers, checksums)))
            opened.flush()
            os.fsync(opened.fileno())
        os.rename(aside, file)
    finally:
        aside.unlink(missing_ok=True)


def _head(id: str, headers: tuple[ArrayHeader, ...], checksums: list[int]) -> bytes:
    return _encode(BlockFile(FORMAT, id, headers, PIECE, np.array(checksums, "<u4").tobytes()))


def read_block(file: str, id: str) -> Value:
    """Read a block from a file of its own.

    Raises:
        DamagedError: The file is not what was written, or of another block.
        MachineError: It has a format that is not ours.
        OSError: It cannot be read.
    """
    with open(file, "rb", buffering=_BUFFER) as opened:
        head = _open(opened, file, id)
        try:
            arrays = allocate(forms(head.arrays))
        except _DECODING as error:
            raise DamagedError(f"{file}: no value: {error}") from None
        _fill(opened, file, pieces(arrays, head.piece), head.checksums)
    return finished(arrays)


def holds(file: Path, id: str) -> bool:
    """Whether ``file`` holds the block ``id``, undamaged; it is read to know, but not kept."""
    try:
        with open(file, "rb", buffering=0) as opened:
            head = _open(opened, str(file), id)
            scratch = np.empty(head.piece, np.uint8)
            nbytes = [form.dtype.itemsize * math.prod(form.shape) for form in forms(head.arrays)]
            parts = (scratch[:min(head.piece, size - start)] for size in nbytes for start in range(0, size, head.piece))
            _fill(opened, str(file), parts, head.checksums)
    except (OSError, DamagedError, *_DECODING):
        return False
    return True


def _open(opened: BinaryIO, file: str, id: str) -> BlockFile:
    record, data = read_record(opened.fileno(), 0, file)
    try:
        head = _decode_file(record)
    except _DECODING as error:
        raise DamagedError(f"{file}: no block: {error}") from None
    check_format(file, head.format)
    if head.id != id or data:
        raise DamagedError(f"{file}: holds the block {head.id}, not {id}")
    opened.seek(SIZE + len(record))
    return head


def _fill(opened: BinaryIO, file: str, parts: Iterable[np.ndarray], checksums: bytes) -> None:
    """Read ``parts`` from the file, up to its end."""
    expected = iter(np.frombuffer(checksums, "<u4").tolist())
    for part in parts:
        start = opened.tell()
        if _read_into(opened, part) != len(part):
            raise DamagedError(f"{file}: cut short")
        if crc32(part) != next(expected, None):
            raise DamagedError(f"{file}: the checksum of bytes {start} to {start + len(part)} differs")
    if next(expected, None) is not None or opened.read(1):
        raise DamagedError(f"{file}: longer than its block")


def _read_into(opened: BinaryIO, part: np.ndarray) -> int:
    """Bytes read; a file without a buffer may give less than asked for at a time."""
    done = 0
    while done < len(part) and (count := opened.readinto(part[done:])):
        done += count
    return done

"""Records in files: each tells its length and its place and has a checksum, so that any damage is noticed.

    magic 4 bytes | checksum u4 | offset u8 | length of head u4 | length of data u4 | head | data

Little-endian. The checksum is the CRC-32 of all that follows it. The offset is that of the record in its file, so that a
copy of a record which is part of some value, of a task that read a journal for example, is not taken for one of the journal.
Heads are typed msgpack. All this is the same in every format; the head of a file's first record says which format it is.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from zlib import crc32

from msgspec import Struct, msgpack

from mpiflow.errors import DamagedError, MachineError
from mpiflow.operations.layout import ArrayHeader

FORMAT = 1
LONGEST = 16 << 20              # a record of a journal is at most this long [bytes]
MAGIC = b"\xabmf\n"             # no text in UTF-8, and a conversion of line ends shows
_FRAME = struct.Struct("<4sIQII")
_CHECKED = struct.Struct("<QII")
_UNCHECKED = 8                  # magic and checksum [bytes]
_READ = 4 << 20                 # read at a time [bytes]
SIZE = _FRAME.size


class Share(Struct, frozen=True, array_like=True, gc=False):
    """What a block is of a named dataset.

    Attributes:
        name: Name of the dataset.
        id: Its id.
        number: Which of its blocks, from 0.
        num: How many blocks it has.
        unit: Unit of its elements, or empty.
        tags: Words chosen by the user.
        instance: The instance of a loop that it is of; empty if there is no loop.
        part: The same two numbers within that instance.
        part_id: Id of that instance.
    """

    name: str
    id: str
    number: int
    num: int
    unit: str = ""
    tags: tuple[str, ...] = ()
    instance: str = ""
    part: tuple[int, int] = (0, 1)
    part_id: str = ""


class Given(Struct, frozen=True, array_like=True, gc=False):
    """What a task got as one argument.

    Attributes:
        argument: Name of the argument; empty for a positional one.
        name: Step or dataset that it comes from, with its instance.
        ids: Ids of the blocks; the first ones if there are very many.
        num: How many blocks.
    """

    argument: str
    name: str
    ids: tuple[str, ...]
    num: int


class Made(Struct, frozen=True, array_like=True, gc=False):
    """One task that was done, and the block that it made.

    What follows ``code`` is for people who look into a store; no run needs it.

    Attributes:
        id: Id of the task, hence of its block: 32 hexadecimal digits.
        step: Name of the step, for people.
        nbytes: Size of the block [bytes].
        seconds: What it took to make it [s].
        rank: The rank that made it.
        host: The host that it ran on.
        workflow: Name of the workflow, for people.
        code: Hash of the operation's code; empty if it has none.
        operation: Name of the operation; empty if it has none.
        kind: What the task did: see ``planning.tasks.Kind``.
        instance: Which instance of its step it belongs to, if the step has a loop.
        shares: What the block is of named datasets; of a file of results, the datasets in it.
        inputs: What it was made from.
        parameters: Its plain arguments, as JSON; empty if that is very long.
        form: Columns, dtypes and shapes of the block; empty if there are very many.
        ended: When it was done, as a time of day [s].
        file: The file of results that was written.
    """

    id: str
    step: str
    nbytes: int
    seconds: float
    rank: int
    host: str
    workflow: str = ""
    code: str = ""
    operation: str = ""
    kind: str = ""
    instance: str = ""
    shares: tuple[Share, ...] = ()
    inputs: tuple[Given, ...] = ()
    parameters: str = ""
    form: tuple[ArrayHeader, ...] = ()
    ended: float = 0.0
    file: str = ""


class Begun(Struct, frozen=True, array_like=True, tag="journal"):
    """Head of the first record of a journal: which it is, and which process writes it, since when [s]."""

    format: int
    run: str
    rank: int
    host: str = ""
    pid: int = 0
    began: float = 0.0


class Saved(Struct, frozen=True, array_like=True, tag="block", gc=False):
    """Head of the record of a block; its data are the value, or none if that has a file of its own."""

    made: Made
    inline: bool


class Ended(Struct, frozen=True, array_like=True, tag="end"):
    """Head of the last record of a journal that was closed in order."""


decode_head = msgpack.Decoder(Begun | Saved | Ended).decode


def frame(offset: int, head: bytes, data: bytes = b"") -> bytes:
    """Give the record that is to stand at ``offset`` of its file."""
    checked = _CHECKED.pack(offset, len(head), len(data)) + head + data
    return MAGIC + crc32(checked).to_bytes(4, "little") + checked


def check_format(file: str, number: int) -> None:
    """Raise MachineError if ``file`` has a format that is not ours."""
    if number != FORMAT:
        raise MachineError(f"{file} has format {number}, of another version of mpiflow; this one reads format {FORMAT}. "
                           "Use that version, or another store")


def read_record(opened: int, offset: int, file: str) -> tuple[bytes, bytes]:
    """Read head and data of one record.

    Raises:
        DamagedError: There is no valid record at ``offset``; the message names ``file``.
    """
    data = os.pread(opened, SIZE, offset)
    if len(data) == SIZE:
        magic, _, place, head, rest = _FRAME.unpack(data)
        # Nothing is allocated for a length that is garbage.
        if magic == MAGIC and place == offset and offset + SIZE + head + rest <= os.fstat(opened).st_size:
            data = read_fully(opened, SIZE + head + rest, offset)
            if _end(data, memoryview(data), 0, offset, len(data)) == len(data):
                return data[SIZE:SIZE + head], data[SIZE + head:]
    raise DamagedError(f"{file}: no valid record at byte {offset}")


def read_fully(opened: int, size: int, offset: int) -> bytes:
    """Read ``size`` bytes, or what there is: a network file system may give less than asked for at a time."""
    parts = []
    while size > 0 and (part := os.pread(opened, size, offset)):
        parts.append(part)
        size -= len(part)
        offset += len(part)
    return b"".join(parts)


def scan(opened: int, damages: list[str]) -> Iterator[tuple[int, bytes]]:
    """Read a file of records; go on behind damaged ones.

    The file is read, not mapped into memory: touching a page that somebody else has cut off would end the process.

    Args:
        opened: Descriptor of the file; another process may be appending to it.
        damages: What is wrong is added here.

    Yields:
        Offset and head of each valid record.
    """
    window, view, base, start, lost, more = b"", memoryview(b""), 0, 0, -1, True
    while more or start < len(window):
        end = _end(window, view, start, base + start, LONGEST)
        if end > 0:
            if lost >= 0:
                damages.append(f"bytes {lost} to {base + start} are damaged; what follows can be read")
                lost = -1
            yield base + start, window[start + SIZE:start + SIZE + _FRAME.unpack_from(window, start)[3]]
            start = end
        elif end < 0 and more:
            piece = os.pread(opened, _READ, base + len(window))
            window, base, start, more = window[start:] + piece, base + start, 0, bool(piece)
            view = memoryview(window)
        else:
            lost = base + start if lost < 0 else lost
            start = _next(window, start, more)
    if lost >= 0:
        damages.append(f"cut short: the last {base + len(window) - lost} bytes, from byte {lost} on, are no whole record "
                       "(normal after a crash)")


def _end(window: bytes, view: memoryview, start: int, offset: int, longest: int) -> int:
    """Where the valid record at ``start`` ends; 0 if there is none, -1 if more must be read to know."""
    if len(window) - start < SIZE:
        return -1
    magic, checksum, place, head, data = _FRAME.unpack_from(window, start)
    end = start + SIZE + head + data
    if magic != MAGIC or place != offset or end - start > longest:
        return 0
    if end > len(window):
        return -1
    return end if crc32(view[start + _UNCHECKED:end]) == checksum else 0


def _next(window: bytes, start: int, more: bool) -> int:
    """Where the next record may begin; its magic may be cut by the end of the window."""
    found = window.find(MAGIC, start + 1)
    if found >= 0:
        return found
    return max(start + 1, len(window) - len(MAGIC) + 1) if more else len(window)

"""The rows of the catalog, and what ranks tell each other: typed msgpack on the wire, with packed records in it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from mpiflow.catalog.states import State

Form = tuple[tuple[str, str, tuple[int, ...]], ...]     # (column, dtype, shape) of each array of a value


class SourceEntry(Struct, frozen=True, array_like=True, order=True):
    """One file of a dataset, as the ranks in ``holders`` see it; ``chunk`` is the rows of its chunks, 0 without chunks."""

    dataset: str
    file: str
    size: int
    mtime_ns: int
    inode: int
    shape: tuple[int, ...]
    dtype: str
    unit: str
    holders: tuple[int, ...]
    chunk: int = 0


class TaskEntry(Struct, frozen=True, array_like=True, order=True, gc=False):
    """State of one task, as its rank knows it. The greatest of several entries of one task is the newest.

    Attributes:
        task: Number of the task in the graph.
        attempt: Counts from 0; an entry of a later attempt is newer whatever its state.
        state: See ``State``.
        rank: Where it runs or ran; -1 before.
        start: When it started, since the run did [s].
        seconds: How long it ran [s].
        nbytes: Size of its result [bytes].
        form: Columns, dtypes and shapes of its result.
        error: Why it failed: the traceback.
    """

    task: int
    attempt: int = 0
    state: State = State.PLANNED
    rank: int = -1
    start: float = 0.0
    seconds: float = 0.0
    nbytes: int = 0
    form: Form = ()
    error: str = ""


class Traffic(Struct, frozen=True, array_like=True, order=True):
    """What one rank has sent and received so far; counts only grow.

    Attributes:
        received: Blocks received.
        sent: For each destination (rank, blocks, payload bytes), in order of rank.
    """

    received: int = 0
    sent: tuple[tuple[int, int, int], ...] = ()

    @property
    def num_sent(self) -> int:
        """Blocks sent to all ranks."""
        return sum(blocks for _, blocks, _ in self.sent)

    @property
    def progress(self) -> tuple[int, int]:
        """Orders the reports of one rank in time."""
        return self.received, self.num_sent


# A task that ended well in its first attempt, as nearly all do: packed, so that none of them costs an object anywhere.
RECORD = np.dtype([("task", "<u4"), ("form", "<u4"), ("start", "<f8"), ("seconds", "<f8"), ("nbytes", "<u8")])
LAYOUT = struct.Struct("<IIddQ")
pack = LAYOUT.pack
NONE_DONE = np.empty(0, RECORD)


class Delta(Struct, frozen=True, array_like=True):
    """What one rank contributes to one epoch.

    Attributes:
        rank: Who says it.
        digest: Digest of its catalog before this epoch, which covers the plan as well.
        settled: Whether it has nothing left to run or send.
        traffic: See ``Traffic``.
        tasks: Entries that changed since its last delta, but for those in ``done``.
        elapsed: For how long its running task has been running [s]; 0 if there is none.
        stop: Whether it was asked to stop before the end.
        memory: What its process takes [bytes], as it last looked; 0 before that.
        done: A ``RECORD`` of each task that ended well there since its last delta.
        forms: What the records' ``form`` are places in.
    """

    rank: int
    digest: int
    settled: bool = False
    traffic: Traffic = Traffic()
    tasks: tuple[TaskEntry, ...] = ()
    elapsed: float = 0.0
    stop: bool = False
    memory: int = 0
    done: bytes = b""
    forms: tuple[Form, ...] = ((),)

    def ended(self) -> list[TaskEntry]:
        """Give the entries that ``done`` stands for."""
        state, rank, forms = State.DONE, self.rank, self.forms
        return [TaskEntry(task, 0, state, rank, start, seconds, nbytes, forms[form])
                for task, form, start, seconds, nbytes in LAYOUT.iter_unpack(self.done)]


class News(NamedTuple):
    """What was new in an epoch.

    Attributes:
        entries: Those that were merged one by one.
        done: A ``RECORD`` of each task that ended well and was merged with all others of its kind at once.
    """

    entries: list[TaskEntry]
    done: np.ndarray

    @property
    def seconds(self) -> float:
        """How long all of it ran [s]."""
        return sum([entry.seconds for entry in self.entries]) + float(self.done["seconds"].sum())


class Noted(Struct, frozen=True, array_like=True):
    """What one rank has noted of its run; times count from when it began to run tasks itself [s].

    Attributes:
        began: When that was, as a time of day [s]; 0 if it has noted nothing.
        left: For each block that was sent: its task, the destination, and when it left.
        arrived: For each block that came from another rank: its task, and when it was there.
        memory: Times, and the memory that the process had then [bytes].
    """

    began: float = 0.0
    left: tuple[tuple[int, int, float], ...] = ()
    arrived: tuple[tuple[int, float], ...] = ()
    memory: tuple[tuple[float, int], ...] = ()


class Complaint(Struct, frozen=True, array_like=True, order=True):
    """A ``Problem`` that one rank found in what the user wrote."""

    file: str
    line: int
    column: int
    message: str


class Seen(Struct, frozen=True, array_like=True, order=True):
    """What earlier runs have shown of an operation.

    Attributes:
        kind: "apply", "combine" or "finish".
        operation: Its name.
        code: Hash of its code.
        size: Size of all its inputs [bytes].
        seconds: How long it ran [s].
        nbytes: Size of its result [bytes].
    """

    kind: str
    operation: str
    code: str
    size: int
    seconds: float
    nbytes: int


class Links(Struct, frozen=True, array_like=True):
    """What a rank has measured of links within and between nodes; 0 where it has not.

    Attributes:
        latency: Latency [s].
        bandwidth: Bandwidth [bytes/s].
    """

    latency: tuple[float, float] = (0.0, 0.0)
    bandwidth: tuple[float, float] = (0.0, 0.0)


class Holding(Struct, frozen=True, array_like=True):
    """What one rank can bring in of the blocks that a workflow makes.

    Attributes:
        rank: Who says it.
        blocks: Task and size [bytes] of each block, ascending.
        lost: Tasks whose blocks were saved, but are not there any more.
        changed: Steps that ran before otherwise, and what is different now.
        damages: What is wrong with its store, for people.
        damaged: Tasks whose saved blocks turned out to be damaged.
    """

    rank: int
    blocks: tuple[tuple[int, int], ...] = ()
    lost: tuple[int, ...] = ()
    changed: tuple[tuple[str, str], ...] = ()
    damages: tuple[str, ...] = ()
    damaged: tuple[int, ...] = ()


class Hello(Struct, frozen=True, array_like=True):
    """What each rank says of itself before anything runs; all of them together are catalog version 0.

    Attributes:
        rank: Who says it.
        host: Its node.
        version: Its mpiflow.
        workflow: Digest of document, parameters and options; empty if it has none.
        code: Hashes of the operation modules, in order.
        complaints: What is wrong in the user's input, as it sees it.
        sources: The files that it sees.
        history: What earlier runs have shown of the operations, if its store tells.
        token: A name that no other run has; the least of all ranks is that of the run.
        absent: Whether the document is not there.
        addresses: Of its node.
    """

    rank: int
    host: str
    version: str
    workflow: str
    code: tuple[str, ...] = ()
    complaints: tuple[Complaint, ...] = ()
    sources: tuple[SourceEntry, ...] = ()
    history: tuple[Seen, ...] = ()
    token: str = ""
    absent: bool = False
    addresses: tuple[str, ...] = ()


_encoder = msgspec.msgpack.Encoder()
_decoders = {kind: msgspec.msgpack.Decoder(kind) for kind in (Delta, Hello, Holding, Links)}


def encode(message: Delta | Hello | Holding | Links | Sequence[Delta]) -> bytes:
    """Give the wire form."""
    return _encoder.encode(message)


def decode_delta(data: bytes | memoryview) -> Delta:
    """Undo ``encode``.

    Raises:
        msgspec.ValidationError: The bytes are no delta.
    """
    delta = _decode(Delta, data)
    if len(delta.done) % LAYOUT.size:
        raise msgspec.ValidationError(f"not a Delta: {len(delta.done)} bytes are no whole number of records")
    return delta


def decode_hello(data: bytes | memoryview) -> Hello:
    """Undo ``encode``.

    Raises:
        msgspec.ValidationError: The bytes are no hello.
    """
    return _decode(Hello, data)


def decode_holding(data: bytes | memoryview) -> Holding:
    """Undo ``encode``.

    Raises:
        msgspec.ValidationError: The bytes are no holding.
    """
    return _decode(Holding, data)


def decode_links(data: bytes | memoryview) -> Links:
    """Undo ``encode``.

    Raises:
        msgspec.ValidationError: The bytes are no links.
    """
    return _decode(Links, data)


def _decode(kind: type, data: bytes | memoryview) -> Any:
    try:
        return _decoders[kind].decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise msgspec.ValidationError(f"not a {kind.__name__}: {error}") from None

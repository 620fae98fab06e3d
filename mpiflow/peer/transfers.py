"""Transfers: blocks from rank to rank by nonblocking point-to-point messages.

A header goes first, and carries a small block whole. The pieces of a larger one follow under a tag of their own and
are received straight into the array that the task will use. Headers are received into slots that are always
posted, so no order of production can block anybody; the number of blocks that a rank sends at one time is bounded.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from mpi4py import MPI

from mpiflow.errors import MachineError
from mpiflow.operations.values import Value, columns
from mpiflow.peer import wire

SLOTS = 16          # headers received ahead
WINDOW = 4          # blocks being sent at one time; the pieces of one block are posted together
_HEADER_TAG = 1
_PIECE_TAG = 2      # pieces of block number s between two ranks have tag 2 + s mod TAGS
_TAGS = 32_000      # MPI promises tags up to 32,767


@dataclass(slots=True)
class _Incoming:
    task: int
    source: int
    tag: int
    arrays: list[tuple[str, np.ndarray]] = field(default_factory=list)
    description: np.ndarray | None = None
    requests: list[MPI.Request] = field(default_factory=list)


@dataclass(slots=True)
class _Outgoing:
    task: int
    rank: int
    nbytes: int
    requests: list[MPI.Request]
    buffers: list[bytes | np.ndarray]       # a pending send pins its buffers


class Transfers:
    """All blocks under way from and to this rank."""

    def __init__(self, comm: MPI.Comm) -> None:
        self._comm = comm
        self._slots = [np.empty(wire.HEADER, np.uint8) for _ in range(SLOTS)]
        self._headers: deque[tuple[int, MPI.Request]] = deque((slot, self._post(slot)) for slot in range(SLOTS))
        self._incoming: list[_Incoming] = []
        self._queue: deque[tuple[int, int, Value]] = deque()
        self._outgoing: list[_Outgoing] = []
        self._sequences: dict[int, int] = {}

    def _post(self, slot: int) -> MPI.Request:
        return self._comm.Irecv(self._slots[slot], MPI.ANY_SOURCE, _HEADER_TAG)

    def send(self, task: int, rank: int, value: Value) -> None:
        """Send the block of ``task`` to ``rank`` as soon as the window has room; ``value`` must not change until sent."""
        self._queue.append((task, rank, value))

    def poll(self) -> tuple[list[tuple[int, Value]], list[tuple[int, int, int]]]:
        """Advance everything.

        Returns:
            Blocks that have arrived (task, value), and blocks that have been sent (task, rank, bytes).
        """
        while self._queue and len(self._outgoing) < WINDOW:
            self._outgoing.append(self._start(*self._queue.popleft()))
        arrived = self._poll_headers()
        if self._incoming:
            arrived += self._poll_pieces()
        return arrived, self._poll_sends() if self._outgoing else []

    def _start(self, task: int, rank: int, value: Value) -> _Outgoing:
        sequence = self._sequences.get(rank, 0)
        self._sequences[rank] = sequence + 1
        header, description = wire.pack(task, sequence, value)
        size = sum(array.nbytes for _, array in columns(value))
        pieces = wire.pieces(columns(value)) if description or size > wire.INLINE else []
        tag = _PIECE_TAG + sequence % _TAGS
        requests = [self._comm.Isend(header, rank, _HEADER_TAG)]
        if description:
            requests.append(self._comm.Isend(description, rank, tag))
        requests += [self._comm.Isend(piece, rank, tag) for piece in pieces]
        return _Outgoing(task, rank, size, requests, [header, description, *pieces])

    def _poll_headers(self) -> list[tuple[int, Value]]:
        """Take headers in the order in which their slots were posted, which is the order in which they match."""
        arrived = []
        status = MPI.Status()
        while self._headers[0][1].Test(status):
            slot, _ = self._headers.popleft()
            header = wire.unpack(memoryview(self._slots[slot])[:status.Get_count(MPI.BYTE)])
            self._headers.append((slot, self._post(slot)))
            incoming = _Incoming(header.task, status.Get_source(), _PIECE_TAG + header.sequence % _TAGS)
            if header.arrays is None:
                incoming.description = np.empty(header.nbytes, np.uint8)
                incoming.requests = [self._comm.Irecv(incoming.description, incoming.source, incoming.tag)]
                self._incoming.append(incoming)
            elif header.inline is not None:
                arrays = wire.allocate(header.arrays)
                wire.fill(arrays, header.inline)
                arrived.append((header.task, wire.finished(arrays)))
            else:
                self._receive(incoming, header.arrays)
                self._incoming.append(incoming)
        return arrived

    def _receive(self, incoming: _Incoming, arrays: tuple[wire.ArrayHeader, ...]) -> None:
        try:
            incoming.arrays = wire.allocate(arrays)
        except MemoryError as error:
            raise MachineError(f"rank {self._comm.rank}: no memory for the block of task {incoming.task} "
                               f"from rank {incoming.source}: {error}") from None
        incoming.requests = [
            self._comm.Irecv(piece, incoming.source, incoming.tag) for piece in wire.pieces(incoming.arrays)]

    def _poll_pieces(self) -> list[tuple[int, Value]]:
        arrived, waiting = [], []
        for incoming in self._incoming:
            incoming.requests = _pending(incoming.requests)
            if not incoming.requests and incoming.description is not None:
                arrays = wire.unpack_arrays(memoryview(incoming.description))
                incoming.description = None
                self._receive(incoming, arrays)
            if incoming.requests:
                waiting.append(incoming)
            else:
                arrived.append((incoming.task, wire.finished(incoming.arrays)))
        self._incoming = waiting
        return arrived

    def _poll_sends(self) -> list[tuple[int, int, int]]:
        for outgoing in self._outgoing:
            outgoing.requests = _pending(outgoing.requests)
        sent = [(item.task, item.rank, item.nbytes) for item in self._outgoing if not item.requests]
        if sent:
            self._outgoing = [item for item in self._outgoing if item.requests]
        return sent

    @property
    def busy(self) -> bool:
        """Whether payload is under way."""
        return bool(self._incoming or self._outgoing or self._queue)

    def close(self) -> None:
        """Withdraw the receives posted ahead. To be called when every rank knows that no block is under way."""
        for _, request in self._headers:
            request.Cancel()
            request.Wait()
        self._headers.clear()


def _pending(requests: list[MPI.Request]) -> list[MPI.Request]:
    """Each request is tested by itself: calls on lists of requests end the survivors of a failure (ULFM)."""
    return [request for request in requests if not request.Test()]

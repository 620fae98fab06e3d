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
from mpiflow.peer.buffers import Buffers

SLOTS = 16          # headers received ahead, by requests that are started again and again
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
        self._status = MPI.Status()
        self._buffers = Buffers()
        self._slots: deque[tuple[MPI.Prequest, memoryview]] = deque(self._posted() for _ in range(SLOTS))
        self._incoming: list[_Incoming] = []
        self._queue: deque[tuple[int, int, Value]] = deque()
        self._outgoing: list[_Outgoing] = []
        self._sent: list[tuple[int, int, int]] = []         # small ones leave at once; told at the next poll
        self._sequences: dict[int, int] = {}

    def _posted(self) -> tuple[MPI.Prequest, memoryview]:
        room = bytearray(wire.HEADER)
        request = self._comm.Recv_init([room, MPI.BYTE], MPI.ANY_SOURCE, _HEADER_TAG)
        request.Start()
        return request, memoryview(room)

    def send(self, task: int, rank: int, value: Value) -> None:
        """Send the block of ``task`` to ``rank`` as soon as the window has room; ``value`` must not change until sent."""
        if len(self._outgoing) < WINDOW:
            self._start(task, rank, value)
        else:
            self._queue.append((task, rank, value))

    def poll(self) -> tuple[list[tuple[int, Value]], list[tuple[int, int, int]]]:
        """Advance everything.

        Returns:
            Blocks that have arrived (task, value), and blocks that have been sent (task, rank, bytes).
        """
        arrived = self._poll_headers()
        if self._incoming:
            arrived += self._poll_pieces()
        if self._outgoing:
            self._poll_sends()
        while self._queue and len(self._outgoing) < WINDOW:
            self._start(*self._queue.popleft())
        if not self._sent:
            return arrived, []
        sent, self._sent = self._sent, []
        return arrived, sent

    def _start(self, task: int, rank: int, value: Value) -> None:
        sequence = self._sequences.get(rank, 0)
        self._sequences[rank] = sequence + 1
        header, description, nbytes = wire.pack(task, sequence, value)
        request = self._comm.Isend([header, MPI.BYTE], rank, _HEADER_TAG)
        if nbytes <= wire.INLINE and not description:
            if request.Test():
                self._sent.append((task, rank, nbytes))
            else:
                self._outgoing.append(_Outgoing(task, rank, nbytes, [request], [header]))
            return
        tag = _PIECE_TAG + sequence % _TAGS
        messages = [*([np.frombuffer(description, np.uint8)] if description else []), *wire.pieces(columns(value))]
        requests = [request, *(self._comm.Isend(message, rank, tag) for message in messages)]
        self._outgoing.append(_Outgoing(task, rank, nbytes, requests, [header, *messages]))

    def _poll_headers(self) -> list[tuple[int, Value]]:
        """Take headers in the order in which their slots were posted, which is the order in which they match."""
        arrived: list[tuple[int, Value]] = []
        slots, status = self._slots, self._status
        while slots[0][0].Test(status):
            request, room = slots[0]
            task, sequence, nbytes, arrays, payload = wire.unpack(room)
            source = status.Get_source()
            request.Start()
            slots.rotate(-1)
            if payload is not None:
                arrived.append((task, wire.from_inline(arrays, payload)))
            else:
                self._await(_Incoming(task, source, _PIECE_TAG + sequence % _TAGS), arrays, nbytes)
        return arrived

    def _await(self, incoming: _Incoming, arrays: wire.Forms | None, nbytes: int) -> None:
        """Receive what follows a header."""
        if arrays is None:
            incoming.description = np.empty(nbytes, np.uint8)
            incoming.requests = [self._comm.Irecv(incoming.description, incoming.source, incoming.tag)]
        else:
            self._receive(incoming, arrays)
        self._incoming.append(incoming)

    def _receive(self, incoming: _Incoming, arrays: wire.Forms) -> None:
        try:
            incoming.arrays = wire.allocate(arrays, self._buffers.empty)
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
                arrays = wire.unpack_arrays(incoming.description.tobytes())
                incoming.description = None
                self._receive(incoming, arrays)
            if incoming.requests:
                waiting.append(incoming)
            else:
                arrived.append((incoming.task, wire.finished(incoming.arrays)))
        self._incoming = waiting
        return arrived

    def _poll_sends(self) -> None:
        for outgoing in self._outgoing:
            outgoing.requests = _pending(outgoing.requests)
        self._sent += [(item.task, item.rank, item.nbytes) for item in self._outgoing if not item.requests]
        self._outgoing = [item for item in self._outgoing if item.requests]

    @property
    def busy(self) -> bool:
        """Whether payload is under way."""
        return bool(self._incoming or self._outgoing or self._queue or self._sent)

    def trim(self, now: float) -> None:
        """Give back memory of received blocks that has not been in use for a while; ``now`` is any clock [s]."""
        self._buffers.trim(now)

    def close(self) -> None:
        """Withdraw the receives posted ahead. To be called when every rank knows that no block is under way."""
        for request, _ in self._slots:
            request.Cancel()
            request.Wait()
            request.Free()
        self._slots.clear()


def _pending(requests: list[MPI.Request]) -> list[MPI.Request]:
    """Each request is tested by itself: calls on lists of requests end the survivors of a failure (ULFM)."""
    return [request for request in requests if not request.Test()]

"""Transfers: blocks from rank to rank by nonblocking point-to-point messages.

A header goes first, and carries a small block whole. The pieces of a larger one follow under a tag of their own and
are received straight into the array that the task will use. Headers are received into slots, of which some are posted
whenever a rank looks, so no order of production can block anybody; the number of blocks that a rank sends at one time is bounded.
Large blocks that the plan foresees go into receives that are posted ahead: see ``ahead``.

Slots take from any source. MPICH 5.0 over UCX, as PyPI has it, loses such a receive between nodes if a message waits for it when
it is posted: the request is never complete. There headers are probed for, and received from the rank that was found.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from mpi4py import MPI

from mpiflow.errors import MachineError
from mpiflow.operations.layout import Forms, allocate, finished, pieces
from mpiflow.operations.values import Value, columns
from mpiflow.peer import wire
from mpiflow.peer.ahead import Ahead, Foresight, Withdrawn
from mpiflow.peer.buffers import Buffers
from mpiflow.peer.survive import check_alive, survivable
from mpiflow.peer.wire import Follows, Kind, kind_of, unpack

SLOTS = 16          # headers received ahead, by requests that are started again and again
WINDOW = 4          # blocks being sent at one time; the pieces of one block are posted together
LOOKS = 64          # how often a large block under way is looked at in a row
_HEADER_TAG = 1
_PIECE_TAG = 2      # pieces of block number s between two ranks have tag 2 + s mod TAGS
_TAGS = 32_000      # MPI promises tags up to 32,767; those above are for blocks that are expected


@dataclass(slots=True)
class _Incoming:
    task: int
    source: int
    tag: int
    arrays: list[tuple[str, np.ndarray]] = field(default_factory=list)
    description: np.ndarray | None = None
    requests: list[MPI.Request | Withdrawn] = field(default_factory=list)


@dataclass(slots=True)
class _Outgoing:
    task: int
    rank: int
    nbytes: int
    requests: list[MPI.Request]
    buffers: list[bytes | np.ndarray]       # a pending send pins its buffers


class _Probed:
    """Stands for a slot where those cannot be used: a header is probed for, and received from the rank that was found."""

    __slots__ = ("_comm", "_request", "_room")

    def __init__(self, comm: MPI.Comm, room: bytearray) -> None:
        self._comm, self._room = comm, room
        self.Start()

    def Start(self) -> None:
        """Look for the next header from now on."""
        self._request: MPI.Request | None = None

    def Test(self, status: MPI.Status) -> bool:
        """Whether it is here."""
        if self._request is None:
            if not self._comm.Iprobe(MPI.ANY_SOURCE, _HEADER_TAG, status):
                return False
            self._request = self._comm.Irecv(self._room, status.Get_source(), _HEADER_TAG)
        return self._request.Test(status)


class Transfers:
    """All blocks under way from and to this rank.

    Attributes:
        ahead: Knows what to expect.
    """

    def __init__(self, comm: MPI.Comm, probing: bool = False) -> None:
        """Be ready to receive; ``probing`` if slots cannot be used (see ``must_probe``)."""
        self._comm = comm
        self._status = MPI.Status()
        self._mortal = survivable(comm)
        self._buffers = Buffers()
        self.ahead = Ahead(comm, self._buffers, _PIECE_TAG + _TAGS)
        self._slots: deque[tuple[MPI.Prequest | _Probed, bytearray]] = deque(
            [self._probed()] if probing else [self._posted() for _ in range(SLOTS)])
        self._read: list[tuple[MPI.Prequest | _Probed, bytearray]] = []    # slots that have been read, to be posted again
        self._most_read = len(self._slots) // 2         # if there are more of them, that comes first
        self._incoming: list[_Incoming] = []
        self._moving = False                            # whether there is more to do than to look for headers
        self._queue: deque[tuple[int, int, Value]] = deque()
        self._outgoing: list[_Outgoing] = []
        self._sequences = [0] * comm.size

    def _posted(self) -> tuple[MPI.Prequest, bytearray]:
        room = bytearray(wire.HEADER)
        request = self._comm.Recv_init(room, MPI.ANY_SOURCE, _HEADER_TAG)
        request.Start()
        return request, room

    def _probed(self) -> tuple[_Probed, bytearray]:
        room = bytearray(wire.HEADER)
        return _Probed(self._comm, room), room

    def foresee(self, sizes: Mapping[int, int], foresight: Foresight | None) -> None:
        """Post receives of large blocks ahead from now on. To be called when every rank knows that no block is under way.

        Args:
            sizes: Those that are expected of blocks [bytes]; the same on all ranks, who all call this before any of them sends.
            foresight: What comes here; None if nothing is to be received ahead.
        """
        _withdraw(self.ahead.close())
        self.ahead.know(sizes)
        if foresight is not None:
            self.ahead.follow(foresight)

    def send(self, task: int, rank: int, value: Value) -> int | None:
        """Send the block of ``task`` to ``rank`` as soon as the window has room; ``value`` must not change until sent.

        Returns:
            Its size [bytes] if it has been sent already; else ``sent`` will tell.
        """
        if len(self._outgoing) >= WINDOW:
            self._queue.append((task, rank, value))
            return None
        return self._start(task, rank, value)

    @property
    def sending(self) -> bool:
        """Whether ``sent`` has anything to tell, now or later."""
        return bool(self._outgoing)

    def sent(self) -> list[tuple[int, int, int]]:
        """Advance what is being sent; give the blocks that have left since the last call (task, rank, bytes)."""
        for outgoing in self._outgoing:
            outgoing.requests = _pending(outgoing.requests)
        gone = [(item.task, item.rank, item.nbytes) for item in self._outgoing if not item.requests]
        self._outgoing = [item for item in self._outgoing if item.requests]
        while self._queue and len(self._outgoing) < WINDOW:
            task, rank, value = self._queue.popleft()
            size = self._start(task, rank, value)
            if size is not None:
                gone.append((task, rank, size))
        return gone

    def _start(self, task: int, rank: int, value: Value) -> int | None:
        kind = kind_of(value)
        if not kind.inlined:
            self._start_large(task, rank, value, kind)
            return None
        message = kind.whole(task, value)
        request = self._comm.Isend(message, rank, _HEADER_TAG)
        if request.Test():
            return kind.nbytes
        self._outgoing.append(_Outgoing(task, rank, kind.nbytes, [request], [message]))
        return None

    def _start_large(self, task: int, rank: int, value: Value, kind: Kind) -> None:
        sequence, comm, ahead = self._sequences[rank], self._comm, self.ahead
        header = kind.header(task, sequence)
        first = comm.Isend(header, rank, _HEADER_TAG)
        tag = ahead.tag(task, kind.nbytes) if ahead.known and not (kind.description or isinstance(value, dict)) else None
        if tag is not None:
            rest, requests = [value], [first, comm.Isend([value, MPI.BYTE], rank, tag)]
        else:
            description = [np.frombuffer(kind.description, np.uint8)] if kind.description else []
            rest, tag = [*description, *pieces(columns(value), wire.PIECE)], _PIECE_TAG + sequence % _TAGS
            self._sequences[rank] = sequence + 1
            requests = [first, *[comm.Isend(buffer, rank, tag) for buffer in rest]]
        self._outgoing.append(_Outgoing(task, rank, kind.nbytes, requests, [header, *rest]))

    def receive(self, looks: int = 1) -> list[tuple[int, Value]]:
        """Advance what is being received; give blocks that have arrived since the last call (task, value).

        Headers are taken one at a time in the order in which their slots were posted, which is the order in which they match.

        Args:
            looks: How many times to look for a header; who has nothing else to do sees it soonest by looking again at once.
        """
        status, slots, read = self._status, self._slots, self._read
        if len(read) > self._most_read:
            while read:
                self._renew()
        slot, room = slots[0]
        while not slot.Test(status):
            if read:                            # now there is time
                self._renew()
            looks -= 1
            if looks <= 0:
                return self._receive_pieces() if self._moving else []
        if self._mortal:
            check_alive(status)
        task, sequence, rest = unpack(room)
        read.append(slots.popleft())
        if type(rest) is Follows:
            return self._follow(task, status.Get_source(), sequence, rest)
        return [(task, rest), *self._receive_pieces()] if self._moving else [(task, rest)]

    def _renew(self) -> None:
        """Be ready for one more header in a slot that has been read."""
        slot = self._read.pop()
        slot[0].Start()
        self._slots.append(slot)

    def _follow(self, task: int, source: int, sequence: int, follows: Follows) -> list[tuple[int, Value]]:
        """Receive what follows a header: at once, as it moves only then; give what is here."""
        self._moving = True
        posted = self.ahead.claim(task, source, follows)
        if posted is not None:
            if posted.request.Test(self._status):       # as nearly always
                if self._mortal:
                    check_alive(self._status)
                return [(task, posted.array), *self._receive_pieces()] if self._incoming else [(task, posted.array)]
            self._incoming.append(_Incoming(task, source, 0, [("", posted.array)], None, [posted.request]))
            return self._receive_pieces()
        incoming = _Incoming(task, source, _PIECE_TAG + sequence % _TAGS)
        if follows.arrays is None:
            incoming.description = np.empty(follows.nbytes, np.uint8)
            incoming.requests = [self._comm.Irecv(incoming.description, source, incoming.tag)]
        else:
            self._receive_into(incoming, follows.arrays)
        self._incoming.append(incoming)
        return self._receive_pieces()

    def _receive_into(self, incoming: _Incoming, arrays: Forms) -> None:
        try:
            incoming.arrays = allocate(arrays, self._buffers.empty)
        except MemoryError as error:
            raise MachineError(f"rank {self._comm.rank}: no memory for the block of task {incoming.task} "
                               f"from rank {incoming.source}: {error}") from None
        incoming.requests = [
            self._comm.Irecv(piece, incoming.source, incoming.tag) for piece in pieces(incoming.arrays, wire.PIECE)]

    def _receive_pieces(self) -> list[tuple[int, Value]]:
        arrived, waiting = [], []
        for incoming in self._incoming:
            incoming.requests = _alive(incoming.requests) if self._mortal else _pending(incoming.requests)
            if not incoming.requests and incoming.description is not None:
                arrays = wire.unpack_arrays(incoming.description.tobytes())
                incoming.description = None
                self._receive_into(incoming, arrays)
            if incoming.requests:
                waiting.append(incoming)
            else:
                arrived.append((incoming.task, finished(incoming.arrays)))
        self._incoming = waiting
        if not arrived:                         # who gets a block goes on with it first
            self.ahead.renew()
        self._moving = bool(waiting) or self.ahead.due
        return arrived

    @property
    def busy(self) -> bool:
        """Whether payload is under way."""
        return bool(self._incoming or self._outgoing)

    @property
    def num_left(self) -> int:
        """Messages of blocks under way that are still to arrive or to leave, and blocks that wait to be sent."""
        return sum([len(item.requests) for item in (*self._incoming, *self._outgoing)]) + len(self._queue)

    @property
    def coming(self) -> list[tuple[int, int, int]]:
        """Blocks that are being received: task, source, messages left."""
        return [(item.task, item.source, len(item.requests)) for item in self._incoming]

    @property
    def leaving(self) -> list[tuple[int, int, int]]:
        """Blocks that are being sent or wait for it: task, destination, messages left."""
        return [*((item.task, item.rank, len(item.requests)) for item in self._outgoing),
                *((task, rank, 1) for task, rank, _ in self._queue)]

    def trim(self, now: float) -> None:
        """Now and then, give back memory of received blocks that is not in use for a while; ``now`` is any clock [s]."""
        self.ahead.renew()
        self._buffers.trim(now)

    def close(self) -> None:
        """Withdraw the receives posted ahead. To be called when every rank knows that no block is under way."""
        posted, read = ([slot for slot, _ in slots if not isinstance(slot, _Probed)] for slots in (self._slots, self._read))
        _withdraw([*posted, *self.ahead.close()])
        for request in (*posted, *read):
            request.Free()
        self._slots.clear()
        self._read.clear()


def must_probe(hosts: Sequence[str]) -> bool:
    """Whether receives from any source may be lost: by this MPI, among ranks on these nodes."""
    return len(set(hosts)) > 1 and "ch4:ucx" in MPI.Get_library_version()


def _withdraw(requests: Iterable[MPI.Request]) -> None:
    """End receives for which nothing can come."""
    for request in requests:
        request.Cancel()
        request.Wait()


def _pending(requests: list[MPI.Request]) -> list[MPI.Request]:
    """Give those that are not complete, in order. Each is tested by itself: calls on lists end the survivors of a failure (ULFM).

    MPI moves large messages a part at a time, in any of its calls, so one call is not enough to keep them moving.
    """
    first, looks = 0, LOOKS
    while first < len(requests) and looks:
        if requests[first].Test():
            first += 1
        else:
            looks -= 1
    return requests[first:]


def _alive(requests: list[MPI.Request]) -> list[MPI.Request]:
    """Likewise for receives where ranks outlive others: one that its sender's death has ended is no block.

    Raises:
        MPI.Exception: The sender has died.
    """
    waiting, status = [], MPI.Status()
    for request in requests:
        if not request.Test(status):
            waiting.append(request)
        else:
            check_alive(status)
    return waiting

"""Epochs: every rank's bytes to every rank, by nonblocking collectives."""

from __future__ import annotations

import time

import numpy as np
from mpi4py import MPI

from mpiflow.peer.survive import survivable
from mpiflow.peer.watch import Meeting, Sight, Watch

SLOT = 1024         # bytes that every rank sends in any case; what does not fit follows in a second collective
_HEADER = 8


class Epochs:
    """A nonblocking allgather of byte strings of unequal length; one at a time.

    All ranks of the communicator must post their contributions the same number of times. **Collective.**
    """

    def __init__(self, comm: MPI.Comm, watch: Watch | None = None) -> None:
        self._comm = comm
        self.watch = watch                      # while an ``exchange`` waits
        self._slots = np.zeros((comm.size, SLOT), np.uint8)
        self._own = np.zeros(SLOT, np.uint8)
        self._rest: np.ndarray | None = None
        self._overflow: bytes = b""
        self._request: MPI.Request | None = None
        self._status = MPI.Status() if survivable(comm) else None

    def post(self, data: bytes) -> None:
        """Start an exchange of which ``data`` is this rank's part."""
        if self._request is not None:
            raise RuntimeError("an epoch is under way already")
        head = data[:SLOT - _HEADER]
        self._overflow = data[SLOT - _HEADER:]
        self._own[:_HEADER] = np.frombuffer(len(data).to_bytes(_HEADER, "little"), np.uint8)
        self._own[_HEADER:_HEADER + len(head)] = np.frombuffer(head, np.uint8)
        self._request = self._comm.Iallgather(self._own, self._slots)

    def poll(self) -> list[bytes] | None:
        """Give all contributions, in order of rank, when the exchange is complete; None before or when there is none."""
        if self._request is None or not self._request.Test(self._status):
            return None
        if self._status is not None and (error := self._status.Get_error()) != MPI.SUCCESS:
            raise MPI.Exception(error)
        lengths = [int.from_bytes(slot[:_HEADER].tobytes(), "little") for slot in self._slots]
        extra = [max(length - (SLOT - _HEADER), 0) for length in lengths]
        if self._rest is None and any(extra):
            self._rest = np.empty(sum(extra), np.uint8)
            own = np.frombuffer(self._overflow, np.uint8)
            self._request = self._comm.Iallgatherv(own, (self._rest, extra))
            return None
        self._request = None
        ends = np.cumsum(extra)
        parts = [
            slot[_HEADER:_HEADER + length].tobytes() + (self._rest[end - more:end].tobytes() if more else b"")
            for slot, length, more, end in zip(self._slots, lengths, extra, ends, strict=True)
        ]
        self._rest = None
        return parts


def exchange(epochs: Epochs, own: bytes, sight: Sight | None = None) -> list[bytes]:
    """Exchange bytes while no run goes on, and give those of all ranks. **Collective**.

    A rank that is late is waited for without burning its core; ``sight`` says what for.
    """
    epochs.post(own)
    nap, watch = 20e-6, epochs.watch
    if watch:
        watch.follow(sight or Meeting(), time.perf_counter())
    while (parts := epochs.poll()) is None:
        time.sleep(nap)
        if watch:
            watch.look(time.perf_counter())
        nap = min(nap * 1.5, 3e-4)
    return parts

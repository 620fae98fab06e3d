"""Blocks between two ranks, by mpiflow's transfers and by hand; started by ``transfers.py``.

Arguments: ``bandwidth`` or ``latency``, then bytes, repeats, and for latency round trips. Every way is measured in turn;
the JSON has, for each, the seconds of every repeat: from the sender's start to the arrived block, or for half a round trip.
"""

import gc
import json
import sys
import time

import numpy as np
from mpi4py import MPI

from mpiflow.operations.values import as_value
from mpiflow.peer.transfers import Transfers

SENDER, RECEIVER = 0, 1
LOOKS = 64          # for headers in a row, as a rank that waits for a block does
IN_A_ROW = 8        # blocks that each way sends in its turn, of which the first ones do not count: they find memory and
COLD = 2            # code cold;
LARGE = 32 << 20    # but of those larger than this [bytes] one, which nothing is warm for
PAUSE = 3e-5        # seconds that the sender leaves the receiver to begin waiting


class Ours:
    """Blocks by mpiflow's transfers. All that these benchmarks use of them is here."""

    def __init__(self, comm):
        self.transfers = Transfers(comm)
        self.thrown = self.sent = self.taken = 0
        self.arrived = []

    def foresee(self, sizes):
        """Know the sizes of blocks [bytes], as ranks that share a plan do."""
        self.transfers.foresee(sizes, None)

    def send(self, rank, block):
        """Send a block and come back when its buffer is free."""
        self.throw(rank, block)
        self.flush()

    def throw(self, rank, block):
        """Send a block without waiting."""
        self.sent += self.transfers.send(self.thrown, rank, block) is not None
        self.thrown += 1

    def expect(self):
        """Post the receive of the next block, from the other rank, if its size is known; give what waits for the block."""
        self.transfers.ahead.expect(self.taken, SENDER)
        self.taken += 1
        return self._expected

    def _expected(self):
        while not (arrived := self.transfers.receive(LOOKS)):
            pass
        return arrived[0][1]

    def receive(self):
        """Give the next block."""
        while not self.arrived:
            self.poll()
        return self.arrived.pop()[1]

    def poll(self):
        """Advance everything."""
        self.arrived += self.transfers.receive()
        if self.transfers.sending:
            self.sent += len(self.transfers.sent())

    def flush(self):
        """Wait until all buffers are free."""
        while self.sent < self.thrown:
            self.poll()

    def bounce(self, first, rank, block, times):
        """Send a block to and fro."""
        for _ in range(times):
            if first:
                self.throw(rank, block)
            self.receive()
            if not first:
                self.throw(rank, block)
        self.flush()

    def close(self):
        """End."""
        self.transfers.close()


class Raw:
    """Messages by mpi4py, into an array that is there or into a new one for each."""

    def __init__(self, comm, room):
        self.comm = comm
        self.size = len(room)
        self.room = room

    def send(self, rank, block):
        """Send a block and come back when its buffer is free."""
        self.comm.Send(block, rank)

    def into_room(self):
        """Post the receive of the next block, into the same array as the one before; give what waits for it."""
        return self._into(self.room)

    def into_new(self):
        """Likewise, into an array of its own."""
        return self._into(np.empty(self.size, np.uint8))

    def _into(self, room):
        request = self.comm.Irecv(room, SENDER)

        def arrived():
            request.Wait()
            return room

        return arrived

    def bounce(self, first, rank, block, times):
        """Send a block to and fro."""
        for _ in range(times):
            if first:
                self.comm.Send(block, rank)
            self.comm.Recv(self.room, rank)
            if not first:
                self.comm.Send(block, rank)


def one_way(comm, send, expect, block):
    """Give, on the receiver, the seconds from the sender's start to the arrived block. By then the receiver waits for it."""
    clock = np.empty(1)
    if comm.rank == SENDER:
        comm.Barrier()
        waited = time.perf_counter()
        while time.perf_counter() - waited < PAUSE:
            pass
        clock[0] = time.perf_counter()          # which is the same for all processes of a machine
        send(RECEIVER, block)
        comm.Send(clock, RECEIVER)
        return 0.0
    arrived = expect()
    comm.Barrier()
    found = arrived()
    ended = time.perf_counter()
    comm.Recv(clock, SENDER)
    assert found[0] == block[0] and found[-1] == block[-1]
    return ended - clock[0]


def copy(block, room):
    """Give the seconds of a copy within one process."""
    began = time.perf_counter()
    np.copyto(room, block)
    return time.perf_counter() - began


def bandwidth(comm, ours, nbytes, repeats):
    """Measure blocks one way; the copies are made by the receiver while the sender waits."""
    block, room = as_value(np.full(nbytes, 7, np.uint8)), np.zeros(nbytes, np.uint8)
    raw = Raw(comm, room)
    num = IN_A_ROW if nbytes <= LARGE else 1
    ours.foresee(dict.fromkeys(range(num * repeats), nbytes))
    ways = {
        "memcpy": lambda: copy(block, room) if comm.rank == RECEIVER else 0.0,
        "memcpy into a new array": lambda: copy(block, np.empty(nbytes, np.uint8)) if comm.rank == RECEIVER else 0.0,
        "raw": lambda: one_way(comm, raw.send, raw.into_room, block),
        "raw into a new array": lambda: one_way(comm, raw.send, raw.into_new, block),
        "mpiflow": lambda: one_way(comm, ours.send, ours.expect, block)}
    found = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            samples = [way() for _ in range(num)]
            found[name] += samples[COLD:] or samples
    return found


def latency(comm, ours, nbytes, repeats, trips):
    """Measure half a round trip."""
    block, other = as_value(np.full(nbytes, 7, np.uint8)), 1 - comm.rank
    found = {"raw": [], "mpiflow": []}
    for _ in range(repeats):
        for name, way in (("raw", Raw(comm, np.empty(nbytes, np.uint8))), ("mpiflow", ours)):
            comm.Barrier()
            began = time.perf_counter()
            way.bounce(comm.rank == SENDER, other, block, trips)
            found[name].append((time.perf_counter() - began) / trips / 2)
    return found


def main():
    """Measure and print, on the receiver."""
    gc.disable()                                # a run searches for garbage very seldom
    comm = MPI.COMM_WORLD.Dup()
    ours = Ours(MPI.COMM_WORLD.Dup())
    measure = {"bandwidth": bandwidth, "latency": latency}[sys.argv[1]]
    found = measure(comm, ours, *map(int, sys.argv[2:]))
    comm.Barrier()
    ours.close()
    if comm.rank == RECEIVER:
        print(json.dumps(found))


if __name__ == "__main__":
    main()

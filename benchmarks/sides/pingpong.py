"""Blocks between two ranks, by mpiflow's transfers and by hand; started by ``transfers.py``.

Arguments: ``bandwidth`` or ``latency``, then bytes, repeats, and for latency round trips. Every way is measured in turn;
the JSON has, for each, the seconds of every repeat: from the barrier to the arrived block, or for half a round trip.
"""

import json
import sys
import time

import numpy as np
from mpi4py import MPI

from mpiflow.operations.values import as_value
from mpiflow.peer.transfers import Transfers

SENDER, RECEIVER = 0, 1
LOOKS = 64          # for headers in a row, as a rank that waits for a block does


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

    def receive_ahead(self):
        """Give the next block, from the other rank; its receive is posted first, as far as its size is known."""
        self.transfers.ahead.expect(self.taken, SENDER)
        self.taken += 1
        while not self.arrived:
            self.arrived += self.transfers.receive(LOOKS)
        return self.arrived.pop()[1]

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
    """Blocking messages by mpi4py, into an array that is there or into a new one for each."""

    def __init__(self, comm, room):
        self.comm = comm
        self.size = len(room)
        self.room = room

    def send(self, rank, block):
        """Send a block and come back when its buffer is free."""
        self.comm.Send(block, rank)

    def into_room(self):
        """Give the next block, in the same array as the one before."""
        self.comm.Recv(self.room, SENDER)
        return self.room

    def into_new(self):
        """Give the next block, in an array of its own."""
        room = np.empty(self.size, np.uint8)
        self.comm.Recv(room, SENDER)
        return room

    def bounce(self, first, rank, block, times):
        """Send a block to and fro."""
        for _ in range(times):
            if first:
                self.comm.Send(block, rank)
            self.comm.Recv(self.room, rank)
            if not first:
                self.comm.Send(block, rank)


def one_way(comm, send, receive, block):
    """Give the seconds from the barrier to the arrived block; on the sender, until its buffer is free."""
    comm.Barrier()
    began = time.perf_counter()
    if comm.rank == SENDER:
        send(RECEIVER, block)
        return time.perf_counter() - began
    arrived = receive()
    seconds = time.perf_counter() - began
    assert arrived[0] == block[0] and arrived[-1] == block[-1]
    return seconds


def copy(block, room):
    """Give the seconds of a copy within one process."""
    began = time.perf_counter()
    np.copyto(room, block)
    return time.perf_counter() - began


def bandwidth(comm, ours, nbytes, repeats):
    """Measure blocks one way; the copies are made by the receiver while the sender waits."""
    block, room = as_value(np.full(nbytes, 7, np.uint8)), np.zeros(nbytes, np.uint8)
    raw = Raw(comm, room)
    ours.foresee(dict.fromkeys(range(repeats), nbytes))
    found = {"memcpy": [], "memcpy into a new array": [], "raw": [], "raw into a new array": [], "mpiflow": []}
    for _ in range(repeats):
        if comm.rank == RECEIVER:
            found["memcpy"].append(copy(block, room))
            found["memcpy into a new array"].append(copy(block, np.empty(nbytes, np.uint8)))
        found["raw"].append(one_way(comm, raw.send, raw.into_room, block))
        found["raw into a new array"].append(one_way(comm, raw.send, raw.into_new, block))
        found["mpiflow"].append(one_way(comm, ours.send, ours.receive_ahead, block))
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

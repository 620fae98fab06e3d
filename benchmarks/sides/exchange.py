"""Epochs of the catalog, and a raw Iallgather of the same size; started by ``epochs.py``.

Arguments: bytes that each rank contributes, exchanges in one measurement, repeats. Both are waited for in the same way.
"""

import json
import os
import sys
import time

import numpy as np
from mpi4py import MPI

from mpiflow.peer.epochs import Epochs

SPINS = 100
NAPS = (20e-6, 2e-3)        # seconds: a rank that waits sleeps from the first, growing, to the second


def wait(done):
    """Poll, at first without a pause and then with growing ones, until ``done`` gives something."""
    spins, nap = 0, NAPS[0]
    while not (found := done()):
        spins += 1
        if spins < SPINS:
            os.sched_yield()
        else:
            time.sleep(nap)
            nap = min(1.5 * nap, NAPS[1])
    return found


def raw(comm, own, everyone, exchanges):
    """Exchange buffers that are there already."""
    for _ in range(exchanges):
        wait(comm.Iallgather(own, everyone).Test)
    assert everyone[-1, 0] == comm.size - 1


def ours(epochs, data, exchanges, last):
    """Exchange byte strings by epochs."""
    for _ in range(exchanges):
        epochs.post(data)
        parts = wait(epochs.poll)
    assert parts[-1] == last


def main():
    """Print the slowest rank's seconds for one exchange, for each repeat."""
    comm = MPI.COMM_WORLD.Dup()
    nbytes, exchanges, repeats = map(int, sys.argv[1:])
    epochs, own = Epochs(MPI.COMM_WORLD.Dup()), np.full(nbytes, comm.rank, np.uint8)
    everyone, last = np.zeros((comm.size, nbytes), np.uint8), bytes([comm.size - 1]) * nbytes
    ways = {"raw": lambda: raw(comm, own, everyone, exchanges),
            "mpiflow": lambda: ours(epochs, own.tobytes(), exchanges, last)}
    found = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            wait(comm.Ibarrier().Test)
            began = time.perf_counter()
            way()
            mine, slowest = np.array([(time.perf_counter() - began) / exchanges]), np.empty(1)
            wait(comm.Iallreduce(mine, slowest, op=MPI.MAX).Test)
            found[name].append(float(slowest[0]))
    if comm.rank == 0:
        print(json.dumps(found))


if __name__ == "__main__":
    main()

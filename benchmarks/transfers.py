"""Block transfers against raw mpi4py between the same two ranks: ``mpirun -n 2 python benchmarks/transfers.py``."""

import time

import numpy as np
from mpi4py import MPI

from mpiflow.operations.values import as_value
from mpiflow.peer.transfers import Transfers

SIZES = [16, 10**6, 16 * 10**6, 10**8, 10**9]
REPEATS = 5


def raw(comm, block, room):
    """Seconds until a blocking Send or Recv comes back."""
    comm.Barrier()
    began = time.perf_counter()
    if comm.rank == 0:
        comm.Send(block, 1)
    else:
        comm.Recv(room, 0)
    return time.perf_counter() - began


def ours(comm, transfers, block):
    """Seconds until the block is sent, or has arrived."""
    comm.Barrier()
    began = time.perf_counter()
    if comm.rank == 0:
        transfers.send(0, 1, block)
    arrived = sent = None
    while not (arrived if comm.rank else sent):
        arrived, sent = transfers.poll()
    return time.perf_counter() - began


def main():
    """Print one line for each size, as seen by the receiver: the best of some repeats, in turn."""
    comm = MPI.COMM_WORLD.Dup()
    transfers = Transfers(comm)
    for size in SIZES:
        block, room = as_value(np.ones(size, np.uint8)), np.zeros(size, np.uint8)
        pairs = [(raw(comm, block, room), ours(comm, transfers, block)) for _ in range(REPEATS)]
        best_raw, best_ours = (min(column) for column in zip(*pairs, strict=True))
        if comm.rank == 1:
            print(f"{size:>12} bytes: raw {best_raw:.6f} s, ours {best_ours:.6f} s, ratio {best_ours / best_raw:.2f}", flush=True)
    transfers.close()
    comm.Free()


if __name__ == "__main__":
    main()

"""Iterations of the kernel per second when every rank computes and nothing else happens: the peak that efficiency refers to."""

import json
import sys
import time

from grid import burn
from mpi4py import MPI


def main():
    """Print the slowest rank's seconds for one iteration, the best of five times."""
    comm, iterations, found = MPI.COMM_WORLD, int(sys.argv[1]), []
    for _ in range(5):
        comm.Barrier()
        began = time.perf_counter()
        burn(iterations)
        found.append((time.perf_counter() - began) / iterations)
    slowest = comm.allreduce(min(found), op=MPI.MAX)
    if comm.rank == 0:
        print(json.dumps({"seconds": slowest}))


if __name__ == "__main__":
    main()

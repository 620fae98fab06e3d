"""Scenario 2 in plain numpy: both parts in one process, or on two ranks by hand. Argument: elements of each dataset.

With one rank the JSON has the seconds of each part; with two the seconds until the combined result is on rank 0.
"""

import json
import sys
import time

import numpy as np
from mpi4py import MPI
from touch import touch

GROUPS = 1000


def part(seed, num_elements):
    """Give the partial result of one dataset: the same numbers and the same operation as in the example."""
    numbers = np.random.Generator(np.random.PCG64(seed)).random(num_elements)
    return np.sum((numbers >= 0.5).reshape(GROUPS, -1), axis=1)


def alone(num_elements):
    """Do one part after the other."""
    seconds, parts = [], []
    touch()
    for seed in (1, 2):
        began = time.perf_counter()
        parts.append(part(seed, num_elements))
        seconds.append(time.perf_counter() - began)
    return {"seconds": seconds, "checksum": checksum(parts[0] + parts[1])}


def together(comm, num_elements):
    """Do one part on each rank; the partial result of rank 1 goes to rank 0."""
    touch()
    comm.Barrier()
    began = time.perf_counter()
    mine = part(1 + comm.rank, num_elements)
    if comm.rank == 1:
        comm.Send(mine, 0)
        return None
    other = np.empty(GROUPS, np.int64)
    comm.Recv(other, 1)
    result = mine + other
    return {"seconds": time.perf_counter() - began, "checksum": checksum(result)}


def checksum(result):
    """Give a number that depends on every count and its place."""
    return int(np.dot(result, np.arange(1, GROUPS + 1)))


def main():
    """Measure and print."""
    comm = MPI.COMM_WORLD
    part(0, 10 * GROUPS)        # numpy loads its generators when they are first used
    found = alone(int(sys.argv[1])) if comm.size == 1 else together(comm, int(sys.argv[1]))
    if found:
        print(json.dumps(found))


if __name__ == "__main__":
    main()

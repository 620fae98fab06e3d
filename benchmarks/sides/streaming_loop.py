"""The streaming benchmark by hand: each rank reads its share of the blocks with h5py and computes the same; one reduction.

Arguments: file, number of blocks, ``once`` or ``twice``, and a folder for what the second way keeps on the disk.
"""

import functools
import json
import os
import sys
import time

import h5py
import numpy as np
from mpi4py import MPI


def blocks(array, number, comm):
    """Give this rank's blocks."""
    rows = len(array) // number
    for block in range(comm.rank * number // comm.size, (comm.rank + 1) * number // comm.size):
        yield array[block * rows:(block + 1) * rows]


def once(array, number, comm):
    """Mean, variance, histogram and RMSF of one reading."""
    rows, whole, counts = (0, 0.0, 0.0), (0, 0.0, 0.0), 0
    for block in blocks(array, number, comm):
        rows = merged(rows, (len(block), block.mean(axis=0), block.var(axis=0)))
        whole = merged(whole, (block.size, block.mean(), block.var()))
        counts = counts + np.histogram(block, 100, (0, 1))[0]
    parts = comm.allgather((rows, whole))
    rows, whole = (functools.reduce(merged, column) for column in zip(*parts, strict=True))
    return rows[1], whole[2], comm.allreduce(counts), np.sqrt(rows[2])


def merged(one, other):
    """Join number, mean and variance of two samples.

    Source: Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances".
    """
    num, apart = one[0] + other[0], other[1] - one[1]
    share = other[0] / num
    return num, one[1] + apart * share, one[2] * (1 - share) + other[2] * share + np.square(apart) * share * (1 - share)


def twice(array, number, comm, folder):
    """The spread of what an elementwise function gives; its result is kept on the disk between the two times."""
    kept, total, num = os.path.join(folder, f"kept-{comm.rank}"), 0.0, 0
    with open(kept, "wb", buffering=0) as opened:
        for block in blocks(array, number, comm):
            bent = np.sqrt(block + 1)
            total, num = total + bent.sum(), num + bent.size
            opened.write(bent)
            shape = bent.shape
    mean = comm.allreduce(total) / comm.allreduce(num)
    squares, bent = 0.0, np.empty(shape)
    with open(kept, "rb", buffering=0) as opened:
        while opened.readinto(bent):
            squares += np.square(bent - mean).sum()
    os.unlink(kept)
    return np.sqrt(comm.allreduce(squares) / comm.allreduce(num))


def main():
    """Print the seconds of one run."""
    comm, number = MPI.COMM_WORLD, int(sys.argv[2])
    comm.Barrier()
    began = time.perf_counter()
    with h5py.File(sys.argv[1]) as opened:
        once(opened["x"], number, comm) if sys.argv[3] == "once" else twice(opened["x"], number, comm, sys.argv[4])
    comm.Barrier()
    if comm.rank == 0:
        print(json.dumps({"seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main()

"""A grid by hand with mpi4py: each rank owns columns; blocks go to the ranks that need them, one message each."""

import json
import sys
import time

import numpy as np
from grid import kernel, needed
from mpi4py import MPI


def main():
    """Print the seconds of one run; arguments: pattern, width, steps, iterations."""
    comm, pattern = MPI.COMM_WORLD, sys.argv[1]
    width, steps, iterations = map(int, sys.argv[2:])
    rows = [row(comm, pattern, step, width) for step in range(steps)]
    comm.Barrier()
    began = time.perf_counter()
    last = run(comm, rows, iterations)
    comm.Barrier()
    seconds = time.perf_counter() - began
    assert all(list(block) == [steps - 1, column] for column, block in last.items())
    if comm.rank == 0:
        print(json.dumps({"seconds": seconds}))


def row(comm, pattern, step, width):
    """Give what this rank does in one row: (columns with what they need, columns to receive, (column, rank) to send before)."""
    owner = [column * comm.size // width for column in range(width)]
    wants = {column: needed(pattern, step, column, width) for column in range(width)}
    own = [(column, wants[column]) for column in range(width) if owner[column] == comm.rank]
    receive = sorted({(near, owner[near]) for _, near_ones in own for near in near_ones if owner[near] != comm.rank})
    send = sorted({(near, owner[column]) for column, near_ones in wants.items() for near in near_ones
                   if owner[near] == comm.rank != owner[column]})
    return own, receive, send


def run(comm, rows, iterations):
    """Compute all rows and give this rank's part of the last."""
    blocks = {}
    for step, (own, receive, send) in enumerate(rows):
        rooms = {column: np.empty(2, np.int64) for column, _ in receive}
        requests = [comm.Irecv(rooms[column], rank, column) for column, rank in receive]
        requests += [comm.Isend(blocks[column], rank, column) for column, rank in send]
        MPI.Request.Waitall(requests)
        blocks |= rooms
        blocks = {column: kernel(iterations, step, column, [blocks[near] for near in near_ones]) for column, near_ones in own}
    return blocks


if __name__ == "__main__":
    main()

"""No-op tasks by hand: ``loop`` runs each rank's share; ``messages`` sends the number of every task to the other rank first."""

import json
import sys
import time

import numpy as np
from mpi4py import MPI


def noop(i):
    """Do nothing."""
    return i


def loop(comm, num_tasks):
    """Run the tasks of this rank; at the end all know that all are done."""
    results = [noop(i) for i in range(comm.rank, num_tasks, comm.size)]
    comm.allreduce(len(results))
    return results


def messages(comm, num_tasks):
    """Send the number of each task to the next rank in a message of its own, and run what the rank before sends."""
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    number, room = np.empty(1, np.int64), np.empty(1, np.int64)
    results = []
    for turn in range(-(-num_tasks // comm.size)):
        receiving = comm.Irecv(room, left)
        number[0] = turn * comm.size + comm.rank
        sending = comm.Isend(number, right)
        receiving.Wait()
        results.append(noop(int(room[0])))
        sending.Wait()
    comm.allreduce(len(results))
    return results


def main():
    """Print the seconds of one run, after one to warm up."""
    comm, run, num_tasks = MPI.COMM_WORLD, {"loop": loop, "messages": messages}[sys.argv[1]], int(sys.argv[2])
    run(comm, comm.size * 10)
    comm.Barrier()
    began = time.perf_counter()
    run(comm, num_tasks)
    seconds = time.perf_counter() - began
    if comm.rank == 0:
        print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()

"""No-op tasks with mpi4py.futures; to be run by ``python -m mpi4py.futures``."""

import json
import sys
import time

from mpi4py.futures import MPIPoolExecutor


def noop(i):
    """Do nothing."""
    return i


def main():
    """Print the seconds from the first submission to the last result, after some tasks to warm up."""
    num_tasks = int(sys.argv[1])
    with MPIPoolExecutor() as executor:
        executor.bootup(wait=True)
        list(executor.map(noop, range(100)))
        began = time.perf_counter()
        results = list(executor.map(noop, range(num_tasks), chunksize=1))
        seconds = time.perf_counter() - began
    assert results == list(range(num_tasks))
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()

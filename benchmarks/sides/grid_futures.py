"""A grid with mpi4py.futures, whose tasks cannot wait for tasks: the client collects each row before it submits the next."""

import json
import sys
import time

from grid import kernel, needed
from mpi4py.futures import MPIPoolExecutor


def main():
    """Print the seconds of one run; arguments: pattern, width, steps, iterations."""
    pattern = sys.argv[1]
    width, steps, iterations = map(int, sys.argv[2:])
    columns = range(width)
    with MPIPoolExecutor() as executor:
        executor.bootup(wait=True)
        blocks = list(executor.map(kernel, [0] * width, [0] * width, columns, [[]] * width))
        began = time.perf_counter()
        for step in range(steps):
            inputs = [[blocks[near] for near in needed(pattern, step, column, width)] for column in columns]
            blocks = list(executor.map(kernel, [iterations] * width, [step] * width, columns, inputs, chunksize=1))
        seconds = time.perf_counter() - began
    assert [list(block) for block in blocks] == [[steps - 1, column] for column in columns]
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()

"""A grid with Dask distributed: the whole graph is handed over at once."""

import json
import math
import sys
import time

import dask
from distributed import Client, LocalCluster
from grid import kernel, needed


def main():
    """Print the seconds from submission to the last result; arguments: pattern, width, steps, iterations, number of workers."""
    pattern = sys.argv[1]
    width, steps, iterations, num_workers = map(int, sys.argv[2:])
    dask.config.set({"distributed.scheduler.worker-saturation": math.inf})
    with LocalCluster(n_workers=num_workers, threads_per_worker=1, processes=True, dashboard_address=None) as cluster, \
            Client(cluster) as client:
        client.gather(client.map(kernel, [0] * width, [0] * width, range(width), [[]] * width, pure=False))
        last = graph(pattern, width, steps, iterations)
        began = time.perf_counter()
        blocks = client.gather(client.compute(last, optimize_graph=False))
        seconds = time.perf_counter() - began
    assert [list(block) for block in blocks[-width:]] == [[steps - 1, column] for column in range(width)]
    print(json.dumps({"seconds": seconds}))


def graph(pattern, width, steps, iterations):
    """Give the tasks that nobody needs; the others hang on them."""
    point, row, rows = dask.delayed(kernel, pure=False), [], []
    for step in range(steps):
        row = [point(iterations, step, column, [row[near] for near in needed(pattern, step, column, width)])
               for column in range(width)]
        rows += row
    return rows if pattern == "trivial" else row


if __name__ == "__main__":
    main()

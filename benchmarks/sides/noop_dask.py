"""No-op tasks with Dask distributed: arguments are the number of tasks, of workers, and worker-saturation (or ``default``)."""

import json
import sys
import time

import dask
from distributed import Client, LocalCluster


def noop(i):
    """Do nothing."""
    return i


def main():
    """Print the seconds from the first submission to the last result, after some tasks to warm up."""
    num_tasks, num_workers, saturation = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    if saturation != "default":
        dask.config.set({"distributed.scheduler.worker-saturation": float(saturation)})
    with LocalCluster(n_workers=num_workers, threads_per_worker=1, processes=True, dashboard_address=None) as cluster, \
            Client(cluster) as client:
        client.gather(client.map(noop, range(100), pure=False))
        began = time.perf_counter()
        results = client.gather(client.map(noop, range(num_tasks), pure=False))
        seconds = time.perf_counter() - began
    assert results == list(range(num_tasks))
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()

"""Measuring what ranks do together, and waiting without keeping a core busy that others and the network need."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from link import counters
from mpi4py import MPI

NAP = 1e-4          # seconds


def polite(done: Callable[[], Any]) -> Any:
    """Ask until ``done`` gives something."""
    while not (found := done()):
        time.sleep(NAP)
    return found


def wait(*requests: MPI.Request) -> None:
    """Wait for requests."""
    for request in requests:
        polite(request.Test)


def measured(comm: MPI.Comm, work: Callable[[], int]) -> dict[str, Any] | None:
    """Do ``work`` on all ranks at once and give, on rank 0, what it took. **Collective**.

    Args:
        comm: The ranks, one on each host.
        work: Gives the number of messages with data that this rank sent.

    Returns:
        Seconds until the last rank was done; what the link of each rank has carried; messages with data.
    """
    wait(comm.Ibarrier())
    before, began = counters(), time.perf_counter()
    messages = np.array([work()])
    wait(comm.Ibarrier())
    seconds, carried = time.perf_counter() - began, counters() - before
    everyone, sent = np.empty((comm.size, 4), np.int64), np.empty(comm.size, np.int64)
    comm.Allgather(carried, everyone)
    comm.Allgather(messages, sent)
    if comm.rank:
        return None
    return {"seconds": seconds, "links": {f"h{rank + 1}": row for rank, row in enumerate(everyone.tolist())},
            "messages": int(sent.sum())}

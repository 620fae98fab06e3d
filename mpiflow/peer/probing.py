"""What an MPI is and does here, found out by ranks that were started for it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import mpi4py
import numpy as np
from mpi4py import MPI

from mpiflow.peer.epochs import Epochs, exchange
from mpiflow.peer.measure import measure
from mpiflow.peer.survive import duplicate, survivable

_WINDOW = 64            # small messages that are under way at a time
_LEVELS = {MPI.THREAD_SINGLE: "single", MPI.THREAD_FUNNELED: "funneled", MPI.THREAD_SERIALIZED: "serialized",
           MPI.THREAD_MULTIPLE: "multiple"}


def probe(world: MPI.Comm) -> dict[str, Any]:
    """Say what this MPI is, and measure its links. **Collective**.

    Returns:
        ``latency`` [s] and ``bandwidth`` [bytes/s] are those within and between nodes, 0 where there is no such link here, or
        where another rank has measured it; the rest is the same on all ranks.
    """
    comm = duplicate(world)
    hosts = tuple(part.decode() for part in exchange(Epochs(comm), os.uname().nodename.encode()))
    links = measure(comm, hosts) if comm.size > 1 else None
    return {"size": comm.size, "hosts": list(hosts), "library": _library(),
            "standard": ".".join(map(str, MPI.Get_version())), "mpi4py": mpi4py.__version__,
            "threads": _LEVELS[MPI.Query_thread()], "ulfm": hasattr(MPI.Comm, "Shrink") and _shrinks(comm),
            "survives": survivable(comm), "latency": list(links.latency) if links else [],
            "bandwidth": list(links.bandwidth) if links else []}


def raw_rates(world: MPI.Comm, num: int, nbytes: int) -> dict[str, float]:
    """Measure what plain messages reach from the first rank to the second. **Collective** over two ranks.

    Args:
        world: Two ranks.
        num: Small messages that are sent, some of them at a time.
        nbytes: Size of the large one [bytes].

    Returns:
        ``messages``: small messages a second; ``bandwidth`` of the large one, the best of three [bytes/s]; as this rank sees it.
    """
    comm = duplicate(world)
    small = [np.zeros(8, np.uint8) for _ in range(_WINDOW)]
    large, post = np.zeros(nbytes, np.uint8), (comm.Isend, comm.Irecv)[comm.rank]
    seconds = [_timed(comm, post, [large]) for _ in range(3)]
    began = time.perf_counter()
    for _ in range(num // _WINDOW):
        _timed(comm, post, small)
    return {"messages": num // _WINDOW * _WINDOW / (time.perf_counter() - began), "bandwidth": nbytes / min(seconds)}


def _library() -> str:
    """Name and version of the MPI: what stands in the first line, up to a comma."""
    name, _, version = MPI.Get_library_version().split("\n")[0].split(",")[0].strip(" \0").partition(":")
    return " ".join(f"{name} {version}".split())


def _timed(comm: MPI.Comm, post: Callable[..., MPI.Request], parts: list[np.ndarray]) -> float:
    """Seconds until all ``parts`` have gone to the other rank, or come from it."""
    began = time.perf_counter()
    requests = [post(part, 1 - comm.rank, 0) for part in parts]
    while not all([request.Test() for request in requests]):
        os.sched_yield()
    return time.perf_counter() - began


def _shrinks(comm: MPI.Comm) -> bool:
    """Whether ranks could outlive others; MPICH has the functions, but its launcher ends all when one has died."""
    if not MPI.Get_library_version().startswith("Open MPI"):
        return False
    try:
        comm.Get_failed().Free()
    except (MPI.Exception, NotImplementedError):
        return False
    return True

"""What an MPI is and does here, found out by ranks that were started for it."""

from __future__ import annotations

import os
from typing import Any

import mpi4py
from mpi4py import MPI

from mpiflow.peer.epochs import Epochs, exchange
from mpiflow.peer.measure import measure
from mpiflow.peer.survive import duplicate, survivable

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
    return {"size": comm.size, "hosts": list(hosts), "library": MPI.Get_library_version().split("\n")[0].strip(" \0"),
            "standard": ".".join(map(str, MPI.Get_version())), "mpi4py": mpi4py.__version__,
            "threads": _LEVELS[MPI.Query_thread()], "ulfm": hasattr(MPI.Comm, "Shrink") and _shrinks(comm),
            "survives": survivable(comm), "latency": list(links.latency) if links else [],
            "bandwidth": list(links.bandwidth) if links else []}


def _shrinks(comm: MPI.Comm) -> bool:
    """Whether ranks could outlive others; MPICH has the functions, but its launcher ends all when one has died."""
    if not MPI.Get_library_version().startswith("Open MPI"):
        return False
    try:
        comm.Get_failed().Free()
    except (MPI.Exception, NotImplementedError):
        return False
    return True

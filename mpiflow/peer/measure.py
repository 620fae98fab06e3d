"""What links cost, measured once before the plan is made, by one pair of ranks for each kind of link.

The planner sees round figures only: noise in a measurement must not change a plan, and a plan made on a laptop should be
the plan of the run. So a link counts as the usual one unless it is far from it.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence

import numpy as np
from mpi4py import MPI

from mpiflow.catalog.entries import Links, decode_links, encode
from mpiflow.peer.epochs import Epochs, exchange
from mpiflow.planning.machine import BANDWIDTH, LATENCY, Machine, machine_of

STEP = 16.0             # links of one kind differ by less than the square root of this from the figure that stands for them
SOFTWARE = 9e-5         # seconds from "made here" to "usable there" that are ours, not the link's
_TAG = 0
_SMALL, _LARGE = 8, 8 << 20         # bytes
_TIMES = (20, 3)                    # round trips with small and with large messages; the best counts
_SPINS = 1000


def pairs(hosts: Sequence[str]) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Give the two ranks that measure within a node, and those that do between nodes; None where there are none. Pure."""
    nodes: dict[str, list[int]] = {}
    for rank, host in enumerate(hosts):
        nodes.setdefault(host, []).append(rank)
    within = next(((ranks[0], ranks[1]) for ranks in nodes.values() if len(ranks) > 1), None)
    firsts = [ranks[0] for ranks in nodes.values()]
    return within, (firsts[0], firsts[1]) if len(firsts) > 1 else None


def measure(comm: MPI.Comm, hosts: Sequence[str]) -> Links:
    """Give latencies [s] and bandwidths [bytes/s] within and between nodes; 0 for what others measure.

    **Collective** in effect: the ranks of a pair wait for each other.
    """
    latency, bandwidth = [0.0, 0.0], [0.0, 0.0]
    for kind, pair in enumerate(pairs(hosts)):
        if pair and comm.rank in pair:
            other = pair[1] if comm.rank == pair[0] else pair[0]
            small, large = (_round_trip(comm, other, size, times) for size, times in zip((_SMALL, _LARGE), _TIMES, strict=True))
            latency[kind], bandwidth[kind] = small / 2, _LARGE / max(large / 2 - small / 2, 1e-9)
    return Links(tuple(latency), tuple(bandwidth))


def _round_trip(comm: MPI.Comm, other: int, size: int, times: int) -> float:
    """Seconds for ``size`` bytes to the other rank and back, at best."""
    out, back = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    best = math.inf
    for _ in range(times):
        began = time.perf_counter()
        if comm.rank < other:
            _complete(comm.Isend(out, other, _TAG))
            _complete(comm.Irecv(back, other, _TAG))
        else:
            _complete(comm.Irecv(back, other, _TAG))
            _complete(comm.Isend(out, other, _TAG))
        best = min(best, time.perf_counter() - began)
    return best


def _complete(request: MPI.Request) -> None:
    spins = 0
    while not request.Test():
        spins += 1
        if spins < _SPINS:
            os.sched_yield()
        else:
            time.sleep(1e-4)


def common(measured: Sequence[Links]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Give the latency [s] and bandwidth [bytes/s] to plan with, within and between nodes, from what all ranks measured. Pure."""
    latency, bandwidth = [], []
    for kind in range(2):
        latencies = [links.latency[kind] for links in measured if links.latency[kind] > 0]
        bandwidths = [links.bandwidth[kind] for links in measured if links.bandwidth[kind] > 0]
        latency.append(_rounded(SOFTWARE + min(latencies), LATENCY[kind]) if latencies else LATENCY[kind])
        bandwidth.append(_rounded(max(bandwidths), BANDWIDTH[kind]) if bandwidths else BANDWIDTH[kind])
    return (latency[0], latency[1]), (bandwidth[0], bandwidth[1])


def _rounded(measured: float, usual: float) -> float:
    return usual * STEP ** round(math.log(measured / usual, STEP))


def measured(comm: MPI.Comm, epochs: Epochs, hosts: Sequence[str]) -> Machine:
    """Measure the links and tell the others; give the machine that all plan for. **Collective**."""
    if comm.size == 1:
        return machine_of(hosts)
    return machine_of(hosts, *common([decode_links(part) for part in exchange(epochs, encode(measure(comm, hosts)))]))

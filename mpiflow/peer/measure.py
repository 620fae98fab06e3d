"""What links cost, measured once before the plan is made, by one pair of ranks for each kind of link.

The planner sees round figures only: noise in a measurement must not change a plan, and a plan made on a laptop should be
the plan of the run. So a link counts as the usual one unless it is far from it.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from mpi4py import MPI

from mpiflow.catalog.entries import Links, decode_links, encode
from mpiflow.peer.epochs import Epochs, exchange
from mpiflow.planning.machine import BANDWIDTH, LATENCY, Machine, machine_of

STEP = 16.0             # links of one kind differ by less than the square root of this from the figure that stands for them
SOFTWARE = 9e-5         # seconds from "made here" to "usable there" that are ours, not the link's
_TAG = 0
_SMALL, _MOST = 8, 8 << 20          # bytes: for the latency; at most for the bandwidth
_LEAST = (_MOST, 8 << 10)           # and at first: within a node any link is fast, between nodes one has to see
_SMALL_TIMES, _TIMES = 20, 3        # round trips with each size; the best counts
_ENOUGH = 1e-2                      # seconds that a round trip takes when its size is large enough
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

    **Collective** in effect: the ranks of a pair wait for each other. The lower one measures, the other sends everything back.
    """
    latency, bandwidth = [0.0, 0.0], [0.0, 0.0]
    for kind, pair in enumerate(pairs(hosts)):
        if pair and comm.rank == pair[0]:
            latency[kind], bandwidth[kind] = link(partial(_round_trip, comm, pair[1], _LEAST[kind]), _LEAST[kind])
            _complete(comm.Isend(np.empty(0, np.uint8), pair[1], _TAG))
        elif pair and comm.rank == pair[1]:
            _echo(comm, pair[0], _LEAST[kind])
    return Links(tuple(latency), tuple(bandwidth))


def link(round_trip: Callable[[int], float], least: int) -> tuple[float, float]:
    """Give latency [s] and bandwidth [bytes/s] of a link, with messages no larger than it takes to see them.

    Args:
        round_trip: Sends so many bytes there and back, and gives the seconds that it took.
        least: Size to begin with [bytes].
    """
    small = min(round_trip(_SMALL) for _ in range(_SMALL_TIMES))
    size = least
    while True:
        tried = [round_trip(size)]
        # One that was fast is enough to know that larger ones are needed; one that was slow may be noise.
        while len(tried) < _TIMES and (size == _MOST or tried[-1] >= _ENOUGH):
            tried.append(round_trip(size))
        if size == _MOST or tried[-1] >= _ENOUGH:
            return small / 2, size / max(min(tried) / 2 - small / 2, 1e-9)
        size *= 2


def _round_trip(comm: MPI.Comm, other: int, least: int, size: int) -> float:
    """Seconds for ``size`` bytes to the other rank and back."""
    out, back, spins = np.zeros(size, np.uint8), np.zeros(size, np.uint8), _spins(size, least)
    began = time.perf_counter()
    _complete(comm.Isend(out, other, _TAG), spins)
    _complete(comm.Irecv(back, other, _TAG), spins)
    return time.perf_counter() - began


def _echo(comm: MPI.Comm, other: int, least: int) -> None:
    """Send back what comes, until nothing does."""
    room, status, size = np.zeros(_MOST, np.uint8), MPI.Status(), _SMALL
    while True:
        _complete(comm.Irecv(room, other, _TAG), _spins(size, least), status)
        size = status.Get_count(MPI.BYTE)
        if size == 0:
            return
        _complete(comm.Isend(room[:size], other, _TAG), _spins(size, least))


def _spins(size: int, least: int) -> int:
    """How often to look without sleeping: whoever sleeps between is not kept waiting by others who want the core."""
    return _SPINS if size == _SMALL or least == _MOST else 0


def _complete(request: MPI.Request, spins: int = 0, status: MPI.Status | None = None) -> None:
    looks = 0
    while not request.Test(status):
        looks += 1
        if looks < spins:
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

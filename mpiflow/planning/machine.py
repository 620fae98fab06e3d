"""The machine as the planner sees it: ranks on nodes, and what moving bytes between them costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LATENCY = (1e-4, 1.5e-4)
BANDWIDTH = (2e9, 1e9)


@dataclass(frozen=True, slots=True)
class Machine:
    """Ranks and links.

    Attributes:
        nodes: Node of each rank; ranks with the same number share a host.
        latency: Time from "block made here" to "usable there" [s] within and between nodes, our software included.
        bandwidth: Bandwidth [bytes/s] within and between nodes.
        memory: What blocks may take on each rank [bytes]; None if there is no limit.
    """

    nodes: tuple[int, ...]
    latency: tuple[float, float] = LATENCY
    bandwidth: tuple[float, float] = BANDWIDTH
    memory: tuple[int, ...] | None = None

    @property
    def size(self) -> int:
        """Number of ranks."""
        return len(self.nodes)

    def seconds(self, nbytes: int, src: int, dst: int) -> float:
        """Give the expected time [s] for ``nbytes`` [bytes] from rank ``src`` to rank ``dst``."""
        if src == dst:
            return 0.0
        apart = self.nodes[src] != self.nodes[dst]
        return self.latency[apart] + nbytes / self.bandwidth[apart]

    def mean_link(self) -> tuple[float, float]:
        """Give latency [s] and seconds per byte between two ranks chosen at random, on the slowest kind of link."""
        apart = len(set(self.nodes)) > 1
        share = 1 - 1 / self.size
        return share * self.latency[apart], share / self.bandwidth[apart]

    def mean_seconds(self, nbytes: int) -> float:
        """Give the time [s] for ``nbytes`` [bytes] between two ranks chosen at random."""
        latency, per_byte = self.mean_link()
        return latency + nbytes * per_byte


def machine_of(hosts: Sequence[str], latency: tuple[float, float] = LATENCY, bandwidth: tuple[float, float] = BANDWIDTH,
               memory: tuple[int, ...] | None = None) -> Machine:
    """Number the nodes in order of first appearance."""
    numbers: dict[str, int] = {}
    return Machine(tuple(numbers.setdefault(host, len(numbers)) for host in hosts), latency, bandwidth, memory)

"""The machine as the planner sees it: ranks on nodes, and what moving bytes between them costs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Machine:
    """Ranks and links.

    Attributes:
        nodes: Node of each rank; ranks with the same number share a host.
        latency: Time from "made here" to "seen there" [s] within and between nodes.
        bandwidth: Bandwidth [bytes/s] within and between nodes.
    """

    nodes: tuple[int, ...]
    latency: tuple[float, float] = (1e-4, 1.5e-4)
    bandwidth: tuple[float, float] = (2e9, 1e9)

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

    def mean_seconds(self, nbytes: int) -> float:
        """Give the time [s] for ``nbytes`` [bytes] between two ranks chosen at random."""
        apart = len(set(self.nodes)) > 1
        return (self.latency[apart] + nbytes / self.bandwidth[apart]) * (1 - 1 / self.size)


def machine_of(hosts: list[str]) -> Machine:
    """Number the nodes in order of first appearance."""
    numbers: dict[str, int] = {}
    return Machine(tuple(numbers.setdefault(host, len(numbers)) for host in hosts))

"""Replicas: which ranks hold blocks that are to outlive some of them, and how the blocks get there.

The placement does not depend on them: who reads a block gets it first, and those who have it pass it on to those who only
hold it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from mpiflow.planning.placement import SIMULATED, Placement, finished, moved
from mpiflow.planning.progress import NOBODY, Holders
from mpiflow.planning.routes import spread
from mpiflow.planning.tasks import Kind
from mpiflow.planning.timeline import in_order, memory_peaks, run
from mpiflow.planning.workload import Workload


def replicate(work: Workload, placement: Placement) -> tuple[Placement, Holders]:
    """Add what replicas need to a placement. Pure.

    Returns:
        The placement with routes to those who hold blocks; and for each replicated block the ranks that hold it, ascending.
        Where memory is limited, a block for which there is no room has none.
    """
    if not work.graph.replicated or work.machine.size == 1:
        return placement, NOBODY
    order = in_order(placement.starts, work.estimates.seconds)
    chosen, routes = dict(work.holders), list(placement.routes)
    choice = _Choice(work, placement, order)
    for block, num in work.graph.replicated.items():
        if block in chosen:                     # it was sent by an earlier plan
            continue
        own, readers = placement.ranks[block], [rank for _, rank in routes[block]]
        chosen[block] = choice.holders(block, num, own, readers)
        extra = sorted(set(chosen[block]).difference([own, *readers], choice.sure(block)))
        routes[block] += spread([own, *readers], extra, work.machine.nodes) if extra else ()
    if len(work.open) > SIMULATED and work.machine.memory is None:
        return dataclasses.replace(placement, routes=tuple(routes), nbytes=moved(work, routes)), chosen
    done = finished(work, placement.ranks, order, routes, chosen)
    return (done, chosen) if done.fits else (placement, dict.fromkeys(chosen, ()) | dict(work.holders))


class _Choice:
    """Chooses holders one block after the other, on as many nodes as there are."""

    def __init__(self, work: Workload, placement: Placement, order: Sequence[int]) -> None:
        machine = work.machine
        self.tasks, self.nbytes, self.nodes = work.graph.tasks, work.estimates.nbytes, machine.nodes
        members: dict[int, list[int]] = {}
        self.place: list[int] = []              # of each rank among those of its node
        for rank, node in enumerate(self.nodes):
            self.place.append(len(members.setdefault(node, [])))
            members[node].append(rank)
        self.members = list(members.values())
        self.at = {node: at for at, node in enumerate(members)}
        self.room: list[int] | None = None      # what is left beside the most that each rank holds in any case
        if machine.memory is not None:
            peaks = memory_peaks(work, placement.ranks, run(work, placement.ranks, order, placement.routes), work.holders)
            self.room = [limit - peak for limit, peak in zip(machine.memory, peaks, strict=True)]

    def holders(self, block: int, num: int, own: int, readers: Sequence[int]) -> tuple[int, ...]:
        """Give the ranks that hold a block, ascending; none if it is given up, or if all can bring it in again.

        Args:
            block: Its number.
            num: How many shall hold it.
            own: The rank that makes it.
            readers: Other ranks that it goes to.
        """
        found = sorted(self.sure(block))
        if not found and self.tasks[block].kind is Kind.RESTORE:
            return ()
        taken, used = len(found), {self.nodes[rank] for rank in found}
        for apart, ranks in ((False, [own]), (True, readers), (True, self._elsewhere(own, used)), (False, readers),
                             (False, self._around(own))):
            for rank in ranks:
                if len(found) >= num:
                    break
                if rank not in found and not (apart and self.nodes[rank] in used) and self._fits(block, rank):
                    found.append(rank)
                    used.add(self.nodes[rank])
        if found == [own] and not taken:        # of no use to anybody
            return ()
        for rank in found[taken:] if self.room is not None else ():
            self.room[rank] -= self.nbytes[block]
        return tuple(sorted(found))

    def sure(self, block: int) -> tuple[int, ...]:
        """The ranks that hold a block in any case: those that can bring it in again, from memory or from the store."""
        task = self.tasks[block]
        return task.ranks or () if task.kind is Kind.RESTORE else ()

    def _fits(self, block: int, rank: int) -> bool:
        return self.room is None or self.nbytes[block] <= self.room[rank]

    def _elsewhere(self, own: int, used: set[int]) -> Iterator[int]:
        """Ranks of other nodes, from the next node on, until one of the node is used; first the one that has the same place."""
        at, num = self.at[self.nodes[own]], len(self.members)
        for step in range(1, num):
            members = self.members[(at + step) % num]
            for turn in range(len(members)):
                rank = members[(self.place[own] + turn) % len(members)]
                if self.nodes[rank] in used:
                    break
                yield rank

    def _around(self, own: int) -> Iterator[int]:
        """All other ranks, from the next one on."""
        size = len(self.nodes)
        return ((own + step) % size for step in range(1, size))

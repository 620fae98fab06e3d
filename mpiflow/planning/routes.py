"""Routes: along which links each block reaches the ranks that need it."""

from __future__ import annotations

from collections.abc import Sequence

from mpiflow.planning.progress import UNCLAIMED
from mpiflow.planning.workload import Workload

Edge = tuple[int, int]
Route = tuple[Edge, ...]
FEW = 2         # up to so many destinations the producer serves alone


def make_routes(work: Workload, ranks: Sequence[int]) -> tuple[Route, ...]:
    """Give the (source, destination) edges of each block, for tasks that run on ``ranks``. Pure.

    Only ranks with open tasks get blocks; a rank gets a block once and passes it on to its children, in this order.
    """
    consumers, claimed, nodes = work.graph.consumers, work.claimed, work.machine.nodes
    return tuple([
        _route(work, block, ranks, nodes) if consumers[block] else ()
        for block in range(len(claimed))])


def _route(work: Workload, block: int, ranks: Sequence[int], nodes: Sequence[int]) -> Route:
    claimed, following = work.claimed, work.graph.consumers[block]
    if claimed[block] == UNCLAIMED:
        own = ranks[block]
        if len(following) == 1:
            rank = ranks[following[0]]
            return () if rank == own or claimed[following[0]] != UNCLAIMED else ((own, rank),)
        origins: tuple[int, ...] = (own,)
    else:
        origins = work.origins(block)
    destinations = {ranks[number] for number in following if claimed[number] == UNCLAIMED}.difference(origins)
    return spread(origins, sorted(destinations), nodes) if destinations else ()


def spread(origins: Sequence[int], destinations: Sequence[int], nodes: Sequence[int]) -> Route:
    """Give a forest from ``origins`` to all ``destinations``: across the network once for each node, then within.

    Args:
        origins: Ranks that have the block, at least one.
        destinations: Other ranks, each once.
        nodes: Node of each rank.
    """
    if len(origins) == 1 and len(destinations) <= FEW:
        return tuple((origins[0], rank) for rank in destinations)
    within: dict[int, list[int]] = {}
    for rank in sorted(origins):
        within.setdefault(nodes[rank], []).append(rank)
    arriving = [rank for rank in destinations if nodes[rank] not in within]
    leaders = list({nodes[rank]: rank for rank in reversed(arriving)}.values())[::-1]
    edges = _binomial(list(origins), sorted(leaders))
    for rank in leaders:
        within[nodes[rank]] = [rank]
    others: dict[int, list[int]] = {}
    for rank in destinations:
        if rank not in within[nodes[rank]]:
            others.setdefault(nodes[rank], []).append(rank)
    for node, members in others.items():
        edges += _binomial(within[node], members)
    return tuple(edges)


def _binomial(origins: Sequence[int], destinations: Sequence[int]) -> list[Edge]:
    """In every round each rank that has the block sends it to one that has not."""
    members, edges = [*origins, *destinations], []
    size = len(origins)
    for place in range(size, len(members)):
        if place == 2 * size:
            size = place
        edges.append((members[place - size], members[place]))
    return edges

"""The plan: placement and transfers, with a digest by which ranks check that they agree."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from mpiflow.planning.machine import Machine
from mpiflow.planning.placement import place
from mpiflow.planning.tasks import TaskGraph


@dataclass(frozen=True)
class Plan:
    """What runs where, and what moves.

    Attributes:
        graph: The tasks.
        ranks: Rank of each task.
        order: Tasks in order of expected start.
        destinations: Ranks, other than its own, that each task's block is sent to, ascending: each once.
        seconds: Expected makespan [s].
        nbytes: Expected bytes moved between ranks.
        digest: Hash of all this.
    """

    graph: TaskGraph
    ranks: tuple[int, ...]
    order: tuple[int, ...]
    destinations: tuple[tuple[int, ...], ...] = field(repr=False)
    seconds: float
    nbytes: int
    digest: str


def make_plan(graph: TaskGraph, machine: Machine) -> Plan:
    """Plan ``graph`` on ``machine``. Pure: equal arguments give equal plans, on every rank."""
    placement = place(graph, machine)
    ranks = placement.ranks
    order = tuple(sorted(range(len(ranks)), key=lambda number: (placement.starts[number], number)))
    destinations = tuple(
        tuple(sorted({ranks[consumer] for consumer in following} - {ranks[number]}))
        for number, following in enumerate(graph.consumers))
    digest = _digest(graph, machine, ranks, order)
    return Plan(graph, ranks, order, destinations, placement.seconds, placement.nbytes, digest)


def _digest(graph: TaskGraph, machine: Machine, ranks: tuple[int, ...], order: tuple[int, ...]) -> str:
    text = hashlib.blake2b(repr((machine, sorted(graph.datasets.items()))).encode(), digest_size=16)
    for number in order:
        task = graph.tasks[number]
        text.update(f"{number} {task.id} {task.nbytes} {task.seconds} {task.ranks} {ranks[number]}\n".encode())
    return text.hexdigest()

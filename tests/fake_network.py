"""Peers on a network that promises no more than MPI does, in one thread, with chance that is seeded.

Messages between two ranks keep their order; nothing else does. A collective completes on each rank at a time of its
own, after all have posted. A task ends whenever chance says so, and an interrupted one may still finish or fail. A part of a
parallel operation waits inside it for the others: it ends only when all of them have started, and none has failed.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from mpiflow.catalog.catalog import Catalog
from mpiflow.catalog.entries import Delta, decode_delta, encode
from mpiflow.operations.skipping import Skipped
from mpiflow.peer.copies import Copies
from mpiflow.peer.drift import Drift
from mpiflow.peer.state import PeerState
from mpiflow.planning.machine import Machine
from mpiflow.planning.plan import Plan


class Drifting(Drift):
    """Finds a new plan worth its cost whenever the catalog's digest says so: at chance, and alike on all ranks."""

    def noticed(self, plan: Plan, news: Any) -> bool:
        super().noticed(plan, news)
        return self._learning is not None and self._catalog.digest % 3 == 0


@dataclass
class FakeNetwork:
    """All ranks of one run.

    ``compute(task, values)`` gives the value of a task or raises; ``values`` holds the blocks it needs, and a block that
    is not where it must be makes the run fail.
    """

    plan: Plan
    machine: Machine
    seed: int
    compute: Callable[[int, dict[int, Any]], Any]
    keep_going: bool = False
    drift: bool = False         # ranks often drift from the plan
    stops: int = 0              # how often somebody asks a rank to stop before the end
    restored: frozenset[int] = frozenset()      # tasks whose failure is nobody's fault
    spare: int = 0              # memory for copies of popular blocks on each rank
    watch: Callable[[FakeNetwork], None] | None = None      # sees every step

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.size = self.machine.size
        self.peers = [self._peer(rank) for rank in range(self.size)]
        self.values: list[dict[int, Any]] = [{} for _ in range(self.size)]
        self.copies = [Copies(rank, self.plan.graph, peer.catalog, self.spare) for rank, peer in enumerate(self.peers)]
        self.came: list[set[int]] = [set() for _ in range(self.size)]      # blocks that have ever been on each rank
        self.produced: dict[int, Any] = {}
        self.ran: list[int] = []
        self.running: dict[int, int] = {}
        self.begun: set[int] = set()        # tasks that have ever been started,
        self.broken: set[int] = set()       # and those that have not come to their end
        self.interrupted: set[int] = set()
        self.num_interrupts = 0
        self.links: dict[tuple[int, int], deque[int]] = {}
        self.unsent: list[tuple[int, int, int]] = []
        self.transfers: list[tuple[int, int, int]] = []
        self.posted: list[deque[bytes]] = [deque() for _ in range(self.size)]
        self.epochs_done = [0] * self.size
        self.history: list[list[Delta]] = []
        self.digests: dict[int, set[int]] = {}
        self.asked: set[int] = set()        # ranks that were asked to stop
        self.stop_at = sorted(self.chance.choice([0, 3, 30, 100, 300]) for _ in range(self.stops))
        self.speed = [self.chance.choice([1, 1, 5, 25]) for _ in range(self.size)]    # some ranks are slow

    def _peer(self, rank: int) -> PeerState:
        catalog = Catalog(len(self.plan.graph.tasks), self.size, self.plan.digest)
        catalog.few *= self.seed % 2        # else all records are merged at once, as where there are many
        drift = (Drifting if self.drift else Drift)(catalog, self.machine) if self.size > 1 else None
        return PeerState(rank, self.plan, catalog, drift, keep_going=self.keep_going, restored=self.restored)

    def run(self, max_steps: int = 200_000) -> None:
        """Let chance choose what happens next until every rank has ended."""
        for rank, peer in enumerate(self.peers):
            peer.begin(FakeShell(self, rank))
        for step in range(max_steps):
            if all(peer.ended for peer in self.peers):
                return
            while self.stop_at and step >= self.stop_at[0]:
                self.stop_at.pop(0)
                self._stop(self.chance.randrange(self.size))
            choices = self._choices()
            weights = [1 / self.speed[rank] for rank, _ in choices]
            rank, happen = self.chance.choices(choices, weights)[0]
            happen()
            if self.watch:
                self.watch(self)
        raise AssertionError(f"seed {self.seed}: no end after {max_steps} steps; {[peer.waiting_for for peer in self.peers]}")

    def _choices(self) -> list[tuple[int, Callable[[], None]]]:
        found: list[tuple[int, Callable[[], None]]] = []
        for rank in self.running:
            if rank in self.interrupted or self._unhindered(self.running[rank]):
                found.append((rank, lambda rank=rank: self._end_task(rank)))
        for link, queue in self.links.items():
            if queue:
                found.append((link[1], lambda link=link: self._deliver(*link)))
        for item in self.unsent:
            found.append((item[1], lambda item=item: self._complete_send(item)))
        for rank, peer in enumerate(self.peers):
            if not peer.ended:
                if self.epochs_done[rank] < len(self.history):
                    found.append((rank, lambda rank=rank: self._complete_epoch(rank)))
                elif not self.posted[rank]:
                    found.append((rank, lambda peer=peer: peer.epoch_due()))
        return found

    def _unhindered(self, task: int) -> bool:
        """Whether a task can end, as far as the others of its team are concerned."""
        team = self.plan.graph.teams.get(task, ())
        return self.begun.issuperset(team) and self.broken.isdisjoint(team)

    def _stop(self, rank: int) -> None:
        if not self.peers[rank].ended:
            self.asked.add(rank)
        self.peers[rank].stop()

    def needs(self, task: int) -> tuple[int, ...]:
        """The tasks whose blocks ``task`` reads."""
        return self.plan.graph.tasks[task].needs

    def _end_task(self, rank: int) -> None:
        peer, task = self.peers[rank], self.running.pop(rank)
        if rank in self.interrupted:
            self.interrupted.discard(rank)
            if self.chance.random() < 0.7 or not self._unhindered(task):
                self.broken.add(task)
                peer.stopped(task)
                return
        self.ran.append(task)
        try:
            value = self.compute(task, {need: self.values[rank][need] for need in self.needs(task) if need not in peer.gone})
        except Skipped as reason:
            peer.skipped(task, 0.0, 0.0, str(reason))
            return
        except ValueError as error:
            self.broken.add(task)
            peer.raised(task, 0.0, 0.0, str(error))
            return
        self.values[rank][task] = self.produced[task] = value
        self.came[rank].add(task)
        peer.finished(task, 0.0, self.chance.choice([1e-4, 1e-2, 1.0]) if self.drift else 0.0, 8)

    def _deliver(self, source: int, rank: int) -> None:
        task = self.links[source, rank].popleft()
        self.values[rank][task] = self.produced[task]
        self.came[rank].add(task)
        self.peers[rank].arrived(task)

    def _complete_send(self, item: tuple[int, int, int]) -> None:
        task, source, destination = item
        self.unsent.remove(item)
        self.peers[source].sent(task, destination, 8)

    def _complete_epoch(self, rank: int) -> None:
        deltas = self.history[self.epochs_done[rank]]
        self.epochs_done[rank] += 1
        self.peers[rank].epoch_done(deltas)
        self.copies[rank].heard(deltas)
        catalog = self.peers[rank].catalog
        self.digests.setdefault(catalog.version, set()).add(catalog.digest)
        assert len(self.digests[catalog.version]) == 1, "ranks of one version differ"

    def held(self, rank: int) -> dict[int, Any]:
        """What a rank would tell others of if some had died."""
        copies = self.copies[rank]
        return copies.replicas | copies.popular | self.values[rank]

    def check_end(self, rank: int) -> None:
        assert not self.running and not self.unsent and not any(self.links.values()), "something is under way at the end"


class FakeShell:
    """Does what the state machine of one rank decides, as chance has it; and checks that it may be done."""

    def __init__(self, network: FakeNetwork, rank: int) -> None:
        self._network = network
        self._rank = rank

    @property
    def crowded(self) -> bool:
        """Whether memory is short, as chance has it."""
        return self._network.chance.random() < 0.3

    def start(self, task: int) -> None:
        network, rank = self._network, self._rank
        assert rank not in network.running
        assert rank not in network.asked and not network.peers[rank].stopped_by, "nothing starts after a stop"
        network.running[rank] = task
        network.begun.add(task)

    def send(self, block: int, rank: int) -> int | None:
        network, item = self._network, (block, self._rank, rank)
        assert block in network.values[self._rank], "only what is held can be sent"
        network.transfers.append(item)
        network.links.setdefault((self._rank, rank), deque()).append(block)
        if network.chance.random() < 0.5:
            return 8
        network.unsent.append(item)
        return None

    def free(self, block: int) -> None:
        network, rank = self._network, self._rank
        assert (block, rank) not in {(task, source) for task, source, _ in network.unsent}, "a pending send pins its block"
        assert network.running.get(rank) is None or block not in network.needs(network.running[rank])
        network.copies[rank].take(block, np.int64(network.values[rank].pop(block)), network.peers[rank].plan)

    def exchange(self, delta: Delta) -> None:
        network, rank = self._network, self._rank
        assert not network.posted[rank]
        if network.drift and rank in network.running:
            delta = msgspec.structs.replace(delta, elapsed=network.chance.random())
        network.posted[rank].append(encode(delta))
        if all(network.posted):
            network.history.append([decode_delta(queue.popleft()) for queue in network.posted])

    def interrupt(self, task: int) -> None:
        assert self._network.running[self._rank] == task
        self._network.interrupted.add(self._rank)
        self._network.num_interrupts += 1

    def end(self) -> None:
        self._network.check_end(self._rank)

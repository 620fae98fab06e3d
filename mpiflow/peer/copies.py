"""Copies that a rank keeps beyond their last use, so that less is made again when another rank dies; no MPI here.

The rest of the rank knows nothing of them: what it forgets comes here, and is looked at when those that are alive meet again.
There are two kinds. Replicas, which the user asks for, are kept until all that is made of them is kept here as well, as
replicas, and else to the end: so a holder that is alive has all that dead ones held, or what was made of it. Popular blocks,
which went from one rank to others and have several readers, are kept until all of these have run, as long as they fit into
the memory that is to spare.
"""

from __future__ import annotations

from collections.abc import Sequence

from mpiflow.catalog.catalog import Catalog
from mpiflow.catalog.entries import LAYOUT, Delta
from mpiflow.catalog.states import State
from mpiflow.operations.values import Value, nbytes
from mpiflow.planning.plan import Plan
from mpiflow.planning.tasks import TaskGraph

SHARE = 0.125           # of the memory that is available on a node is to spare for popular blocks


class Copies:
    """The copies on one rank. Local.

    Attributes:
        replicas: Blocks that the user wants to be held here.
        popular: Blocks that others may need again, oldest first.
        nbytes: What replicas take [bytes].
    """

    def __init__(self, rank: int, graph: TaskGraph, catalog: Catalog, spare: int) -> None:
        """Prepare.

        Args:
            rank: This rank.
            graph: All tasks.
            catalog: What has run so far.
            spare: Memory for popular blocks [bytes].
        """
        self._rank, self._tasks, self._spare = rank, catalog.tasks, spare
        self._needs, self._consumers = graph.needs, graph.consumers
        self.replicas: dict[int, Value] = {}
        self.popular: dict[int, Value] = {}
        self._came: dict[int, int] = {}         # replica, kept or not any more: blocks made of it that have not come here
        self._next: dict[int, int] = {}         # popular block: which of its readers has not run
        self.nbytes = 0
        self._taken = 0                         # memory of popular blocks [bytes]

    def take(self, block: int, value: Value, plan: Plan) -> None:
        """Keep a block that the rest of this rank forgets, if it is worth it.

        Args:
            block: Its number.
            value: Its value, which nobody changes any more.
            plan: The plan in force.
        """
        if self.holds(block, plan):
            self._hold(block, value)
        elif len(self._consumers[block]) > 1 and (plan.routes[block] or plan.ranks[block] != self._rank):
            self._keep(block, value)

    def holds(self, block: int, plan: Plan) -> bool:
        """Whether this rank is to hold a replica of a block."""
        return self._rank in plan.holders.get(block, ())

    def heard(self, deltas: Sequence[Delta]) -> None:
        """Forget popular blocks whose last reader has run, as all ranks know now."""
        if not self.popular:
            return
        over = [entry.task for delta in deltas for entry in delta.tasks if entry.state >= State.DONE]
        over += [task for delta in deltas for task, *_ in LAYOUT.iter_unpack(delta.done)]
        for task in over:
            for block in self._needs[task]:
                if block in self.popular:
                    self._advance(block)

    def clear(self) -> None:
        """Forget all."""
        self.replicas.clear()
        self.nbytes = 0
        for block in list(self.popular):
            self._drop(block)

    # Replicas

    def _hold(self, block: int, value: Value) -> None:
        if block in self._came:                 # a block may come twice
            return
        following = self._consumers[block]
        self._came[block] = missing = sum(number not in self._came for number in following)
        if missing or not following:
            self.replicas[block] = value
            self.nbytes += nbytes(value)
        for need in self._needs[block]:
            if need in self._came:
                self._came[need] -= 1
                if not self._came[need]:
                    self.nbytes -= nbytes(self.replicas.pop(need))

    # Popular blocks

    def _keep(self, block: int, value: Value) -> None:
        self._drop(block)
        size = nbytes(value)
        if size > self._spare:
            return
        while self._taken + size > self._spare:
            self._drop(next(iter(self.popular)))
        self.popular[block] = value
        self._next[block] = 0
        self._taken += size
        self._advance(block)

    def _advance(self, block: int) -> None:
        """Find a reader that has not run; without one the block goes."""
        readers, at = self._consumers[block], self._next[block]
        while at < len(readers) and self._tasks.state(readers[at]) >= State.DONE:
            at += 1
        self._next[block] = at
        if at == len(readers):
            self._drop(block)

    def _drop(self, block: int) -> None:
        if block in self.popular:
            self._taken -= nbytes(self.popular.pop(block))
            del self._next[block]

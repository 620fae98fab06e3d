"""Transfers that note when blocks leave and arrive, and how much memory the process has: for the report of a run.

Runs that nobody wants a report of pay nothing: they have plain transfers.
"""

from __future__ import annotations

import time
from time import perf_counter

from mpi4py import MPI

from mpiflow.catalog.entries import Noted
from mpiflow.operations.values import Value
from mpiflow.peer.telling import resident
from mpiflow.peer.transfers import Transfers

MOST = 100_000          # blocks that are noted on each rank
SAMPLES = 1_000         # of the memory; when there are more, every second one is dropped and half as many come from then on
_OFTEN = 0.02           # seconds between samples at first


class Timed(Transfers):
    """See the module."""

    def __init__(self, comm: MPI.Comm, probing: bool = False) -> None:
        """As for ``Transfers``."""
        super().__init__(comm, probing)
        self.begin()

    def begin(self) -> None:
        """From now on times count from now, and what was noted before is forgotten."""
        self._began_at, self._began = time.time(), perf_counter()
        self._next = self._began
        self._every = _OFTEN
        self._left: list[tuple[int, int, float]] = []
        self._came: list[tuple[int, float]] = []
        self._memory: list[tuple[float, int]] = []

    @property
    def noted(self) -> Noted:
        """What has been noted so far."""
        self._sample(perf_counter())
        since = self._since
        return Noted(self._began_at, tuple([(task, rank, since(at)) for task, rank, at in self._left]),
                     tuple([(task, since(at)) for task, at in self._came]), tuple(self._memory))

    def _start(self, task: int, rank: int, value: Value) -> int | None:
        if len(self._left) < MOST:
            self._left.append((task, rank, perf_counter()))
        return Transfers._start(self, task, rank, value)

    def receive(self, looks: int = 1) -> list[tuple[int, Value]]:
        """As for ``Transfers``."""
        arrived = Transfers.receive(self, looks)
        if arrived and len(self._came) < MOST:
            at = perf_counter()
            for task, _ in arrived:
                self._came.append((task, at))
        return arrived

    def trim(self, now: float) -> None:
        """As for ``Transfers``; called once in each epoch, so also while a long task runs."""
        super().trim(now)
        if now >= self._next:
            self._sample(now)

    def _sample(self, now: float) -> None:
        if len(self._memory) >= SAMPLES:
            del self._memory[1::2]
            self._every *= 2
        self._next = now + self._every
        self._memory.append((self._since(now), resident()))

    def _since(self, now: float) -> float:
        return round(now - self._began, 6)

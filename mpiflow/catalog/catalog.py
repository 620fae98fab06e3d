"""The replicated table of datasets and tasks: the same after the same epochs on every rank."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import chain

import msgspec

from mpiflow.catalog.entries import Delta, SourceEntry, TaskEntry, Traffic, encode
from mpiflow.catalog.states import State

_PLANNED, _DONE = State.PLANNED, State.DONE


class DatasetEntry(msgspec.Struct, frozen=True, gc=False):
    """One named dataset.

    Attributes:
        name: As the document calls it.
        id: Hash of its recipe.
        made_by: "dataset" for a source, "step" for what a step makes.
        tasks: The tasks that make its blocks, in order.
        unit: Unit of its elements, or empty.
        tags: Words chosen by the user.
    """

    name: str
    id: str
    made_by: str
    tasks: tuple[int, ...]
    unit: str = ""
    tags: tuple[str, ...] = ()


class Catalog:
    """One rank's replica.

    Merging is idempotent and independent of order, since an entry is replaced by a greater one only.

    Attributes:
        version: Number of completed epochs.
        digest: Hash of the plan and of all that was heard since, in order; equal on ranks of one version.
        tasks: Entry of each task.
        datasets: Entry of each named dataset.
        traffic: What each rank has sent and received.
        settled: Whether each rank has nothing left to do, as of its newest delta.
        elapsed: For how long each rank's running task has been running, likewise [s].
        memory: What each rank's process takes, likewise [bytes].
        num_open: Tasks that are not in a final state.
        failed: Tasks that failed, in ascending order.
        running: Tasks that are running.
    """

    def __init__(self, num_tasks: int, size: int, plan_digest: str, datasets: Iterable[DatasetEntry] = ()) -> None:
        self.version = 0
        self.digest = 0
        self.follow(plan_digest)
        self.tasks = [TaskEntry(task) for task in range(num_tasks)]
        self.datasets = {entry.name: entry for entry in datasets}
        self.traffic = [Traffic()] * size
        self.settled = [False] * size
        self.elapsed = [0.0] * size
        self.memory = [0] * size
        self.num_open = num_tasks
        self.failed: list[int] = []
        self.running: set[int] = set()

    def follow(self, plan_digest: str) -> None:
        """From now on every rank follows this plan; the digest says so."""
        self._mix(plan_digest.encode())

    def _mix(self, *parts: bytes) -> None:
        text = hashlib.blake2b(self.digest.to_bytes(8, "little"), digest_size=8)
        for part in parts:
            text.update(part)
        self.digest = int.from_bytes(text.digest(), "little")

    def epoch(self, deltas: Sequence[Delta]) -> list[TaskEntry]:
        """Complete an epoch: merge one delta of each rank.

        Returns:
            The entries that are news.
        """
        news, tasks, num = [], self.tasks, 0
        for entry in chain.from_iterable([delta.tasks for delta in deltas]):
            task = entry.task
            old = tasks[task]
            if old.state is _PLANNED and entry.state is _DONE and entry.attempt >= old.attempt:     # as most news are
                tasks[task] = entry
                num += 1
                news.append(entry)
            elif self.merge(entry):
                news.append(entry)
        self.num_open -= num
        for delta in deltas:
            self.settled[delta.rank] = delta.settled
            self.elapsed[delta.rank] = delta.elapsed
            self.memory[delta.rank] = delta.memory
            self.traffic[delta.rank] = max(self.traffic[delta.rank], delta.traffic, key=lambda t: t.progress)
        self.version += 1
        self._mix(*map(encode, deltas))
        return news

    def merge(self, entry: TaskEntry) -> bool:
        """Take ``entry`` if it is newer than what is known; say whether it was."""
        task = entry.task
        old = self.tasks[task]
        if entry <= old:
            return False
        if old.state is not entry.state:
            self._count(task, old.state, entry.state)
        self.tasks[task] = entry
        return True

    def _count(self, task: int, before: State, after: State) -> None:
        self.num_open += before.final - after.final
        if after is State.RUNNING:
            self.running.add(task)
        elif before is State.RUNNING:
            self.running.remove(task)
        if after is State.FAILED:
            self.failed = sorted({*self.failed, task})
        elif before is State.FAILED:
            self.failed.remove(task)

    @property
    def quiet(self) -> bool:
        """Whether every task is in a final state, every rank is settled and every block sent has been received."""
        return (self.num_open == 0 and all(self.settled)
                and sum(t.num_sent for t in self.traffic) == sum(t.received for t in self.traffic))

    def find(self, name: str | None = None, tag: str | None = None, made_by: str | None = None) -> list[DatasetEntry]:
        """Give the datasets with this name, tag and origin (None: any), in order of name."""
        return [
            entry for _, entry in sorted(self.datasets.items())
            if (name is None or entry.name == name) and (tag is None or tag in entry.tags)
            and (made_by is None or entry.made_by == made_by)
        ]

    def holders(self, dataset: str) -> tuple[int, ...]:
        """Give the rank that made each block of ``dataset``; -1 for one not made yet."""
        entries = (self.tasks[task] for task in self.datasets[dataset].tasks)
        return tuple(entry.rank if entry.state is State.DONE else -1 for entry in entries)


def merge_sources(entries: Iterable[SourceEntry]) -> tuple[SourceEntry, ...]:
    """Join what all ranks see: one entry for each distinct file of a dataset, with all its holders.

    Two files are one if dataset, path, size, time of modification and inode agree, as they do on a shared file
    system; node-local files of one path differ in some of them. Ordered by dataset, path, size and time.
    """
    holders: dict[SourceEntry, set[int]] = {}
    for entry in entries:
        holders.setdefault(msgspec.structs.replace(entry, holders=()), set()).update(entry.holders)
    return tuple(sorted(msgspec.structs.replace(e, holders=tuple(sorted(ranks))) for e, ranks in holders.items()))

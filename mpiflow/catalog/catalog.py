"""The replicated table of datasets and tasks: the same after the same epochs on every rank."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import chain, compress

import msgspec
import numpy as np

from mpiflow.catalog.columns import Entries
from mpiflow.catalog.entries import NONE_DONE, RECORD, Delta, News, SourceEntry, TaskEntry, Traffic, encode
from mpiflow.catalog.states import State

_DONE = State.DONE


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
        few: So many records of an epoch are merged one by one: to merge any number at once takes as long.
    """

    few = 100

    def __init__(self, num_tasks: int, size: int, plan_digest: str, datasets: Iterable[DatasetEntry] = ()) -> None:
        self.version = 0
        self.digest = 0
        self.follow(plan_digest)
        self.tasks = Entries(num_tasks)
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

    def _mix(self, heard: bytes) -> None:
        text = hashlib.blake2b(self.digest.to_bytes(8, "little"), digest_size=8)
        text.update(heard)
        self.digest = int.from_bytes(text.digest(), "little")

    def epoch(self, deltas: Sequence[Delta]) -> News:
        """Complete an epoch: merge one delta of each rank; give what was new.

        Raises:
            IndexError: A delta has a task or a form that does not exist.
        """
        few = sum([len(delta.done) for delta in deltas]) <= self.few * RECORD.itemsize
        told = [delta.tasks for delta in deltas if delta.tasks] + [delta.ended() for delta in deltas if few and delta.done]
        ended, others = self.tasks.put_ends(chain.from_iterable(told))
        self.num_open -= len(ended)
        news = News(ended + [entry for entry in others if self.merge(entry)], NONE_DONE)
        if not few:
            news = self._merge_done(deltas, news.entries)
        for delta in deltas:
            rank, known = delta.rank, self.traffic[delta.rank]
            self.settled[rank], self.elapsed[rank], self.memory[rank] = delta.settled, delta.elapsed, delta.memory
            if delta.traffic != known and delta.traffic.progress > known.progress:
                self.traffic[rank] = delta.traffic
        self.version += 1
        self._mix(encode(deltas))
        return news

    def merge(self, entry: TaskEntry) -> bool:
        """Take ``entry`` if it is newer than what is known; say whether it was."""
        old = self.tasks[entry.task]
        if entry <= old:
            return False
        if old.state is not entry.state:
            self._count(entry.task, old.state, entry.state)
        self.tasks.put(entry)
        return True

    def _merge_done(self, deltas: Sequence[Delta], news: list[TaskEntry]) -> News:
        """Merge all records at once, but for those that are perhaps no news: these are merged one by one, and join ``news``."""
        done = np.frombuffer(b"".join([delta.done for delta in deltas]), RECORD)
        nums = [len(delta.done) // RECORD.itemsize for delta in deltas]
        tasks, which = done["task"].astype(np.intp), np.repeat(np.arange(len(deltas)), nums)
        usual, forms = self.tasks.usual(tasks), self._forms(deltas, which, done["form"])
        ranks = np.array([delta.rank for delta in deltas])[which]
        rest: Iterable[TaskEntry] = ()
        if not usual.all():
            rest = compress(chain.from_iterable([delta.ended() for delta in deltas]), ~usual)
            tasks, ranks, forms, done = tasks[usual], ranks[usual], forms[usual], done[usual]
        self.num_open -= len(tasks)
        self.running.difference_update(self.tasks.put_done(tasks, ranks, forms, done))
        return News([*news, *[entry for entry in rest if self.merge(entry)]], done)

    def _forms(self, deltas: Sequence[Delta], which: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Give the places of forms, of which ``which`` are the deltas, and ``chosen`` the places there."""
        sizes = np.array([len(delta.forms) for delta in deltas])
        if (chosen >= sizes[which]).any():
            raise IndexError("a record has a form that its delta does not have")
        places = np.array([self.tasks.place(form) for delta in deltas for form in delta.forms])
        return places[chosen + (sizes.cumsum() - sizes)[which]]

    def known(self) -> News:
        """Give all that is known of tasks that are over, as if it were news."""
        states, _, seconds, nbytes = self.tasks.columns()
        done = np.flatnonzero(states == State.DONE)
        others = np.flatnonzero((states >= State.CANCELLED) & (states != State.DONE))
        records = np.zeros(len(done), RECORD)
        records["task"], records["seconds"], records["nbytes"] = done, seconds[done], nbytes[done]
        return News([self.tasks[task] for task in others.tolist()], records)

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
        return tuple(entry.rank if entry.state is _DONE else -1 for entry in entries)


def merge_sources(entries: Iterable[SourceEntry]) -> tuple[SourceEntry, ...]:
    """Join what all ranks see: one entry for each distinct file of a dataset, with all its holders.

    Two files are one if dataset, path, size, time of modification and inode agree, as they do on a shared file
    system; node-local files of one path differ in some of them. Ordered by dataset, path, size and time.
    """
    holders: dict[SourceEntry, set[int]] = {}
    for entry in entries:
        holders.setdefault(msgspec.structs.replace(entry, holders=()), set()).update(entry.holders)
    return tuple(sorted(msgspec.structs.replace(e, holders=tuple(sorted(ranks))) for e, ranks in holders.items()))

"""What a run teaches about its tasks while it goes on, and when that is worth a new plan.

Everything here follows from the plan and from the catalog's news, so that every rank comes to the same conclusion in the
same epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import add

import numpy as np

from mpiflow.catalog.entries import NONE_DONE, TaskEntry
from mpiflow.catalog.states import State
from mpiflow.planning.machine import Machine
from mpiflow.planning.plan import Plan
from mpiflow.planning.progress import NOBODY, Holders, Progress

LEAST_GAIN = 0.25           # seconds: ranks that drift apart by less are left alone
LEAST_SHARE = 0.1           # of what the busiest rank has before it: likewise
SECONDS_PER_TASK = 2e-4     # what a new plan costs for each task that it places
EVIDENCE = 3                # tasks of a kind that must have ended before the others are judged by them
_CANCELLED, _DONE, _SKIPPED = State.CANCELLED, State.DONE, State.SKIPPED     # an enumeration's names take long to look up


class _Kind:
    """Tasks of one operation: what they were first expected to need and what they needed, all together."""

    __slots__ = ("nbytes", "nbytes_first", "nbytes_scale", "num", "open_nbytes", "scale", "seconds", "seconds_first")

    def __init__(self) -> None:
        self.num = 0
        self.seconds = self.seconds_first = 0.0
        self.nbytes = self.nbytes_first = 0
        self.open_nbytes = 0.0                      # first estimates of what is to come
        self.scale = self.nbytes_scale = 1.0        # what the estimates in force were multiplied by

    @property
    def factor(self) -> float:
        """How many times longer than first expected."""
        return self.seconds / self.seconds_first if self.num >= EVIDENCE and self.seconds_first > 0 else self.scale

    @property
    def nbytes_factor(self) -> float:
        """How many times larger."""
        return self.nbytes / self.nbytes_first if self.num >= EVIDENCE and self.nbytes_first > 0 else self.nbytes_scale


class Learning:
    """Run times and sizes as this run has shown them, beside those that the plan in force was made with.

    Sums are taken one after the other, in the order of what is learned, so that they are the same on every rank to the last bit.
    """

    def __init__(self, plan: Plan, machine: Machine) -> None:
        self._machine = machine
        self._seconds, self._nbytes = plan.estimates
        numbers: dict[tuple[str, str], int] = {}
        self._of = [numbers.setdefault((task.kind, task.operation), len(numbers)) for task in plan.graph.tasks]
        self._kinds = [_Kind() for _ in numbers]
        self._columns = np.array(self._of, np.intp), np.array(self._seconds, float), np.array(self._nbytes, float)
        self._ended: dict[int, TaskEntry] = {}
        self._many_ended: list[np.ndarray] = []                         # records of more tasks that ended well
        self.follow(plan, [-1] * len(plan.ranks))

    def follow(self, plan: Plan, claimed: Sequence[int]) -> None:
        """Measure drift from ``plan`` from now on.

        Args:
            plan: The plan in force.
            claimed: The rank of each task that is over or running, -1 for those that ``plan`` has placed anew.
        """
        size, num = self._machine.size, len(self._kinds)
        self._plan, self._ranks = plan, np.array(plan.ranks, np.intp)
        self._placed = bytearray([rank < 0 for rank in claimed])
        self._num_open = sum(self._placed)
        self._late = [0.0] * size                                       # what ended after its time, by rank [s]
        self._open = np.zeros((size, num))                              # first estimates of what is to come, by rank [s]
        for kind in self._kinds:
            kind.open_nbytes = 0.0
        self._expect(np.flatnonzero(self._placed), 1)

    def _expect(self, tasks: np.ndarray, sign: int) -> None:
        """Expect ``tasks``, or with the other sign no more."""
        of, seconds, nbytes = self._columns
        kinds, (size, num) = of[tasks], self._open.shape
        self._open += sign * np.bincount(self._ranks[tasks] * num + kinds, seconds[tasks], size * num).reshape(size, num)
        for kind, expected in zip(self._kinds, np.bincount(kinds, nbytes[tasks], num).tolist(), strict=True):
            kind.open_nbytes += sign * expected

    def learn(self, entries: Iterable[TaskEntry], done: np.ndarray = NONE_DONE) -> None:
        """Take what an epoch brought.

        Args:
            entries: Of any tasks.
            done: A ``RECORD`` of each other task that ended well.
        """
        seconds, nbytes, of, placed, ranks = self._seconds, self._nbytes, self._of, self._placed, self._plan.ranks
        kinds, late, cells = self._kinds, self._late, memoryview(self._open)     # where single numbers are found sooner
        for entry in entries:
            state = entry.state
            if state < _CANCELLED:
                continue
            task, took = entry.task, entry.seconds
            number, expected, size = of[task], seconds[task], nbytes[task]
            kind = kinds[number]
            if state is _DONE:
                self._ended[task] = entry
                kind.num += 1
                kind.seconds += took
                kind.seconds_first += expected
                kind.nbytes += entry.nbytes
                kind.nbytes_first += size
            if placed[task]:
                placed[task] = False
                rank = ranks[task]
                self._num_open -= 1
                cells[rank, number] -= expected
                kind.open_nbytes -= size
                if state is not _SKIPPED:           # what was left out says nothing of those that run
                    late[rank] += took - expected * kind.scale
        if len(done):
            self._learn_many(done)

    def _learn_many(self, done: np.ndarray) -> None:
        """Do the same with many tasks at once, each of which is there once."""
        of, seconds, nbytes = self._columns
        tasks, took, num = done["task"].astype(np.intp), done["seconds"], len(self._kinds)
        kinds, expected, placed = of[tasks], seconds[tasks], np.frombuffer(self._placed, bool)
        self._many_ended.append(done)
        sums = [np.bincount(kinds, each, num).tolist() for each in (None, took, expected, done["nbytes"], nbytes[tasks])]
        for kind, added, *more in zip(self._kinds, *sums, strict=True):
            kind.num += added
            kind.seconds, kind.seconds_first, kind.nbytes, kind.nbytes_first = map(
                add, (kind.seconds, kind.seconds_first, kind.nbytes, kind.nbytes_first), more)
        late, anew = took - expected * np.array([kind.scale for kind in self._kinds])[kinds], placed[tasks]
        if not anew.all():                              # else, as nearly always, all are
            tasks, late = tasks[anew], late[anew]
        placed[tasks] = False
        self._num_open -= len(tasks)
        self._expect(tasks, -1)
        for rank, seconds_late in enumerate(np.bincount(self._ranks[tasks], late, len(self._late)).tolist()):
            self._late[rank] += seconds_late

    def due(self, running: Mapping[int, float]) -> bool:
        """Whether ranks have drifted so far from the plan, and from each other, that a new plan is worth its cost.

        Args:
            running: For how long [s] each running task has been running.
        """
        size = self._machine.size
        if size == 1 or self._num_open <= len(running):
            return False
        changes = np.array([kind.factor - kind.scale for kind in self._kinds])
        drift = [late + more for late, more in zip(self._late, (self._open * changes).sum(axis=1).tolist(), strict=True)]
        for task, elapsed in running.items():
            drift[self._plan.ranks[task]] += max(elapsed - self._seconds[task] * self._kinds[self._of[task]].factor, 0.0)
        moved = sum([kind.open_nbytes * abs(kind.nbytes_factor - kind.nbytes_scale) for kind in self._kinds])
        gain = max(drift) - sum(drift) / size + moved / min(self._machine.bandwidth) / size
        if gain <= max(LEAST_GAIN, SECONDS_PER_TASK * self._num_open):
            return False
        ahead = (self._open * np.array([kind.factor for kind in self._kinds])).sum(axis=1)
        return gain > LEAST_SHARE * ahead.max().item()

    def progress(self, claimed: Sequence[int], running: Mapping[int, float], copies: Mapping[int, tuple[int, ...]],
                 holders: Holders = NOBODY) -> Progress:
        """Say where the run stands, with estimates as learned; they are in force from now on.

        Args:
            claimed: Rank of each task that is over or running, else -1.
            running: For how long [s] each running task has been running.
            copies: Ranks that have, or will have, each block that is still needed.
            holders: Ranks that hold each replicated block that is over.
        """
        for kind in self._kinds:
            kind.scale, kind.nbytes_scale = kind.factor, kind.nbytes_factor
        of, seconds, nbytes = self._columns
        scales, nbytes_scales = np.array([(kind.scale, kind.nbytes_scale) for kind in self._kinds]).reshape(-1, 2).T
        seconds, nbytes = seconds * scales[of], np.rint(nbytes * nbytes_scales[of])
        for done in self._many_ended:
            seconds[done["task"]], nbytes[done["task"]] = done["seconds"], done["nbytes"]
        for task, entry in self._ended.items():
            seconds[task], nbytes[task] = entry.seconds, entry.nbytes
        ends = [0.0] * len(seconds)
        for task, elapsed in running.items():       # one that is over its time may take as long again
            left = seconds.item(task) - elapsed
            ends[task] = left if left >= 0 else elapsed
        return Progress(tuple(claimed), tuple(ends), copies, tuple(seconds.tolist()), tuple(nbytes.astype(int).tolist()), holders)

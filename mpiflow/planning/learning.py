"""What a run teaches about its tasks while it goes on, and when that is worth a new plan.

Everything here follows from the plan and from the catalog's news, so that every rank comes to the same conclusion in the
same epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mpiflow.catalog.entries import TaskEntry
from mpiflow.catalog.states import State
from mpiflow.planning.machine import Machine
from mpiflow.planning.plan import Plan
from mpiflow.planning.progress import NOBODY, Holders, Progress

LEAST_GAIN = 0.25           # seconds: ranks that drift apart by less are left alone
LEAST_SHARE = 0.1           # of what the busiest rank has before it: likewise
SECONDS_PER_TASK = 2e-4     # what a new plan costs for each task that it places
EVIDENCE = 3                # tasks of a kind that must have ended before the others are judged by them
_CANCELLED, _DONE = State.CANCELLED, State.DONE     # an enumeration's names take long to look up


class _Kind:
    """Tasks of one operation: what they were first expected to need and what they needed, all together."""

    __slots__ = ("nbytes", "nbytes_first", "nbytes_scale", "num", "scale", "seconds", "seconds_first")

    def __init__(self) -> None:
        self.num = 0
        self.seconds = self.seconds_first = 0.0
        self.nbytes = self.nbytes_first = 0
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
    """Run times and sizes as this run has shown them, beside those that the plan in force was made with."""

    def __init__(self, plan: Plan, machine: Machine) -> None:
        self._machine = machine
        self._seconds, self._nbytes = plan.estimates
        numbers: dict[tuple[str, str], int] = {}
        self._of = [numbers.setdefault((task.kind, task.operation), len(numbers)) for task in plan.graph.tasks]
        self._kinds = [_Kind() for _ in numbers]
        self._ended: dict[int, TaskEntry] = {}
        self.follow(plan, [-1] * len(plan.ranks))

    def follow(self, plan: Plan, claimed: Sequence[int]) -> None:
        """Measure drift from ``plan`` from now on.

        Args:
            plan: The plan in force.
            claimed: The rank of each task that is over or running, -1 for those that ``plan`` has placed anew.
        """
        self._plan = plan
        self._late = [0.0] * self._machine.size                         # what ended after its time, by rank [s]
        self._open = [[0.0] * len(self._kinds) for _ in self._late]     # first estimates of what is to come, by rank [s]
        self._open_nbytes = [0] * len(self._kinds)
        self._placed = [rank < 0 for rank in claimed]
        self._num_open = sum(self._placed)
        for task, (rank, kind, placed) in enumerate(zip(plan.ranks, self._of, self._placed, strict=True)):
            if placed:
                self._open[rank][kind] += self._seconds[task]
                self._open_nbytes[kind] += self._nbytes[task]

    def learn(self, news: Iterable[TaskEntry]) -> None:
        """Take what an epoch brought."""
        seconds, nbytes, of, placed, ranks = self._seconds, self._nbytes, self._of, self._placed, self._plan.ranks
        for entry in news:
            state = entry.state
            if state < _CANCELLED:
                continue
            task, took = entry.task, entry.seconds
            number, expected, size = of[task], seconds[task], nbytes[task]
            kind = self._kinds[number]
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
                self._open[rank][number] -= expected
                self._open_nbytes[number] -= size
                if state is not State.SKIPPED:          # what was left out says nothing of those that run
                    self._late[rank] += took - expected * kind.scale

    def due(self, running: Mapping[int, float]) -> bool:
        """Whether ranks have drifted so far from the plan, and from each other, that a new plan is worth its cost.

        Args:
            running: For how long [s] each running task has been running.
        """
        size = self._machine.size
        if size == 1 or self._num_open <= len(running):
            return False
        factors = [kind.factor for kind in self._kinds]
        ahead = [sum(first * factor for first, factor in zip(row, factors, strict=True)) for row in self._open]
        changes = [kind.factor - kind.scale for kind in self._kinds]
        drift = [late + sum(first * change for first, change in zip(row, changes, strict=True))
                 for late, row in zip(self._late, self._open, strict=True)]
        for task, elapsed in running.items():
            drift[self._plan.ranks[task]] += max(elapsed - self._seconds[task] * factors[self._of[task]], 0.0)
        moved = sum(nbytes * abs(kind.nbytes_factor - kind.nbytes_scale)
                    for nbytes, kind in zip(self._open_nbytes, self._kinds, strict=True)) / min(self._machine.bandwidth) / size
        gain = max(drift) - sum(drift) / size + moved
        return gain > max(LEAST_GAIN, LEAST_SHARE * max(ahead), SECONDS_PER_TASK * self._num_open)

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
        kinds = [self._kinds[number] for number in self._of]
        seconds = [first * kind.scale for first, kind in zip(self._seconds, kinds, strict=True)]
        nbytes = [round(first * kind.nbytes_scale) for first, kind in zip(self._nbytes, kinds, strict=True)]
        for task, entry in self._ended.items():
            seconds[task], nbytes[task] = entry.seconds, entry.nbytes
        ends = [0.0] * len(seconds)
        for task, elapsed in running.items():       # one that is over its time may take as long again
            ends[task] = max(seconds[task] - elapsed, elapsed if elapsed > seconds[task] else 0.0)
        return Progress(tuple(claimed), tuple(ends), copies, tuple(seconds), tuple(nbytes), holders)

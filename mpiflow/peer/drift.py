"""When ranks have drifted so far from their plan that another is worth its cost, and what that one is.

All of it follows from the plan in force and from the catalog, so that every rank comes to the same in the same epoch.
"""

from __future__ import annotations

from collections.abc import Set

from mpiflow.catalog.catalog import Catalog
from mpiflow.catalog.entries import News
from mpiflow.catalog.states import State
from mpiflow.planning.learning import LEAST_GAIN, Learning
from mpiflow.planning.machine import Machine
from mpiflow.planning.plan import Plan, make_plan

_PLANNED, _DONE = State.PLANNED, State.DONE     # an enumeration's names take long to look up


class Drift:
    """What the run has shown beside what was planned, as one rank knows it. It has no MPI, no clock and no data."""

    def __init__(self, catalog: Catalog, machine: Machine) -> None:
        """Prepare.

        Args:
            catalog: This rank's replica.
            machine: All ranks.
        """
        self._catalog, self._machine = catalog, machine
        self._learning: Learning | None = None          # short runs do without
        self._spent = 0.0                               # what tasks took on all ranks, as of this version [s]

    def noticed(self, plan: Plan, news: News) -> bool:
        """Learn what an epoch has told; give whether another plan than ``plan`` would be worth its cost."""
        if self._learning is None:
            self._spent += news.seconds
            if self._spent + sum(self._catalog.elapsed) < LEAST_GAIN:
                return False
            self._learning = Learning(plan, self._machine)
            news = self._catalog.known()
        self._learning.learn(*news)
        return self._learning.due(self._running())

    def plan_again(self, old: Plan, doomed: Set[int], news: News) -> tuple[Plan, list[int]]:
        """Make the plan that follows ``old``.

        Args:
            old: The plan in force.
            doomed: Tasks that will never run.
            news: Of the epoch that has told which tasks nobody has started.

        Returns:
            The plan, the same on all ranks; and the tasks that it places, which are those that nobody has started.
        """
        self._learning.learn(*news)
        graph, ranks, states = old.graph, old.ranks, self._catalog.tasks.states.tolist()
        claimed = [ranks[task] if state != _PLANNED or task in doomed else -1 for task, state in enumerate(states)]
        free = [task for task, rank in enumerate(claimed) if rank < 0]
        copies = {}
        for block in sorted({need for task in free for need in graph.needs[task]}):
            if states[block] == _DONE:                  # who still has to read it has it, or will get it
                readers = [task for task in graph.consumers[block] if task not in doomed and states[task] < State.CANCELLED]
                copies[block] = tuple(sorted({ranks[task] for task in readers}))
        holders = {block: where for block, where in old.holders.items() if states[block] >= State.CANCELLED}
        plan = make_plan(graph, self._machine, self._learning.progress(claimed, self._running(), copies, holders))
        self._learning.follow(plan, claimed)
        return plan, free

    def _running(self) -> dict[int, float]:
        """For how long each running task has been running, as all ranks know it [s]."""
        return {task: self._catalog.elapsed[self._catalog.tasks[task].rank] for task in sorted(self._catalog.running)}

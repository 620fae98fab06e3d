"""What must hold for a task to run, and which tasks are skipped if it does not. Pure.

A guard is a GATE task and what it must have found. A task has one of its own only if its inputs do not see to it already: what
needs a block that is skipped is skipped with it. So of each task it is known which guard it depends on, by itself or by inputs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from msgspec.structs import replace

from mpiflow.planning.tasks import Input, Kind, Task

Guard = tuple[int, bool]        # a GATE task, and what it must have found
SEVERAL = (-1, False)           # stands for several guards


class Guards:
    """The guards of a graph under construction.

    Args:
        tasks: The tasks of the graph.
        skips: The steps whose tasks count as skipped if they fail.
    """

    def __init__(self, tasks: list[Task], skips: Collection[str]) -> None:
        self._tasks, self._skips = tasks, skips
        self.in_force: Guard | None = None      # what new tasks depend on
        self.causes: dict[int, Guard] = {}      # of tasks that may be skipped: the guard that they depend on
        self.failing: set[int] = set()          # those that may be because a task has failed
        self._around: dict[Guard, Guard | None] = {}        # the guard that the condition of a guard depends on

    def needed(self, kind: Kind, inputs: Iterable[Input]) -> Guard | None:
        """Give the guard that a new task must have itself: not one of which its inputs see to it already."""
        if self.in_force is None or kind in (Kind.LOAD, Kind.WRITE):
            return None
        known = any(self._depends(self.causes.get(task), self.in_force) for item in inputs for task in item.tasks)
        return None if known else self.in_force

    def within(self, guard: Guard) -> Guard | None:
        """From now on, new tasks depend on ``guard``; give the one that they depended on."""
        around, self.in_force = self.in_force, guard
        self._around.setdefault(guard, around)
        return around

    def _depends(self, guard: Guard | None, other: Guard) -> bool:
        """Whether ``guard`` can hold only if the other does."""
        while guard is not None and guard != other:
            guard = self._around.get(guard)
        return guard is not None

    def _least(self, guards: set[Guard]) -> Guard:
        """The one guard that can hold only if all others do; SEVERAL if none is like that."""
        return next((guard for guard in sorted(guards) if all(self._depends(guard, other) for other in guards)), SEVERAL)

    def note(self, number: int) -> None:
        """Remember of a new task whether it may be skipped, and why."""
        task = self._tasks[number]
        if task.guard is None and not self.causes and not self._skips:
            return
        given = {self.causes[need] for need in task.needs if need in self.causes}
        if task.guard is not None:
            given = {task.guard}                # which depends on all that is around it
        if task.step in self._skips and task.kind not in (Kind.LOAD, Kind.GATE, Kind.PASS, Kind.WRITE):
            self.failing.add(number)
            given.add(SEVERAL)
        elif not self.failing.isdisjoint(task.needs):
            self.failing.add(number)
        if given:
            self.causes[number] = self._least(given)
            if any(len(item.tasks) == 1 and self._tasks[item.tasks[0]].optional for item in task.inputs):
                self._tasks[number] = replace(task, optional=True)

    def liken(self, number: int, other: int) -> None:
        """Let a task depend on what another one depends on, whatever its inputs do."""
        self.causes.pop(number, None)
        if other in self.causes:
            self.causes[number] = self.causes[other]

    def common(self, tasks: Iterable[int]) -> Guard | None:
        """Give a guard that tells for all of ``tasks`` together, and for the step, whether they are skipped; None if none may be.

        Raises:
            ValueError: There is no such guard.
        """
        found = {self.causes[task] for task in tasks if task in self.causes} | ({self.in_force} if self.in_force else set())
        if found and self._least(found) == SEVERAL:
            raise ValueError
        return self._least(found) if found else None

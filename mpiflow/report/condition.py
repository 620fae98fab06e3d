"""What can be told of a run from the files in its folder, by somebody who takes no part in it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from msgspec.structs import replace

from mpiflow.errors import LaunchError, did_you_mean
from mpiflow.storage.accounts import RankState, Record, TaskRecord

_PATIENCE = 5.0         # seconds that a state may be late,
_MISSED = 3             # and so many of its periods, before its rank is taken to be silent
STOPPED = 75
FINAL = ("done", "failed", "cancelled", "skipped")


class Condition(StrEnum):
    """How a run stands, as far as it can be told from here."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"         # by a signal; it can go on
    KILLED = "killed"           # its processes have gone without a word
    SILENT = "silent"           # nothing has been heard of it for too long, and its processes are not to be seen from here


@dataclass(frozen=True)
class Sight:
    """What was found in the folder of a run.

    Attributes:
        run: Its name.
        record: What is known of all tasks; None if nothing was written yet.
        states: How each rank stood last, by its number at first; of those that can be seen from here.
        now: The time of day [s].
        alive: For each of these, whether its process is still there; None if that is on another node.
    """

    run: str
    record: Record | None
    states: Mapping[int, RankState]
    now: float
    alive: Mapping[int, bool | None] = field(default_factory=dict)

    @cached_property
    def condition(self) -> Condition:
        """How the run stands."""
        status = self.record.status if self.record else None
        if status is not None:
            return {0: Condition.DONE, STOPPED: Condition.STOPPED}.get(status, Condition.FAILED)
        if any(self.there(name) or self._concludes(name) for name in self.states):
            return Condition.RUNNING
        if self.states and all(state.ended for state in self.states.values()):      # the record is on another node's disk
            whole = self.num_done >= self.num_tasks
            return Condition.FAILED if self.num_failed else Condition.DONE if whole else Condition.STOPPED
        elsewhere = any(alive is None for alive in self.alive.values()) or not self.states
        return Condition.SILENT if elsewhere else Condition.KILLED

    def there(self, name: int) -> bool:
        """Whether a rank takes part in the run now: its process is there, or it has said so lately."""
        state, alive = self.states[name], self.alive.get(name)
        return not state.ended and (not self._late(name) if alive is None else alive)

    def _concludes(self, name: int) -> bool:
        """Whether a rank that has ended may still be writing the record: its process is seen to be there, and not for long."""
        return self.states[name].ended and self.alive.get(name) is True and not self._late(name)

    def _late(self, name: int) -> bool:
        return self.age(name) > _MISSED * self.states[name].period + _PATIENCE

    def age(self, name: int) -> float:
        """For how long a rank has said nothing [s]; clocks of nodes may differ."""
        return max(self.now - self.states[name].time, 0.0)

    @cached_property
    def names(self) -> tuple[int, ...]:
        """The numbers at first of the ranks that the run has, or had last, in order of their numbers now."""
        if self.record and self.record.names:
            return self.record.names
        return tuple(range(max((state.size for state in self.states.values()), default=0)))

    @cached_property
    def present(self) -> dict[int, RankState]:
        """How those ranks stood last that have not died."""
        return {name: state for name, state in self.states.items() if name in self.names}

    @cached_property
    def tasks(self) -> tuple[TaskRecord, ...]:
        """All tasks, with what ranks have said since the record was written."""
        tasks = list(self.record.tasks) if self.record else []
        if self.record is None or self.record.status is not None:
            return tuple(tasks)
        for state in self.present.values():
            number = state.running
            if number is not None and number < len(tasks) and tasks[number].state not in FINAL:
                tasks[number] = replace(tasks[number], state="running", rank=state.rank)
        return tuple(tasks)

    def running_for(self, task: TaskRecord) -> float | None:
        """For how long a task that runs has been running, or had when its rank was last heard of [s]; None if nobody says."""
        for name, state in self.present.items():
            if state.running == task.task and state.rank == task.rank:
                return max((self.now if self.there(name) else state.time) - state.since, 0.0)
        return None

    @cached_property
    def num_done(self) -> int:
        """Tasks that are done, as the one that knows most of it says."""
        known = sum(task.state == "done" for task in self.record.tasks) if self.record else 0
        return max([known, *(state.all_done for state in self.present.values())])

    @cached_property
    def num_failed(self) -> int:
        """Tasks that have failed, likewise."""
        known = sum(task.state == "failed" for task in self.record.tasks) if self.record else 0
        return max([known, *(state.all_failed for state in self.present.values())])

    @cached_property
    def num_tasks(self) -> int:
        """All tasks."""
        return len(self.record.tasks) if self.record else max((state.all_tasks for state in self.states.values()), default=0)

    @cached_property
    def workflow(self) -> str:
        """The workflow's name."""
        return self.record.name if self.record else next((state.workflow for state in self.states.values()), "")

    @cached_property
    def seconds(self) -> float:
        """How long tasks have been running, or were [s]."""
        if self.record and self.record.status is not None:
            return self.record.seconds
        known = [state.seconds + (self.age(name) if self.there(name) else 0.0) for name, state in self.present.items()]
        return max([self.record.seconds if self.record else 0.0, *known])


def tasks_of(sight: Sight, word: str) -> list[TaskRecord]:
    """Give the tasks of a step, a dataset, a file of results, or one instance of a step: sweep[T=300].

    Raises:
        LaunchError: There is none of that name; the message suggests one.
    """
    tasks, datasets = sight.tasks, sight.record.datasets if sight.record else {}
    found = [task for task in tasks if word in (task.step, task.name)]
    if not found and word in datasets:          # the same recipe under another name is computed once
        found = [tasks[number] for number in datasets[word].tasks]
    if found:
        return found
    if sight.record is None:
        raise LaunchError(f"nothing is known of the steps of run {sight.run} yet, or here; 'status' says what its ranks do")
    names = names_of(tasks, datasets)
    known = did_you_mean(word, {*names, *(task.name for task in tasks)}) or f" (steps: {', '.join(names[:8])}" + (
        ", ...)" if len(names) > 8 else ")")
    raise LaunchError(f"run {sight.run} of {sight.workflow!r} has no step {word!r}{known}")


def names_of(tasks: Sequence[TaskRecord], datasets: Mapping[str, object]) -> list[str]:
    """Name all steps and datasets, in the order of their tasks."""
    return list(dict.fromkeys([*(task.step for task in tasks), *datasets]))

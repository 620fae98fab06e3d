"""What a run did, as provenance models see it: activities that used some things and made others. Pure.

All tasks of one instance of a step that call one operation are one activity, whatever the number of blocks, and all that they
leave is one thing; what goes from one of them to another is not told. Brought in from files or generators, or from earlier
work, are things that no activity made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from mpiflow.errors import DocumentError, Problem
from mpiflow.planning.tasks import WRITES, Kind, recipe_id
from mpiflow.storage.accounts import DatasetRecord, TaskRecord

_MADE = (Kind.APPLY, Kind.COMBINE, Kind.FINISH, *WRITES)
_EARLIER = (Kind.RESTORE, Kind.KEPT)


class Called(Struct, frozen=True):
    """One operation of a record: its name, the hash of its code, what it says of itself, and its program if it runs one."""

    name: str
    code: str = ""
    doc: str = ""
    program: str = ""


class Ran(Struct, frozen=True):
    """What was run: see ``report.record``."""

    file: str
    digest: str
    overrides: dict[str, str] = {}
    parameters: dict[str, Any] = {}
    operations: dict[str, Called] = {}
    results: dict[str, str] = {}
    folder: str = ""
    version: str = ""


class Record(Struct, frozen=True):
    """The record of a run, as far as it is needed."""

    name: str
    source: Ran
    started: str
    status: int
    seconds: float
    hosts: list[str]
    plan: str
    tasks: list[TaskRecord]
    datasets: dict[str, DatasetRecord]

    @property
    def began(self) -> datetime:
        """When the run did."""
        return datetime.fromisoformat(self.started)

    @property
    def id(self) -> str:
        """What identifies the run."""
        return recipe_id("run", self.plan, self.started)

    def at(self, seconds: float) -> str:
        """Give the time of day so many seconds after the start of the run, in ISO 8601."""
        return (self.began + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


@dataclass
class Activity:
    """Tasks that are one activity, or of which one thing came.

    Attributes:
        name: For people.
        step: Step, dataset or file that it belongs to.
        instance: Which instance, if the step has a loop.
        operation: The key of its operation; empty for what is brought in or written.
        kind: "made", "written", "source" or "earlier".
        tasks: Numbers of its tasks.
        uses: The activities whose things it used; a set in order.
        ids: Ids of the blocks that it left; likewise.
    """

    name: str
    step: str
    instance: str
    operation: str
    kind: str
    tasks: list[int] = field(default_factory=list)
    uses: dict[int, None] = field(default_factory=dict)
    ids: dict[str, None] = field(default_factory=dict)


@dataclass(frozen=True)
class Provenance:
    """The activities of a run.

    Attributes:
        record: What is known of the run.
        activities: In order of their first tasks.
    """

    record: Record
    activities: list[Activity]

    def ended(self, activity: Activity) -> list[TaskRecord]:
        """The tasks of an activity that have run, well or not, in order of start."""
        tasks = [self.record.tasks[number] for number in activity.tasks]
        return sorted((task for task in tasks if task.state in ("done", "failed")), key=lambda task: task.start)

    def span(self, activity: Activity) -> tuple[str, str]:
        """When an activity began and ended, as times of day."""
        ended = self.ended(activity)
        return self.record.at(ended[0].start), self.record.at(max(task.start + task.seconds for task in ended))

    def error(self, activity: Activity) -> str:
        """Why it failed; empty if it did not."""
        return next((task.error for task in self.ended(activity) if task.state == "failed"), "")

    def parameters(self, activity: Activity) -> dict[str, Any]:
        """Its plain arguments: those that all of its tasks have alike."""
        tasks = [self.record.tasks[number] for number in activity.tasks]
        given = [task.parameters for task in tasks if task.kind == Kind.APPLY]
        return {name: value for name, value in (given[0] if given else {}).items()
                if all(other.get(name, other) == value for other in given)}


def read_record(data: bytes, file: str) -> Record:
    """Read a record; see ``provenance``."""
    try:
        record = msgspec.json.decode(data, type=Record)
        record.began            # noqa: B018 (is it a time?)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise DocumentError([Problem(file, 0, 0, f"not the record of a run: {error}")]) from None
    if any(not 0 <= need < number for number, task in enumerate(record.tasks) for need in task.needs):
        raise DocumentError([Problem(file, 0, 0, "not the record of a run: a task needs one that comes after it")])
    return record


def provenance(data: bytes, file: str) -> Provenance:
    """Put the tasks of a run together. Pure.

    Args:
        data: What ``run --record`` has written.
        file: Its name, for messages.

    Raises:
        DocumentError: It is no record, or was written by an earlier version, or nothing has run.
    """
    record = read_record(data, file)
    places: dict[tuple[str, str, str, str, int], int] = {}
    activities: list[Activity] = []
    place: list[int] = []
    levels: list[int] = []
    for number, task in enumerate(record.tasks):
        levels.append(_level(record, levels, task))
        key = task.step, task.instance, *_part(task), levels[-1]
        index = places.setdefault(key, len(places))
        if index == len(activities):
            activities.append(Activity(_name(record, task), *key[:4]))
        place.append(index)
        activities[index].tasks.append(number)
        for need in task.needs:
            if place[need] != index and record.tasks[need].state in ("done", "failed"):
                activities[index].uses[place[need]] = None
                activities[place[need]].ids[record.tasks[need].id] = None
    for dataset in record.datasets.values():
        for number in dataset.tasks:
            activities[place[number]].ids[record.tasks[number].id] = None
    found = Provenance(record, _known(record, activities))
    if not any(activity.kind in ("made", "written") and found.ended(activity) for activity in found.activities):
        raise DocumentError([Problem(file, 0, 0, "no step of the run has run: there is nothing to export")])
    return found


def _level(record: Record, levels: list[int], task: TaskRecord) -> int:
    """How many changes of operation lie before a task in its step: of ``f(g(f(x)))`` the two ``f`` are not one activity."""
    before = ((levels[need], record.tasks[need]) for need in task.needs)
    return max((level + (one.operation != task.operation) for level, one in before
                if (one.step, one.instance) == (task.step, task.instance)), default=0)


def _part(task: TaskRecord) -> tuple[str, str]:
    """The operation of a task, and how what comes of it came to be."""
    if task.kind in _MADE:
        return (task.operation, "made") if task.kind not in WRITES else ("", "written")
    return "", "earlier" if task.kind in _EARLIER else "source"


def _name(record: Record, task: TaskRecord) -> str:
    step = f"{task.step}[{task.instance}]" if task.instance else task.step
    called = record.source.operations.get(task.operation)
    return f"{step}: {called.name}" if called and task.kind in _MADE else step


def _known(record: Record, activities: list[Activity]) -> list[Activity]:
    """Leave out what nothing is known of: what was not run, and nobody needed."""
    wanted = {index for activity in activities for index in activity.uses}
    stays = [index for index, activity in enumerate(activities)
             if index in wanted or any(record.tasks[number].state in ("done", "failed") and record.tasks[number].kind != Kind.KEPT
                                       for number in activity.tasks)]
    renamed = {index: number for number, index in enumerate(stays)}
    for activity in activities:
        activity.uses = {renamed[index]: None for index in sorted(activity.uses) if index in renamed}
    return [activities[index] for index in stays]

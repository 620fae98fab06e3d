"""Why a step waits, runs, ran again, was kept, failed or never ran: from the files in the folder of a run. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from mpiflow.errors import ranges
from mpiflow.planning.reuse import Reason
from mpiflow.report.condition import FINAL, Condition, Sight, tasks_of
from mpiflow.report.progress import clock
from mpiflow.report.summary import count
from mpiflow.storage.accounts import TaskRecord

_SHOWN = 8              # of what a step waits for
_REASONS = {
    Reason.KEPT: "kept: all that is needed of it was made by an earlier run",
    Reason.CODE_CHANGED: "it ran again, because the text of its module is another than when it ran before",
    Reason.INPUT_CHANGED: "it ran again, because its parameters or inputs, or a step that it needs, are others than before",
    Reason.LOST: "it ran again, because what was saved of it is damaged or gone, or its file of results is not as it was written",
    Reason.FORCED: "it ran again, because --force names it, or something that it needs",
    Reason.NOT_SAVED: "it ran again, because it is needed, and what it made before was not worth saving",
    Reason.NEVER_RAN: "it ran, because nothing is known of an earlier run of it"}
_ALWAYS = "in a run without --resume and --cache every step runs"


class Blocker(Struct, frozen=True):
    """A task that has to be over first: what it does, where, and since when; ``own`` if it is one of those asked for."""

    task: int
    name: str
    rank: int
    state: str
    own: bool
    text: str


class Why(Struct, frozen=True):
    """What there is to say of a step.

    Attributes:
        step: What was asked for.
        run: Name of the run.
        condition: How the run stands.
        states: How many of its tasks are in which state.
        reason: Why it has something to run, in a word of ``planning.reuse``; empty if the run takes nothing from earlier ones.
        because: The same in a sentence; and why it failed or did not run.
        waits_for: What has to be over first, and is not.
    """

    step: str
    run: str
    condition: str
    states: dict[str, int]
    reason: str
    because: list[str]
    waits_for: list[Blocker]


def why(sight: Sight, word: str) -> Why:
    """Say why a step is where it is.

    Raises:
        LaunchError: There is no such step.
    """
    tasks = tasks_of(sight, word)
    reason = (sight.record.reasons if sight.record else {}).get(tasks[0].step, "")
    states = Counter(task.state for task in tasks)
    blockers = list(_blockers(sight, tasks)) if sight.condition in (Condition.RUNNING, Condition.SILENT, Condition.KILLED) else []
    return Why(word, sight.run, sight.condition.value, dict(states), reason, [*_because(sight, tasks, reason)], blockers)


def why_text(found: Why) -> str:
    """Write it for people."""
    states = ", ".join(f"{num} {state}" for state, num in sorted(found.states.items()))
    total = sum(found.states.values())
    lines = [f"{found.step}: {count(total, 'task')}: {states}; run {found.run} ({found.condition})"]
    lines += [f"  {line}" for text in found.because for line in text.splitlines()]
    own, others = ([one for one in found.waits_for if one.own is which] for which in (True, False))
    lines += [f"  {text}" for text in _some(own)]
    if others:
        verb = "waits" if found.condition == Condition.RUNNING else "waited"
        lines += [f"  {verb} for {count(len(others), 'task')}:", *[f"    {text}" for text in _some(others)]]
    return "\n".join(lines)


def _some(blockers: Sequence[Blocker]) -> list[str]:
    more = len(blockers) - _SHOWN
    return [one.text for one in blockers[:_SHOWN]] + ([f"and {more} more"] if more > 0 else [])


def why_json(found: Why) -> dict[str, Any]:
    """The same as plain values."""
    return msgspec.to_builtins(found)


# What happened

def _because(sight: Sight, tasks: Sequence[TaskRecord], reason: str) -> Iterator[str]:
    by_state = {state: [task for task in tasks if task.state == state] for state in dict.fromkeys(task.state for task in tasks)}
    if (done := by_state.get("done")) and reason != Reason.KEPT:
        yield _ran(done)
    if reason or set(by_state) <= {"done", "failed"}:
        yield _REASONS.get(reason, reason) if reason else _ALWAYS
    for task in by_state.get("failed", [])[:_SHOWN]:
        head = f"{task.name} failed on rank {task.rank} ({sight.record.hosts[task.rank]}) after {_short(task.seconds)}:"
        yield "\n".join([head, *(f"  {line}" for line in task.error.splitlines())])
    if cancelled := by_state.get("cancelled"):
        yield _cancelled(sight, cancelled)
    if skipped := by_state.get("skipped"):
        yield "skipped: " + (skipped[0].error or "it, or something that it needs, was not to run ('when')")
    if sight.condition in (Condition.KILLED, Condition.SILENT):
        yield from _cut_short(sight, by_state)


def _ran(done: Sequence[TaskRecord]) -> str:
    ranks = ranges({task.rank for task in done}, ",")
    first, last = min(task.start for task in done), max(task.start + task.seconds for task in done)
    return (f"ran on rank {ranks}, from {_short(first)} to {_short(last)} after the start, "
            f"{_short(sum(task.seconds for task in done))} of work")


def _cancelled(sight: Sight, cancelled: Sequence[TaskRecord]) -> str:
    """Why tasks did not run although the run came to its end."""
    record = sight.record
    needed = _ancestors(sight.tasks, cancelled)
    failed = [task for task in sight.tasks if task.state == "failed"]
    cause = next((task for task in failed if task.task in needed), None)
    if cause is not None:
        return f"did not run, since it needs {cause.name}, which failed on rank {cause.rank}: {_last_line(cause.error)}"
    if failed:
        return (f"did not run, since {failed[0].name} failed, and then nothing more is started; with --keep-going all would run "
                "that does not need it")
    if record.stopped_by:
        return f"did not run: the run was stopped by a signal at rank {ranges(record.stopped_by, ',')}; --resume goes on"
    return "did not run"


def _cut_short(sight: Sight, by_state: dict[str, list[TaskRecord]]) -> Iterator[str]:
    end = "was killed" if sight.condition is Condition.KILLED else "was last heard of"
    for task in by_state.get("running", [])[:_SHOWN]:
        seconds = sight.running_for(task)
        for_how_long = "" if seconds is None else f", for {_short(seconds)}"
        yield f"{task.name} was running on rank {task.rank} when the run {end}{for_how_long}"
    if by_state.get("planned"):
        yield f"{count(len(by_state['planned']), 'task')} had not started when the run {end}"


def _ancestors(tasks: Sequence[TaskRecord], of: Iterable[TaskRecord]) -> set[int]:
    """Every task that one of these needs, directly or not."""
    found: set[int] = set()
    stack = [need for task in of for need in task.needs]
    while stack:
        number = stack.pop()
        if number not in found:
            found.add(number)
            stack.extend(tasks[number].needs)
    return found


# What is waited for

def _blockers(sight: Sight, tasks: Sequence[TaskRecord]) -> Iterator[Blocker]:
    """Walk from what is not over to what stands at the beginning: it runs, or has all that it needs and waits for its turn."""
    seen: set[int] = set()
    stack = [task.task for task in tasks if task.state not in FINAL]
    frontier = []
    while stack:
        number = stack.pop()
        if number in seen:
            continue
        seen.add(number)
        missing = [need for need in sight.tasks[number].needs if sight.tasks[need].state not in FINAL]
        if missing:
            stack.extend(missing)
        else:
            frontier.append(sight.tasks[number])
    own = {task.task for task in tasks}
    for task in sorted(frontier, key=lambda task: (task.state != "running", task.task)):
        rank = task.rank if task.rank >= 0 else task.planned_rank
        yield Blocker(task.task, task.name, rank, task.state, task.task in own, _standing(sight, task, rank))


def _standing(sight: Sight, task: TaskRecord, rank: int) -> str:
    """What a task that could run does."""
    node = "".join(f" ({host})" for host in sight.record.hosts[rank:rank + 1])
    operation = f", operation {task.operation}" if task.operation else ""
    seconds = sight.running_for(task)
    if task.state == "running":
        so_far = "" if seconds is None else f" for {_short(seconds)}"
        expected = f"; {_short(task.planned_seconds)} were expected" if task.planned_seconds >= 0.1 else ""
        return f"{task.name}{operation}: runs on rank {rank}{node}{so_far}{expected}"
    busy = next((state for state in sight.states.values() if state.rank == rank and state.running is not None), None)
    turn = f", which runs {busy.doing}" if busy else ""
    return f"{task.name}{operation}: has all that it needs, and waits for its turn on rank {rank}{node}{turn}"


def _last_line(error: str) -> str:
    lines = error.splitlines() or [""]
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]


def _short(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds < 100 else clock(seconds)

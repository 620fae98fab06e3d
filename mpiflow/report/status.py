"""How a run stands, for people and programs, from the files in its folder. Pure."""

from __future__ import annotations

import shlex
from typing import Any

from mpiflow.errors import ranges
from mpiflow.report.condition import Condition, Sight
from mpiflow.report.fitting import table
from mpiflow.report.progress import clock
from mpiflow.report.summary import count, human_bytes
from mpiflow.storage.accounts import RankState

_STEPS = 30             # steps that are listed
_RANKS = 64             # and ranks


def status_text(sight: Sight, width: int | None = None) -> str:
    """Say how the run stands, what each rank does, and how far each step is; tables are of this width."""
    return "\n".join([_head(sight), *_facts(sight), *table(_ranks(sight), width), *_unseen(sight), *_steps(sight, width),
                      *_advice(sight)])


def status_json(sight: Sight) -> dict[str, Any]:
    """The same as plain values: times in seconds, sizes in bytes."""
    record = sight.record
    return {
        "run": sight.run, "workflow": sight.workflow, "condition": sight.condition.value,
        "status": record.status if record else None, "document": record.document if record else "",
        "seconds": sight.seconds, "num_tasks": sight.num_tasks, "num_done": sight.num_done, "num_failed": sight.num_failed,
        "sent": sum(state.sent for state in sight.states.values()), "unseen": _names_unseen(sight),
        "ranks": [_rank_json(sight, name) for name in sight.states],
        "steps": {name: dict(counts) for name, counts in _counts(sight).items()}}


def _rank_json(sight: Sight, name: int) -> dict[str, Any]:
    state = sight.states[name]
    return {
        "name": name, "rank": state.rank, "host": state.host, "pid": state.pid, "alive": sight.alive.get(name),
        "taking_part": sight.there(name), "age": sight.age(name), "num_tasks": state.num_tasks, "num_done": state.num_done,
        "num_failed": state.num_failed, "runs": state.doing or None, "runs_for": _runs_for(sight, name),
        "waits_for": [{"task": one.task, "name": one.name, "from_rank": one.source, "state": one.state} for one in state.waiting],
        "num_waiting": state.num_waiting, "sent": state.sent, "received_blocks": state.received, "memory": state.memory}


def _head(sight: Sight) -> str:
    done = f"{sight.num_done} of {count(sight.num_tasks, 'task')} done" + (
        f", {sight.num_failed} failed" if sight.num_failed else "")
    return f"{sight.workflow or '?'}: {sight.condition} ({clock(sight.seconds)}), {done}; run {sight.run}"


def _facts(sight: Sight) -> list[str]:
    """What has moved, and the memory that is taken; what is expected."""
    states, record = sight.present.values(), sight.record
    parts = []
    if record and record.status is not None:
        parts.append(f"moved {human_bytes(sum(link[3] for link in record.moved))}")
    elif states:
        parts.append(f"sent {human_bytes(sum(state.sent for state in states))}")
        parts.append(f"memory {human_bytes(sum(state.memory for state in states))}")
    if record and record.predicted_seconds >= 1:
        parts.append(f"predicted {clock(record.predicted_seconds)}")
    if record and record.document:
        parts.append(record.document)
    return ["  " + "; ".join(parts)] if parts else []


def _ranks(sight: Sight) -> list[list[str]]:
    """One row for each rank that can be seen."""
    rows = [["rank", "node", "tasks", "memory", "seen", "what"]] if sight.states else []
    over = sight.record is not None and sight.record.status is not None
    for name, state in list(sight.states.items())[:_RANKS]:
        number = f"{state.rank}" if state.rank == name else f"{state.rank} (was {name})"
        died = name not in sight.names
        seen = "ended" if not died and (state.ended or over) else f"{_short(sight.age(name))} ago"
        tasks = f"{state.num_done}/{state.num_tasks}" + (f", {state.num_failed} failed" if state.num_failed else "")
        rows.append([f"(was {name})" if died else number, state.host, tasks, human_bytes(state.memory), seen,
                     _what(sight, name, over)])
    if len(sight.states) > _RANKS:
        rows.append([f"and {len(sight.states) - _RANKS} more", "", "", "", "", ""])
    return rows


def _what(sight: Sight, name: int, over: bool) -> str:
    """What a rank does and whether it still does; what it did when it was heard of last."""
    state, there = sight.states[name], sight.there(name)
    if name not in sight.names:
        return "has died; the others went on"
    if state.ended or over:
        return "-"
    did = _does(sight, name, state) if there else _did(sight, name, state)
    if there:
        return did
    gone = f"process {state.pid} is gone" if sight.alive.get(name) is False else (
        f"silent; {state.host} would know of process {state.pid}")
    return f"{gone}; {did}"


def _does(sight: Sight, name: int, state: RankState) -> str:
    if state.running is not None:
        return f"runs {state.doing} for {_short(_runs_for(sight, name) or 0.0)}"
    if state.waiting:
        more = f" and {state.num_waiting - 1} more" if state.num_waiting > 1 else ""
        first = state.waiting[0]
        return f"waits for {first.name} from rank {first.source} ({first.state}){more}"
    return "idle: nothing left to run" if state.num_done + state.num_failed >= state.num_tasks else "between two tasks"


def _did(sight: Sight, name: int, state: RankState) -> str:
    if state.running is not None:
        return f"it had run {state.doing} for {_short(_runs_for(sight, name) or 0.0)}"
    return f"it waited for {state.waiting[0].name} from rank {state.waiting[0].source}" if state.waiting else "it ran nothing"


def _runs_for(sight: Sight, name: int) -> float | None:
    state = sight.states[name]
    if state.running is None:
        return None
    return max((sight.now if sight.there(name) else state.time) - state.since, 0.0)


def _names_unseen(sight: Sight) -> list[int]:
    return [name for name in sight.names if name not in sight.states]


def _unseen(sight: Sight) -> list[str]:
    """Ranks of which nothing is to be seen here; of a run that was over within a second no rank has said anything."""
    unseen = _names_unseen(sight)
    if not unseen or sight.condition in (Condition.DONE, Condition.FAILED, Condition.STOPPED):
        return []
    return [f"  rank {ranges(unseen, ',')}: cannot be seen from here; a store on disks of the nodes is read on each of them"]


def _counts(sight: Sight) -> dict[str, dict[str, int]]:
    """How many tasks of each step are in which state."""
    counts: dict[str, dict[str, int]] = {}
    for task in sight.tasks:
        states = counts.setdefault(task.step, {})
        states[task.state] = states.get(task.state, 0) + 1
    return counts


def _steps(sight: Sight, width: int | None) -> list[str]:
    """One row for each step that is not done, and how many are."""
    counts = _counts(sight)
    open_steps = {name: states for name, states in counts.items() if set(states) != {"done"}}
    rows = [["step", "done", "other tasks"]]
    for name, states in list(open_steps.items())[:_STEPS]:
        others = ", ".join(f"{num} {state}" for state, num in states.items() if state != "done")
        rows.append([name, f"{states.get('done', 0)}/{sum(states.values())}", others])
    lines = table(rows, width) if len(rows) > 1 else []
    if len(open_steps) > _STEPS:
        lines.append(f"  and {len(open_steps) - _STEPS} more steps")
    if counts:
        lines.append(f"  {len(counts) - len(open_steps)} of {count(len(counts), 'step')} done")
    return lines


def _advice(sight: Sight) -> list[str]:
    """What to do next."""
    if sight.condition in (Condition.KILLED, Condition.STOPPED):
        return ["the same command with --resume goes on from what was saved"]
    if sight.condition is Condition.SILENT and sight.states:
        return ["the run was killed, or its nodes cannot be reached; if it is over, the same command with --resume goes on"]
    failed = next((task for task in sight.tasks if task.state == "failed"), None)
    if failed is None:
        return []
    name = shlex.quote(failed.name)
    return [f"why it failed: mpiflow why {name}", f"what it printed: mpiflow log {name}"]


def _short(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else clock(seconds)

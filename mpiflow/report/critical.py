"""The critical path of a run: from its last task back to its start, along what each task waited for last. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

RAN = ("done", "failed")
_CLOCKS = 1e-3          # seconds that the clocks of two ranks may differ


def critical_path(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give the tasks that a run could not have been shorter without, in order of time.

    A task waits for its inputs, and for its rank to be free of the task before; what came last is what it waited for.

    Args:
        record: See ``mpiflow.report.record``.

    Returns:
        For each task its number ``task``; ``after``, the number of the one before, or None; ``why``: "data" if it waited for that
        one's block, "rank" if for its rank, "start" if for nothing; and ``gap``, the time between the two [s].
    """
    tasks = {task["task"]: task for task in record["tasks"] if task["state"] in RAN and task["rank"] >= 0}
    if not tasks:
        return []
    arrivals = {(block, rank): end for block, _, rank, _, end in record.get("transfers", ())}
    before = _neighbours(tasks.values())
    current = max(tasks.values(), key=lambda task: (_end(task), task["task"]))
    path, seen = [], set()
    while current is not None and current["task"] not in seen:
        seen.add(current["task"])
        previous, why = _waited_for(current, tasks, arrivals, before[current["task"]])
        gap = current["start"] - (_end(previous) if previous else 0.0)
        path.append({"task": current["task"], "after": previous and previous["task"], "why": why, "gap": max(0.0, gap)})
        current = previous
    return path[::-1]


def _waited_for(task: Mapping[str, Any], tasks: Mapping[int, Any], arrivals: Mapping[tuple[int, int], float],
                neighbour: Mapping[str, Any] | None) -> tuple[Mapping[str, Any] | None, str]:
    inputs = [tasks[number] for number in task["needs"] if number in tasks and _end(tasks[number]) <= task["start"] + _CLOCKS]
    last = max(inputs, key=lambda one: (arrivals.get((one["task"], task["rank"]), _end(one)), one["task"]), default=None)
    if last is None and neighbour is None:
        return None, "start"
    if last is None or (neighbour is not None and _end(neighbour) > arrivals.get((last["task"], task["rank"]), _end(last))):
        return neighbour, "rank"
    return last, "data"


def _neighbours(tasks: Sequence[Mapping[str, Any]]) -> dict[int, Mapping[str, Any] | None]:
    """For each task, the one that ended last on its rank before it began."""
    ranks = defaultdict(list)
    for task in sorted(tasks, key=lambda task: (_end(task), task["task"])):
        ranks[task["rank"]].append(task)
    found = {}
    for there in ranks.values():
        ends = [_end(task) for task in there]
        for task in there:
            place = bisect_right(ends, task["start"])
            earlier = [one for one in there[max(0, place - 2):place] if one is not task]
            found[task["task"]] = earlier[-1] if earlier else None
    return found


def _end(task: Mapping[str, Any]) -> float:
    return task["start"] + task["seconds"]

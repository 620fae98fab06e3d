"""The trace of a run: events in the Trace Event Format, which Perfetto and chrome://tracing show. Pure.

Each rank is a process with a row for its tasks; blocks that come to it are asynchronous slices beside them, and an arrow leads
from the task that made a block to each task on another rank that reads it. Counters: memory, and bytes received so far.

Source: Trace Event Format, Google, https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mpiflow.report.critical import RAN
from mpiflow.report.plain import finite

_LEAST = 0.001          # microseconds: the shortest slice, a nanosecond
_TASKS = 0              # the thread of each rank


def trace(record: Mapping[str, Any]) -> dict[str, Any]:
    """Give the trace of a run, ready to be written as JSON. Times are in microseconds from the first task on.

    Args:
        record: See ``mpiflow.report.record``.
    """
    events = [*_ranks(record), *_tasks(record), *_arrows(record), *_transfers(record), *_memory(record)]
    about = {"workflow": record["name"], "started": record["started"], "plan": record["plan"],
             **{f"version of {name}": text for name, text in record.get("versions", {}).items()}}
    return {"traceEvents": finite(events), "displayTimeUnit": "ms", "otherData": about}


def _ranks(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for rank, host in enumerate(record["hosts"]):
        yield _about(rank, "process_name", name=f"rank {rank} on {host}")
        yield _about(rank, "process_sort_index", sort_index=rank)
        yield _about(rank, "thread_name", name="tasks")


def _about(rank: int, what: str, **arguments: Any) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": rank, "tid": _TASKS, "args": arguments}


def _tasks(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for task in _ran(record).values():
        start, end = _span(task)
        arguments = {"task": task["task"], "id": task["id"], "operation": task["operation"], "state": task["state"],
                     "nbytes": task["nbytes"], "needs": task["needs"], **{f"with {name}": value for name, value in
                                                                          task["parameters"].items()}}
        if task["error"]:
            arguments["error"] = task["error"]
        event = {"ph": "X", "name": _name(task), "cat": task["kind"], "pid": task["rank"], "tid": _TASKS, "ts": start,
                 "dur": _round(end - start), "args": arguments}
        yield event | ({"cname": "terrible"} if task["state"] == "failed" else {})


def _arrows(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """From within the slice that made a block to within the one that reads it: the ends of an arrow belong to slices."""
    tasks, number = _ran(record), 0
    for task in tasks.values():
        for needed in task["needs"]:
            source = tasks.get(needed)
            if source is None or source["rank"] == task["rank"]:
                continue
            number += 1
            arrow = {"name": "block", "cat": "transfer", "id": number, "tid": _TASKS}
            yield arrow | {"ph": "s", "pid": source["rank"], "ts": _round(_span(source)[1] - _LEAST)}
            yield arrow | {"ph": "f", "bp": "e", "pid": task["rank"], "ts": _span(task)[0]}


def _transfers(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    tasks = {task["task"]: task for task in record["tasks"]}
    received = [0] * len(record["hosts"])
    for number, (block, source, rank, left, came) in enumerate(record.get("transfers", ())):
        task = tasks[block]
        event = {"name": f"{_name(task)} from rank {source}", "cat": "blocks", "id2": {"local": str(number)}, "pid": rank,
                 "tid": _TASKS}
        yield event | {"ph": "b", "ts": _round(left * 1e6), "args": {"task": block, "source": source, "nbytes": task["nbytes"]}}
        yield event | {"ph": "e", "ts": _round(max(left * 1e6 + _LEAST, came * 1e6))}
        received[rank] += task["nbytes"]
        yield _counter(rank, "received", came, received[rank])


def _memory(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for rank, samples in enumerate(record.get("samples", ())):
        for at, nbytes in samples:
            yield _counter(rank, "memory", at, nbytes)


def _counter(rank: int, name: str, at: float, nbytes: int) -> dict[str, Any]:
    return {"ph": "C", "name": name, "pid": rank, "tid": _TASKS, "ts": _round(at * 1e6), "args": {"bytes": nbytes}}


def _ran(record: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    return {task["task"]: task for task in record["tasks"] if task["state"] in RAN and task["rank"] >= 0}


def _name(task: Mapping[str, Any]) -> str:
    return f"{task['step']}[{task['instance']}]" if task["instance"] else task["step"]


def _span(task: Mapping[str, Any]) -> tuple[float, float]:
    start = task["start"] * 1e6
    return _round(start), _round(start + max(_LEAST, task["seconds"] * 1e6))


def _round(microseconds: float) -> float:
    return round(microseconds, 3)

"""The record of a run as JSON: what programs read."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

import mpiflow

if TYPE_CHECKING:
    from mpiflow.peer.outcome import Outcome


def record(outcome: Outcome) -> dict[str, Any]:
    """Give everything that is known at the end of a run as plain values.

    Times are in seconds, sizes in bytes; ``started`` is the time of day; ``columns`` of a task are the sizes of the arrays
    that it made, a plain one without a name; ``moved`` lists [source rank, destination rank, blocks, bytes]; ``rounds`` are the
    times of day at which tasks began to run, at first and again after each death of a rank; ``reasons`` say of each step why
    it has something to run, or that it is kept, if the run took from earlier work; ``source`` says what was run, by which
    code, and where results went; ``file`` of a task that loads is where from.
    """
    catalog, plan = outcome.catalog, outcome.plan
    tasks = [
        {"task": number, "id": task.id, "kind": str(task.kind), "step": task.step, "instance": task.instance,
         "operation": task.operation,
         "needs": list(task.needs), "planned_rank": plan.ranks[number], "rank": entry.rank, "state": entry.state.name.lower(),
         "start": entry.start, "seconds": entry.seconds, "nbytes": entry.nbytes, "error": entry.error,
         "parameters": dict(task.parameters), "columns": {name: _nbytes(dtype, shape) for name, dtype, shape in entry.form},
         "file": task.block.file if task.block else ""}
        for number, (task, entry) in enumerate(zip(plan.graph.tasks, catalog.tasks, strict=True))]
    moved = [[source, *link] for source, traffic in enumerate(catalog.traffic) for link in traffic.sent]
    started = datetime.now(UTC) - timedelta(seconds=outcome.seconds)
    return {
        "name": outcome.workflow.document.name, "source": _source(outcome),
        "started": started.isoformat(timespec="microseconds"),
        "status": outcome.status, "hosts": list(outcome.hosts), "seconds": outcome.seconds,
        "preparation": outcome.preparation, "warnings": list(outcome.warnings),
        "rounds": [datetime.fromtimestamp(start, UTC).isoformat(timespec="microseconds") for start in outcome.starts],
        "predicted_seconds": plan.seconds, "predicted_bytes": plan.nbytes, "plan": plan.digest,
        "num_plans": outcome.num_plans, "spilled": outcome.spilled, "read_again": outcome.again,
        "peak_memory": list(outcome.peaks),
        "machine": {"latency": list(outcome.machine.latency), "bandwidth": list(outcome.machine.bandwidth)},
        "catalog": f"{catalog.digest:016x}", "epochs": catalog.version,
        "stopped_by": list(outcome.stopped_by),
        "reasons": dict(outcome.spared.reasons) if outcome.spared else {},
        "tasks": tasks, "moved": moved,
        "datasets": {entry.name: {"id": entry.id, "tasks": list(entry.tasks), "unit": entry.unit, "tags": list(entry.tags)}
                     for entry in plan.graph.datasets.values()}}


def _source(outcome: Outcome) -> dict[str, Any]:
    workflow, request, registry = outcome.workflow, outcome.request, outcome.registry
    called = sorted({task.operation for task in outcome.plan.graph.tasks if task.operation})
    operations = {key: {"name": registry[key].name, "code": registry[key].code,
                        "doc": (getattr(registry[key].function, "__doc__", "") or "").strip().partition("\n")[0],
                        "program": getattr(registry[key], "file", "")} for key in called}
    return {"file": str(request.file.absolute()), "digest": workflow.digest, "overrides": dict(request.overrides),
            "parameters": dict(workflow.document.params), "operations": operations, "results": dict(workflow.document.results),
            "folder": str(request.results.absolute()), "version": mpiflow.__version__}


def _nbytes(dtype: str, shape: tuple[int, ...]) -> int:
    return np.dtype(dtype).itemsize * math.prod(shape)

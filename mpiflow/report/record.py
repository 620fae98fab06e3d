"""The record of a run as JSON: what programs read."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from functools import lru_cache
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
    it has something to run, or that it is kept, if the run took from earlier work. ``storage.runs.Record`` says what each means.
    """
    catalog, plan, expected = outcome.catalog, outcome.plan, outcome.plan.estimates
    tasks = [
        {"task": number, "id": task.id, "kind": str(task.kind), "step": task.step, "instance": task.instance,
         "operation": task.operation,
         "needs": list(task.needs), "planned_rank": plan.ranks[number], "planned_start": plan.starts[number],
         "planned_seconds": expected.seconds[number], "planned_nbytes": expected.nbytes[number],
         "rank": entry.rank, "state": entry.state.name.lower(),
         "start": entry.start, "seconds": entry.seconds, "nbytes": entry.nbytes, "error": entry.error,
         "parameters": dict(task.parameters), "columns": {name: _nbytes(dtype, shape) for name, dtype, shape in entry.form}}
        for number, (task, entry) in enumerate(zip(plan.graph.tasks, catalog.tasks, strict=True))]
    moved = [[source, *link] for source, traffic in enumerate(catalog.traffic) for link in traffic.sent]
    started = datetime.now(UTC) - timedelta(seconds=outcome.seconds)
    return {
        "name": outcome.workflow.document.name, "started": started.isoformat(timespec="microseconds"),
        "run": outcome.run, "mpiflow": mpiflow.__version__, "document": str(outcome.request.file),
        "results": str(outcome.request.results.absolute()), "names": list(outcome.names),
        "status": outcome.status, "hosts": list(outcome.hosts), "seconds": outcome.seconds,
        "preparation": outcome.preparation, "warnings": list(outcome.warnings),
        "rounds": [datetime.fromtimestamp(start, UTC).isoformat(timespec="microseconds") for start in outcome.starts],
        "predicted_seconds": plan.seconds, "predicted_bytes": plan.nbytes, "plan": plan.digest,
        "num_plans": outcome.num_plans, "spilled": outcome.spilled, "read_again": outcome.again,
        "peak_memory": list(outcome.peaks), "memory": list(catalog.memory),
        "machine": {"latency": list(outcome.machine.latency), "bandwidth": list(outcome.machine.bandwidth)},
        "catalog": f"{catalog.digest:016x}", "epochs": catalog.version,
        "stopped_by": list(outcome.stopped_by),
        "reasons": dict(outcome.spared.reasons) if outcome.spared else {},
        "tasks": tasks, "moved": moved,
        "datasets": {entry.name: {"id": entry.id, "tasks": list(entry.tasks), "unit": entry.unit, "tags": list(entry.tags)}
                     for entry in plan.graph.datasets.values()}}


@lru_cache(4096)
def _nbytes(dtype: str, shape: tuple[int, ...]) -> int:
    return np.dtype(dtype).itemsize * math.prod(shape)

"""The record of a run as JSON: what programs read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpiflow.peer.run import Outcome


def record(outcome: Outcome) -> dict[str, Any]:
    """Give everything that is known at the end of a run as plain values.

    Times are in seconds, sizes in bytes; ``moved`` lists [source rank, destination rank, blocks, bytes].
    """
    catalog, plan = outcome.catalog, outcome.plan
    tasks = [
        {"task": number, "id": task.id, "kind": str(task.kind), "step": task.step, "operation": task.operation,
         "needs": list(task.needs), "planned_rank": plan.ranks[number], "rank": entry.rank, "state": entry.state.name.lower(),
         "start": entry.start, "seconds": entry.seconds, "nbytes": entry.nbytes, "error": entry.error}
        for number, (task, entry) in enumerate(zip(plan.graph.tasks, catalog.tasks, strict=True))]
    moved = [[source, *link] for source, traffic in enumerate(catalog.traffic) for link in traffic.sent]
    return {
        "name": outcome.workflow.document.name, "status": outcome.status, "hosts": list(outcome.hosts),
        "seconds": outcome.seconds, "preparation": outcome.preparation, "predicted_seconds": plan.seconds,
        "predicted_bytes": plan.nbytes, "plan": plan.digest, "catalog": f"{catalog.digest:016x}", "epochs": catalog.version,
        "tasks": tasks, "moved": moved,
        "datasets": {entry.name: {"id": entry.id, "tasks": list(entry.tasks), "unit": entry.unit, "tags": list(entry.tags)}
                     for entry in plan.graph.datasets.values()}}

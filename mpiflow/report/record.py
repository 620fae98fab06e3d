"""The record of a run: what programs read. ``storage.runs`` says what is in it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

import mpiflow
from mpiflow.catalog.entries import Form, Noted
from mpiflow.catalog.states import State
from mpiflow.report.origin import origin
from mpiflow.storage.accounts import DatasetRecord, MachineRecord, Record, TaskRecord

if TYPE_CHECKING:
    from mpiflow.peer.outcome import Outcome

CLOCKS = 1.0            # seconds that ranks may begin apart
_STATES = {state: state.name.lower() for state in State}


def record(outcome: Outcome) -> dict[str, Any]:
    """Give everything that is known at the end of a run as plain values."""
    return msgspec.to_builtins(known(outcome))


def known(outcome: Outcome, over: bool = True) -> Record:
    """Give everything that is known of a run.

    Args:
        outcome: What is known.
        over: Whether the run has come to its end.
    """
    catalog, plan, late = outcome.catalog, outcome.plan, _late(outcome.noted)
    started = datetime.now(UTC) - timedelta(seconds=outcome.seconds)
    return Record(
        name=outcome.workflow.document.name, started=_iso(started), run=outcome.run, mpiflow=mpiflow.__version__,
        document=str(outcome.request.file), results=str(outcome.request.results.absolute()),
        status=outcome.status if over else None, hosts=outcome.hosts, names=outcome.names, seconds=outcome.seconds,
        preparation=outcome.preparation, warnings=outcome.warnings,
        rounds=tuple([_iso(datetime.fromtimestamp(start, UTC)) for start in outcome.starts]),
        predicted_seconds=plan.seconds, predicted_bytes=plan.nbytes, plan=plan.digest, num_plans=outcome.num_plans,
        spilled=outcome.spilled, read_again=outcome.again, scratch=outcome.scratch, peak_memory=outcome.peaks,
        memory=tuple(catalog.memory),
        machine=MachineRecord(outcome.machine.latency, outcome.machine.bandwidth), catalog=f"{catalog.digest:016x}",
        epochs=catalog.version, stopped_by=outcome.stopped_by, reasons=dict(outcome.spared.reasons) if outcome.spared else {},
        turns=outcome.turns,
        tasks=tuple(_tasks(outcome, late)),
        moved=tuple([(source, *link) for source, traffic in enumerate(catalog.traffic) for link in traffic.sent]),
        datasets={entry.name: DatasetRecord(entry.id, entry.tasks, entry.unit, entry.tags)
                  for entry in plan.graph.datasets.values()},
        planned_moved=tuple([(*edge, *carried) for edge, carried in plan.links.items()]),
        transfers=_transfers(outcome.noted, late),
        samples=tuple([tuple([(at + late[rank], nbytes) for at, nbytes in noted.memory])
                       for rank, noted in enumerate(outcome.noted)]),
        source=_source(outcome), **(origin(outcome) if over else {}))


def _tasks(outcome: Outcome, late: Mapping[int, float]) -> Iterator[TaskRecord]:
    """Each task; there may be many, and the run may have been short."""
    plan, graph = outcome.plan, outcome.plan.graph
    columns = (graph.tasks, outcome.catalog.tasks, graph.needs, plan.ranks, plan.starts, *plan.estimates)
    for task, entry, needs, rank, start, seconds, nbytes in zip(*columns, strict=True):
        yield TaskRecord(
            entry.task, task.id, task.kind, task.step, task.instance, task.operation, needs, rank, start, seconds, nbytes,
            entry.rank, _STATES[entry.state], entry.start + late.get(entry.rank, 0.0), entry.seconds, entry.nbytes,
            entry.error, dict(task.parameters), _sizes(entry.form), task.block.file if task.block else "")


def _late(noted: Sequence[Noted]) -> dict[int, float]:
    """How much later than the first one each rank has begun, from which its times count [s]; 0 if its clock cannot be right."""
    first = min((one.began for one in noted if one.began), default=0.0)
    return {rank: one.began - first if one.began and one.began - first <= CLOCKS else 0.0 for rank, one in enumerate(noted)}


def _transfers(noted: Sequence[Noted], late: Mapping[int, float]) -> tuple[tuple[int, int, int, float, float], ...]:
    """What two ranks have noted of each block, put together; in order of arrival."""
    left = {(task, rank): (source, at + late[source]) for source, one in enumerate(noted) for task, rank, at in one.left}
    came = [(at + late[rank], task, rank, *left[task, rank]) for rank, one in enumerate(noted) for task, at in one.arrived
            if (task, rank) in left]
    return tuple([(task, source, rank, start, max(start, end)) for end, task, rank, source, start in sorted(came)])


@lru_cache(1024)
def _sizes(form: Form) -> dict[str, int]:
    """Size of each column [bytes]; of many tasks it is the same."""
    return {name: np.dtype(dtype).itemsize * math.prod(shape) for name, dtype, shape in form}


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="microseconds")


def _source(outcome: Outcome) -> dict[str, Any]:
    workflow, request, registry = outcome.workflow, outcome.request, outcome.registry
    called = sorted({task.operation for task in outcome.plan.graph.tasks if task.operation in registry})
    operations = {key: {"name": registry[key].name, "code": registry[key].code,
                        "doc": (getattr(registry[key].function, "__doc__", "") or "").strip().partition("\n")[0],
                        "program": getattr(registry[key], "file", "")} for key in called}
    return {"file": str(request.file.absolute()), "digest": workflow.digest, "overrides": dict(request.overrides),
            "parameters": dict(workflow.document.params), "operations": operations, "results": workflow.document.files,
            "folder": str(request.results.absolute()), "version": mpiflow.__version__}

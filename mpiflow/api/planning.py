"""Plans and checks of workflows for Python programs; no MPI here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from mpiflow.catalog.catalog import merge_sources
from mpiflow.errors import DocumentError, LaunchError, Problem, did_you_mean
from mpiflow.peer.reading import Local, Written, read
from mpiflow.peer.samples import try_declarations
from mpiflow.planning.forecast import Forecast, forecast
from mpiflow.planning.history import concerning, expectations
from mpiflow.planning.lowering import lower
from mpiflow.planning.machine import BANDWIDTH, LATENCY, Machine
from mpiflow.planning.sources import source_blocks
from mpiflow.planning.tasks import TaskGraph
from mpiflow.report.inline import plan_html, text_html
from mpiflow.report.planned import as_json, explanation, text
from mpiflow.storage.history import read_history


class Given(NamedTuple):
    """What a run or a plan is made of.

    Attributes:
        file: The document; if there is a text instead, where its paths start.
        overrides: Values of parameters, as YAML text.
        written: The document and the operations that live in the program.
        unknown: What live operations read of which nobody can tell whether it has changed.
    """

    file: Path
    overrides: dict[str, str]
    written: Written | None
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What would run where; ``print`` shows it, and a notebook draws it.

    Attributes:
        forecast: The plan itself with what would come of it; for other parts of mpiflow.
    """

    forecast: Forecast = field(repr=False)

    @property
    def ranks(self) -> int:
        """Number of ranks."""
        return self.forecast.machine.size

    @property
    def seconds(self) -> float:
        """Predicted time from the first task to the last [s]."""
        return self.forecast.simulation.seconds

    @property
    def bound(self) -> float:
        """What no plan can beat [s]."""
        return self.forecast.bounds.seconds

    @property
    def gap(self) -> float:
        """How much longer than that it takes, in percent of it."""
        return self.forecast.gap

    @property
    def nbytes(self) -> int:
        """What moves between ranks [bytes]."""
        return self.forecast.plan.nbytes

    @property
    def links(self) -> dict[tuple[int, int], tuple[int, int]]:
        """What moves over each link: (source, destination) to (blocks, bytes)."""
        return dict(self.forecast.plan.links)

    @property
    def memory(self) -> tuple[int, ...]:
        """What blocks take on each rank at most [bytes]."""
        return tuple(self.forecast.simulation.memory)

    @property
    def digest(self) -> str:
        """Hash of the plan; the same on every rank of a run that follows it."""
        return self.forecast.plan.digest

    @cached_property
    def placement(self) -> dict[str, tuple[int, ...]]:
        """Step, or dataset, to the ranks on which its tasks run, in order of the tasks."""
        found: dict[str, list[int]] = {}
        for task, rank in zip(self.forecast.plan.graph.tasks, self.forecast.plan.ranks, strict=True):
            found.setdefault(task.step, []).append(rank)
        return {step: tuple(ranks) for step, ranks in found.items()}

    @cached_property
    def tasks(self) -> list[dict[str, Any]]:
        """Each task as plain values: step, kind, rank, start [s], seconds [s], nbytes [bytes], needs, reason and so on."""
        return json.loads(as_json(self.forecast))["tasks"]

    def explain(self, step: str) -> str:
        """Say which ranks were weighed for each task of a step, and what they would cost.

        Raises:
            LaunchError: There is no such step.
        """
        names = {*self.placement, *self.forecast.plan.graph.datasets}
        if step not in names:
            raise LaunchError(f"the workflow has no step {step!r}" + did_you_mean(step, names))
        return explanation(self.forecast, step)

    def __str__(self) -> str:
        return text(self.forecast)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return plan_html(self.forecast, str(self))


@dataclass(frozen=True)
class Checked:
    """A workflow without mistakes.

    Attributes:
        num_datasets, num_steps, num_tasks: How much of it there is.
        tried: Operations whose declarations held on a sample of the data, and which these are.
        untried: Operations that could not be tried, and why.
        notes: What is not wrong, but could be better.
    """

    num_datasets: int
    num_steps: int
    num_tasks: int
    tried: Mapping[str, Sequence[str]] = field(default_factory=dict)
    untried: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        return "\n".join([*(f"tried on a sample: {name} ({', '.join(what)})" for name, what in self.tried.items()),
                          *(f"not tried: {name}: {why}" for name, why in self.untried.items()),
                          *(f"note: {note}" for note in self.notes),
                          f"right: {self.num_datasets} datasets, {self.num_steps} steps, {self.num_tasks} tasks"])

    def _repr_html_(self) -> str:
        return text_html(str(self))


def compiled(given: Given, size: int | None) -> tuple[Local, TaskGraph]:
    """Read and compile a workflow as ``size`` ranks would: a file that is seen here is seen by all. Local.

    Without a size there are as many ranks as its largest parallel operation needs.

    Raises:
        DocumentError: With every problem found.
    """
    local = read(given.file, given.overrides, rank=0, written=given.written)
    if size is None:
        steps = local.workflow.document.steps.values() if local.workflow else ()
        needed = [step.ranks for step in steps if not isinstance(step, str)]
        size = max((num for num in needed if isinstance(num, int)), default=1)
    everyone = tuple(range(size))
    sources = merge_sources([msgspec.structs.replace(entry, holders=everyone) for entry in local.sources])
    if local.complaints:
        complaints = [Problem(c.file, c.line, c.column, c.message) for c in local.complaints]
        raise DocumentError([*complaints, *local.problems(local.complaints, sources)])
    return local, lower(local.workflow, local.registry, sources, size)


def checked(given: Given, samples: bool) -> Checked:
    """Look for mistakes; see ``Workflow.check``. Local."""
    local, graph = compiled(given, None)
    workflow = local.workflow
    document = workflow.document
    size = len(document.datasets), len(document.steps), len(graph.tasks)
    if not samples:
        return Checked(*size)
    blocks = source_blocks(workflow, document.datasets, local.sources)
    tried = try_declarations(workflow, local.registry, blocks, graph.datasets)
    workflow.finish()
    return Checked(*size, tried.held, tried.untried, tried.notes)


def planned(given: Given, ranks: int, ranks_per_node: int | None, memory: int | None, latency: tuple[float, float] | None,
            bandwidth: tuple[float, float] | None, store: Path) -> Plan:
    """Plan for a machine that need not be here; see ``Workflow.plan``. Local."""
    for name, number in (("ranks", ranks), ("ranks_per_node", ranks_per_node or 1)):
        if number < 1:
            raise LaunchError(f"{name} must be 1 or more, not {number}")
    local, graph = compiled(given, ranks)
    history, links = read_history(store)
    expected = expectations(graph, local.registry, concerning(history, local.registry)) or (None, None)
    seen = links or (LATENCY, BANDWIDTH)
    per_node = ranks_per_node or ranks
    machine = Machine(tuple(rank // per_node for rank in range(ranks)), latency or seen[0], bandwidth or seen[1],
                      None if memory is None else (memory,) * ranks)
    return Plan(forecast(graph, machine, local.workflow.document.name, *expected))

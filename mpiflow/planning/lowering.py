"""From a workflow to tasks: its steps in order, once, in each instance of a loop or in each turn, if they are to run at all.

What a step computes is asked of ``evaluation``. Operations become tasks in ``applying``, what is asked twice is computed once by
``construction``, and ``staging`` adds what brings in datasets and writes results.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import networkx as nx
from msgspec.structs import replace

from mpiflow.catalog.entries import SourceEntry
from mpiflow.operations.registry import Registry
from mpiflow.planning.blocks import Blocks, joined
from mpiflow.planning.checks import check
from mpiflow.planning.conditions import Conditions, Named, in_order
from mpiflow.planning.construction import Construction
from mpiflow.planning.evaluation import Evaluation
from mpiflow.planning.guards import Guard
from mpiflow.planning.instances import Instances
from mpiflow.planning.staging import check_kept, load, write_results
from mpiflow.planning.tasks import TaskGraph
from mpiflow.planning.teams import pin
from mpiflow.workflow.expressions import Expression
from mpiflow.workflow.filters import FilterError
from mpiflow.workflow.loops import Loop, Row
from mpiflow.workflow.reading import Workflow
from mpiflow.workflow.repeating import Repetition, is_plain, settled


def lower(workflow: Workflow, registry: Registry, sources: Sequence[SourceEntry], size: int, *,
          recovering: bool = False, writers: tuple[int, ...] | None = None, wanted: Collection[str] = ()) -> TaskGraph:
    """Make the tasks of ``workflow``. Pure.

    Args:
        workflow: What the user wrote.
        registry: The operations that it may name.
        sources: The files of its datasets and who sees them, as all ranks know them.
        size: Number of ranks.
        recovering: Whether ranks have died: a dataset goes where it can, and what nobody sees any more is GONE.
        writers: The ranks that may write results; None if all may.
        wanted: Datasets that are loaded even if no step reads them.

    Raises:
        DocumentError: With every problem found: those noted in ``workflow`` already, unknown operations, wrong
            arguments, files that nobody sees.
    """
    blocks, units = check(workflow, registry, sources, size)
    workflow.finish()
    skips = frozenset(step for step, policy in workflow.policies.items() if policy.skips)
    construction = Construction(registry, lambda message: workflow.fail(("steps", construction.step), message), skips)
    graph, steps = construction.graph, _Steps(workflow, construction, units, sources, size)
    for name in steps.order(workflow.graph):
        if name in workflow.document.steps or name in steps.groups:
            steps.add(name)
        elif workflow.graph.out_degree(name) or name in workflow.document.results or name in wanted:    # else nobody reads it
            dataset = workflow.document.datasets[name]
            made = load(construction, workflow, name, blocks[name], size, recovering)
            steps.name(name, "dataset", made, dataset.unit or blocks[name][0].unit, dataset.tags, dataset.replicas)
    write_results(construction, workflow, writers)
    check_kept(workflow, graph.tasks)
    workflow.finish()
    pin(graph, size)
    return graph


class _Steps:
    """Adds the tasks of steps to a graph under construction."""

    def __init__(self, workflow: Workflow, construction: Construction, units: Mapping[str, str], sources: Sequence[SourceEntry],
                 size: int) -> None:
        self._workflow, self._whole = workflow, workflow.whole
        self._units = units
        self._construction, self._graph, self._guards = construction, construction.graph, construction.guards
        self._conditions = Conditions(
            construction, lambda message, key=False: workflow.fail(("steps", self._evaluation.name), message, key=key))
        self._evaluation = Evaluation(workflow, construction, self._conditions, sources, size)
        self._named = self._evaluation.named
        self.groups = {name: found for name, found in self._whole.repeats.items() if found.again is None}   # those of documents
        self._orders: dict[str, list[str]] = {}             # of their steps
        self._gates: dict[tuple[str, str], int] = {}        # of steps that are documents, by turn
        self._turn = ""                                     # turns of the documents around it

    def order(self, graph: nx.DiGraph, inside: str = "") -> list[str]:
        """Order names, or those of a document that is repeated; the steps of such a document stand under its name."""
        groups = {name: found.members for name, found in self.groups.items() if not inside or name.startswith(inside + ".")}
        try:
            return in_order(graph, groups)
        except ValueError as error:
            self._workflow.fail(("steps", str(error)), "what is repeated cannot be given what depends on its own results",
                                key=True)
            self._workflow.finish()
            raise

    def add(self, name: str) -> None:
        """Add the tasks of a step, or those of a document that is repeated."""
        if name in self.groups:
            self._group(name, self.groups[name])
            return
        loop, expression = self._workflow.loops.get(name), self._workflow.expressions[name]
        self._guards.in_force = self._around(name)
        self._evaluation.enter(name, self._turn)
        self._name_step(name, self._loop(name, loop, expression) if loop else self._made(expression))
        self._guards.in_force = None

    def _name_step(self, name: str, blocks: Blocks) -> None:
        step = self._workflow.document.steps[name]
        tags, replicas = ((), 1) if isinstance(step, str) else (step.tags, step.replicas)
        self.name(name, "step", blocks, self._units.get(name), tags, replicas)

    def name(self, name: str, made_by: str, blocks: Blocks, unit: str | None, tags: Sequence[str], replicas: int) -> None:
        """Let a name stand for ``blocks``, which so many ranks shall hold."""
        self._named[name] = blocks
        tasks = self._graph.tasks
        for number in blocks.tasks if replicas > 1 else ():     # of several names for one block the most careful counts
            tasks[number] = replace(tasks[number], replicas=max(replicas, tasks[number].replicas))
        if name not in self._whole.groups:                  # what an instance has is a part of what all of them have
            self._graph.datasets[name] = self._construction.entry(name, made_by, blocks, unit or "", tags)

    def _loop(self, name: str, loop: Loop, expression: Expression) -> Blocks:
        """Evaluate ``expression`` for each instance; the blocks of all, in order, are those of the step."""
        rows = self._evaluation.instances(loop, expression)
        found = self._evaluation.at_once(loop, rows, expression) or [self._instance(loop, row, expression) for row in rows]
        self._graph.instances[name] = Instances(loop.variables, rows, found)
        self._conditions.join(found)
        return joined(found)

    def _instance(self, loop: Loop, row: Row, expression: Expression) -> Blocks:
        self._evaluation.at(loop.variables, row)
        return self._made(expression)

    # Conditions

    def _around(self, name: str) -> Guard | None:
        """The guard of the document around a step, if it has one."""
        key = self._whole.guards.get(name)
        if key is None:
            return None
        if (key, self._turn) not in self._gates:
            self._guards.in_force = self._around(key)
            self._evaluation.enter(key, self._turn)
            self._gates[key, self._turn] = self._gate(key)
            self._guards.within((self._gates[key, self._turn], True))       # it depends on that of the document around that
        return self._gates[key, self._turn], True

    def _gate(self, key: str) -> int:
        """The task that finds out whether a step shall run."""
        condition = self._whole.conditions[key]
        if not is_plain(condition):
            return self._conditions.gate(self._evaluation.evaluate(condition), "when")
        try:
            return self._conditions.settled(settled(condition, self._evaluation.values).value, "when")
        except FilterError as error:
            self._workflow.fail_at(key, condition, f"{error} (at {self._construction.instance})")
            self._workflow.finish()
            raise

    def _made(self, expression: Expression) -> Blocks:
        """Evaluate what the current step, or an instance of it, computes: if it is to run, and as often as it is to."""
        name, around = self._evaluation.name, self._guards.in_force
        if name in self._whole.conditions:
            around = self._guards.within((self._gate(name), True))
        if name in self._whole.repeats:
            blocks = self._repeatedly(name, self._whole.repeats[name], expression)
        else:
            blocks = self._evaluation.evaluate(expression)
        blocks = self._conditions.guarded(blocks)
        self._guards.in_force = around
        return blocks

    # Turns

    def _repeatedly(self, name: str, repetition: Repetition, first: Expression) -> Blocks:
        """Add the turns of a step, or of an instance of it; ``first`` is what the first turn computes."""
        construction, evaluation = self._construction, self._evaluation
        instance = construction.instance

        def turn(number: int, fed: Named | None) -> Named:
            construction.instance = _nested(instance, f"turn={number}")
            evaluation.fed = fed or {}
            self._named[name] = evaluation.evaluate(first if fed is None else repetition.again)
            return {name: self._named[name]}

        made, ends = self._conditions.turns(self._shown(), repetition, None, turn, evaluation.evaluate)
        construction.instance = instance
        return self._conditions.last(name, made[name], [end[name] for end in ends])

    def _group(self, key: str, repetition: Repetition) -> None:
        """Add the turns of a document."""
        guard = self._around(next(iter(repetition.members), key) if key in self._whole.conditions else key)
        order = self._orders.setdefault(key, []) or self.order(self._workflow.graph.subgraph(repetition.members), key)
        self._orders[key], outer, entries = order, self._turn, {}
        first = {name: self._named[f"{key}.{name}"] for name in repetition.feed}
        inside, results = set(repetition.members), {name.removesuffix(".*") for name in self._workflow.document.results}
        read = [name for name in repetition.outputs
                if name in results or not inside.issuperset(self._workflow.graph.successors(name))]

        def turn(number: int, fed: Named | None) -> Named:
            self._named.update({f"{key}.{name}": blocks for name, blocks in (fed or {}).items()})
            self._turn = _nested(outer, f"turn={number}")
            for name in order:
                self.add(name)
                if name in self._graph.datasets:
                    entries.setdefault(name, self._graph.datasets[name])
            self._evaluation.enter(key, self._turn)
            self._guards.in_force = guard
            return {name: self._named[name] for name in read}

        self._evaluation.enter(key, self._turn)
        self._guards.in_force = guard
        made, ends = self._conditions.turns(self._shown(), repetition, first, turn, self._evaluation.evaluate)
        self._turn = outer
        self._graph.datasets.update(entries)                # what stays inside is shown as it is after the first turn
        self._named.update({f"{key}.{name}": blocks for name, blocks in first.items()})
        for name, blocks in made.items():
            self._evaluation.enter(name, self._turn)
            last = self._conditions.last(name, blocks, [end[name] for end in ends])
            self._name_step(name, last)
            self._cut_instances(name, last)
        self._guards.in_force = None

    def _shown(self) -> str:
        step, instance = self._construction.step, self._construction.instance
        return f"{step}[{instance}]" if instance else step

    def _cut_instances(self, name: str, blocks: Blocks) -> None:
        """The instances of a step inside are parts of what is there of all turns."""
        if name not in self._graph.instances:
            return
        found, start, parts = self._graph.instances[name], 0, []
        for part in found.blocks:
            parts.append(Blocks(blocks.tasks[start:start + len(part.tasks)], part.starts))
            start += len(part.tasks)
        self._graph.instances[name] = Instances(found.variables, found.rows, parts)


def _nested(outer: str, inner: str) -> str:
    """Give the name of an instance or a turn inside another one."""
    return f"{outer},{inner}" if outer else inner

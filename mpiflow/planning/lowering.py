"""From a workflow to tasks: linear operations are split, and what is asked twice is computed once.

The split *defines* the value of a linear operation, wherever its tasks run::

    f(a + b)         = combine(f(a), f(b))
    f(a)             = combine over the blocks of a, along a binary tree over their numbers
    f(a + g(b + c))  = combine(f(a), f(g(b)), f(g(c)))      if g is combined by adding and not finished
    f(a + 1)         = f(add(a, 1)), split over blocks only: a number is no summand

An operation with a halo runs on each block and the rows around it, one on pairs on each two blocks; see ``neighbours``.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Collection, Mapping, Sequence
from operator import itemgetter
from pathlib import PurePath
from typing import Any

import networkx as nx
from msgspec.structs import replace

from mpiflow.catalog.catalog import DatasetEntry
from mpiflow.catalog.entries import SourceEntry
from mpiflow.errors import InternalError
from mpiflow.operations.operation import Operation
from mpiflow.operations.registry import BUILTIN, Registry
from mpiflow.planning.blocks import Arguments, Blocks, added, fixed_parts, joined, split
from mpiflow.planning.checks import check, numbers
from mpiflow.planning.conditions import Conditions, Named, in_order
from mpiflow.planning.estimates import BYTES_PER_SECOND, SECONDS_PER_TASK, Estimates, Expected
from mpiflow.planning.forms import array_form
from mpiflow.planning.holders import HOLDERS, Holders, Members
from mpiflow.planning.instances import Instances, distinct, files_of, found_instances, mentions
from mpiflow.planning.neighbours import Neighbours, told
from mpiflow.planning.parts import part_file
from mpiflow.planning.sources import SourceBlock
from mpiflow.planning.tasks import Block, Input, Kind, Part, Task, TaskGraph, recipe_id
from mpiflow.planning.teams import pin, shares
from mpiflow.workflow.expressions import (
    PLAIN,
    Call,
    Chosen,
    Collected,
    Column,
    Expression,
    Fed,
    Item,
    Ref,
    Spread,
    Sum,
    Variable,
)
from mpiflow.workflow.filters import FilterError
from mpiflow.workflow.loops import Loop, Row, label
from mpiflow.workflow.programs import kept_files
from mpiflow.workflow.reading import Workflow
from mpiflow.workflow.repeating import Repetition, is_plain, settled
from mpiflow.workflow.sweeps import loop_of


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
    lowering = _Lowering(workflow, registry, units, size, recovering, sources)
    for name in lowering.order(workflow.graph):
        if name in workflow.document.steps or name in lowering.groups:
            lowering.step_or_group(name)
        elif workflow.graph.out_degree(name) or name in workflow.document.results or name in wanted:    # else nobody reads it
            lowering.load(name, blocks[name])
    lowering.write_results(writers)
    lowering.check_kept()
    workflow.finish()
    pin(lowering.graph, size)
    return lowering.graph


class _Lowering:
    """The graph under construction; tasks with the same recipe are one task."""

    def __init__(self, workflow: Workflow, registry: Registry, units: Mapping[str, str], size: int, recovering: bool,
                 sources: Sequence[SourceEntry]) -> None:
        self.workflow = workflow
        self.registry = registry
        self.units = units          # of steps
        self.size = size
        self.recovering = recovering
        self.graph = TaskGraph()
        self.numbers: dict[str, int] = {}
        self.named: dict[str, Blocks] = {}
        self.current = ""                                   # the step that tasks belong to
        self.name = ""                                      # the same, as the workflow names it
        self.outer = ""                                     # the instance of loops around it
        self.estimates = Estimates(self.graph.tasks, lambda message: workflow.fail(("steps", self.current), message))
        self.neighbours = Neighbours(self.graph, self._add, self._apply,
                                     lambda message: workflow.fail(("steps", self.current), message))
        self.holders = Holders(self.graph, size)
        self.sources = sources
        self.instances = self.graph.instances
        whole = workflow.whole
        self.groups = {name: found for name, found in whole.repeats.items() if found.again is None}     # those of documents
        self.orders: dict[str, list[str]] = {}              # of their steps
        self.gates: dict[tuple[str, str], int] = {}         # of steps that are documents, by turn
        self.turn = ""                                      # turns of the documents around it
        self.fed: Mapping[str, Blocks] = {}                 # what a turn of the current step is fed
        policies = workflow.policies
        self.conditions = Conditions(
            self.graph, self.estimates, self._add, lambda message: workflow.fail(("steps", self.name), message),
            lambda step: step in policies and policies[step].skips)
        self.conditional = bool(whole.asides) or any(policy.skips for policy in policies.values())
        # Of the loop of the current step: the values of its variables, the datasets and the files that they stand for, the
        # name of the instance, and by id what is the same for all instances. Empty without a loop.
        self.values: dict[str, Any] = {}
        self.items: dict[str, tuple[str, Blocks]] = {}
        self.files: dict[str, dict[str, SourceEntry]] = {}
        self.label = ""
        self.fixed: dict[int, Blocks | None] = {}
        self.sums: dict[int, Expression] = {}
        self.bound: dict[int, Arguments] = {}

    # Names

    def load(self, name: str, blocks: Sequence[SourceBlock]) -> None:
        dataset = self.workflow.document.datasets[name]
        pinned = None if dataset.rank is None else (dataset.rank % self.size,)
        self.current, self.label = self.workflow.whole.groups.get(name, (name, ""))
        tasks, starts = [], [0]
        for block in blocks:
            expected = Expected(block.nbytes, SECONDS_PER_TASK + block.nbytes / BYTES_PER_SECOND,
                                array_form(block.dtype, block.shape))
            rows = block.stop - block.start
            tasks.append(self._add(
                Kind.LOAD, "", (), (), expected, recipe=(block.recipe, block.start, block.stop), rows=rows,
                block=Block(name, block.start, block.stop, block.file, block.stamp),
                ranks=self._loaders(name, pinned, block)))
            if block.holders == ():
                self.graph.tasks[tasks[-1]] = replace(self.graph.tasks[tasks[-1]], kind=Kind.GONE)
            starts.append(starts[-1] + rows)
        made = Blocks(tuple(tasks), tuple(starts))
        self._name(name, "dataset", made, dataset.unit or blocks[0].unit, dataset.tags, dataset.replicas)

    def _loaders(self, name: str, pinned: tuple[int, ...] | None, block: SourceBlock) -> tuple[int, ...] | None:
        """The ranks that can load a block: the one that the user chose, if it sees the file, or all that see it."""
        if block.holders == () or (self.recovering and pinned and block.holders and pinned[0] not in block.holders):
            pinned = None
        elif pinned and block.holders is not None and pinned[0] not in block.holders:
            self.workflow.fail(("datasets", name, "rank"), f"rank {pinned[0]} does not see {block.file}; "
                               f"ranks {', '.join(map(str, block.holders))} do")
        ranks = pinned or block.holders or None
        return None if ranks is not None and len(ranks) == self.size else ranks

    def step_or_group(self, name: str) -> None:
        """Add the tasks of a step, or those of a document that is repeated."""
        if name in self.groups:
            self._group(name, self.groups[name])
        else:
            self._step(name)

    def _step(self, name: str) -> None:
        loop, expression = self.workflow.loops.get(name), self.workflow.expressions[name]
        self.conditions.guard = self._around(name)
        self._enter(name)
        self._name_step(name, self._loop(name, loop, expression) if loop else self._made(expression))
        self.conditions.guard = None

    def _enter(self, name: str) -> None:
        """New tasks belong to a step from now on."""
        self.current, outer = self.workflow.whole.groups.get(name, (name, ""))
        self.outer = ",".join(filter(None, (outer, self.turn)))
        self.name, self.label = name, self.outer

    def _name_step(self, name: str, blocks: Blocks) -> None:
        step = self.workflow.document.steps[name]
        tags, replicas = ((), 1) if isinstance(step, str) else (step.tags, step.replicas)
        self._name(name, "step", blocks, self.units.get(name), tags, replicas)

    def _name(self, name: str, made_by: str, blocks: Blocks, unit: str | None, tags: Sequence[str], replicas: int) -> None:
        self.named[name] = blocks
        tasks = self.graph.tasks
        for number in blocks.tasks if replicas > 1 else ():     # of several names for one block the most careful counts
            tasks[number] = replace(tasks[number], replicas=max(replicas, tasks[number].replicas))
        if name not in self.workflow.whole.groups:          # what an instance has is a part of what all of them have
            self.graph.datasets[name] = self._entry(name, made_by, blocks, unit or "", tuple(tags))

    def _entry(self, name: str, made_by: str, blocks: Blocks, unit: str, tags: tuple[str, ...]) -> DatasetEntry:
        ids = [self.graph.tasks[task].id for task in blocks.tasks]
        return DatasetEntry(name, recipe_id("blocks", ids), made_by, blocks.tasks, unit, tags)

    def write_results(self, writers: tuple[int, ...] | None) -> None:
        """Add one task for each result file; several results in one file are written together."""
        files: dict[str, list[str]] = {}
        for name, file in self.workflow.document.files.items():
            files.setdefault(file, []).append(name)
        for file, names in files.items():
            self.current = file
            entries = [pair for name in names for pair in self._written(name)]
            self.graph.written.update(entries)
            inputs = tuple([Input(name, self._in_parts(file, name, entry, writers)) for name, entry in entries])
            parted = tuple([item.argument for item, (_, entry) in zip(inputs, entries, strict=True) if item.tasks != entry.tasks])
            parameters = (("file", file), *((("parts", parted),) if parted else ()))
            self._add(Kind.WRITE, "", inputs, parameters, self.estimates.read(inputs, nbytes=0),
                      recipe=(file, [(name, entry.id, entry.unit, entry.tags) for name, entry in entries]), ranks=writers)

    def _in_parts(self, file: str, name: str, entry: DatasetEntry, writers: tuple[int, ...] | None) -> tuple[int, ...]:
        """The tasks that write the parts of a result, or those that make its blocks if it is written as a whole."""
        num = min(self.workflow.document.parts(name), len(entry.tasks))
        if num < 2:
            return entry.tasks
        tasks, found, about = self.graph.tasks, [], (name, entry.unit, entry.tags)
        for number, inputs in enumerate(shares([Input(name, entry.tasks)], num)):
            hash = recipe_id("part", *about, [tasks[task].id for task in inputs[0].tasks])
            found.append(self._add(Kind.WRITE_PART, "", inputs, (("part", part_file(file, name, number, hash)),),
                                   self.estimates.read(inputs, nbytes=16), recipe=about, ranks=writers))
            if all(tasks[task].optional for task in inputs[0].tasks):
                tasks[found[-1]] = replace(tasks[found[-1]], optional=True)
        return tuple(found)

    def _written(self, name: str) -> list[tuple[str, DatasetEntry]]:
        """What is written of a result; of ``sweep.*`` each instance, by its name in a group."""
        step = name.removesuffix(".*")
        whole = self.graph.datasets[step]
        if step == name:
            return [(name, whole)]
        found = self.instances[step]
        names = distinct([f"{step}/{label(found.variables, row).replace('/', '_')}" for row in found.rows])
        return [(part, self._entry(part, "step", blocks, whole.unit, whole.tags))
                for part, blocks in zip(names, found.blocks, strict=True)]

    def check_kept(self) -> None:
        """Note files that two programs keep, or that are results as well."""
        owners = {PurePath(file): f"the result {name!r}" for name, file in self.workflow.document.files.items()}
        told: set[str] = set()
        for task in self.graph.tasks:
            for file in kept_files(task.parameters):
                owner = owners.setdefault(PurePath(file), task.id)
                if owner != task.id and task.step not in told:
                    which = owner if owner.startswith("the ") else "another task"
                    self.workflow.fail(("steps", task.step, "out"), f"'keep': {file!r} is the file of {which} already; in a loop "
                                       "put its variable into the name", key=True)
                    told.add(task.step)

    # Conditions

    def order(self, graph: nx.DiGraph, inside: str = "") -> list[str]:
        """Order names, or those of a document that is repeated; the steps of such a document stand under its name."""
        groups = {name: found.members for name, found in self.groups.items() if not inside or name.startswith(inside + ".")}
        try:
            return in_order(graph, groups)
        except ValueError as error:
            self.workflow.fail(("steps", str(error)), "what is repeated cannot be given what depends on its own results",
                               key=True)
            self.workflow.finish()
            raise

    def _around(self, name: str) -> tuple[int, bool] | None:
        """The guard of the document around a step, if it has one."""
        key = self.workflow.whole.guards.get(name)
        if key is None:
            return None
        if (key, self.turn) not in self.gates:
            self.conditions.guard = self._around(key)
            self._enter(key)
            self.gates[key, self.turn] = self._gate(key)
            self.conditions.within((self.gates[key, self.turn], True))      # it depends on that of the document around that
        return self.gates[key, self.turn], True

    def _gate(self, key: str) -> int:
        """The task that finds out whether a step shall run."""
        condition = self.workflow.whole.conditions[key]
        if not is_plain(condition):
            return self.conditions.gate(self.evaluate(condition), "when")
        try:
            return self.conditions.settled(settled(condition, self.values).value, "when")
        except FilterError as error:
            self.workflow.fail_at(key, condition, f"{error} (at {self.label})")
            self.workflow.finish()
            raise

    def _made(self, expression: Expression) -> Blocks:
        """Evaluate what the current step, or an instance of it, computes: if it is to run, and as often as it is to."""
        name, whole = self.name, self.workflow.whole
        around = self.conditions.guard
        if name in whole.conditions:
            around = self.conditions.within((self._gate(name), True))
        if name in whole.repeats:
            blocks = self._repeatedly(name, whole.repeats[name], expression)
        else:
            blocks = self.evaluate(expression)
        blocks = self.conditions.guarded(blocks)
        self.conditions.guard = around
        return blocks

    def _repeatedly(self, name: str, repetition: Repetition, first: Expression) -> Blocks:
        """Add the turns of a step, or of an instance of it; ``first`` is what the first turn computes."""
        instance = self.label

        def turn(number: int, fed: Named | None) -> Named:
            self.label = ",".join(filter(None, (instance, f"turn={number}")))
            self.fed = fed or {}
            self.named[name] = self.evaluate(first if fed is None else repetition.again)
            return {name: self.named[name]}

        made, ends = self.conditions.turns(self._shown(), repetition, None, turn, self.evaluate)
        self.label = instance
        return self.conditions.last(name, made[name], [end[name] for end in ends])

    def _group(self, key: str, repetition: Repetition) -> None:
        """Add the turns of a document."""
        guard = self._around(next(iter(repetition.members), key)) if key in self.workflow.whole.conditions else self._around(key)
        order = self.orders.setdefault(key, []) or self.order(self.workflow.graph.subgraph(repetition.members), key)
        self.orders[key], outer, entries = order, self.turn, {}
        first = {name: self.named[f"{key}.{name}"] for name in repetition.feed}
        inside, results = set(repetition.members), {name.removesuffix(".*") for name in self.workflow.document.results}
        read = [name for name in repetition.outputs
                if name in results or not inside.issuperset(self.workflow.graph.successors(name))]

        def turn(number: int, fed: Named | None) -> Named:
            self.named.update({f"{key}.{name}": blocks for name, blocks in (fed or {}).items()})
            self.turn = ",".join(filter(None, (outer, f"turn={number}")))
            for name in order:
                self.step_or_group(name)
                if name in self.graph.datasets:
                    entries.setdefault(name, self.graph.datasets[name])
            self._enter(key)
            self.conditions.guard = guard
            return {name: self.named[name] for name in read}

        self._enter(key)
        self.conditions.guard = guard
        made, ends = self.conditions.turns(self._shown(), repetition, first, turn, self.evaluate)
        self.turn = outer
        self.graph.datasets.update(entries)                 # what stays inside is shown as it is after the first turn
        self.named.update({f"{key}.{name}": blocks for name, blocks in first.items()})
        for name, blocks in made.items():
            self._enter(name)
            last = self.conditions.last(name, blocks, [end[name] for end in ends])
            self._name_step(name, last)
            self._cut_instances(name, last)
        self.conditions.guard = None

    def _shown(self) -> str:
        return f"{self.current}[{self.label}]" if self.label else self.current

    def _cut_instances(self, name: str, blocks: Blocks) -> None:
        """The instances of a step inside are parts of what is there of all turns."""
        if name not in self.instances:
            return
        found, start, parts = self.instances[name], 0, []
        for part in found.blocks:
            parts.append(Blocks(blocks.tasks[start:start + len(part.tasks)], part.starts))
            start += len(part.tasks)
        self.instances[name] = Instances(found.variables, found.rows, parts)

    # Loops

    def _loop(self, name: str, loop: Loop, expression: Expression) -> Blocks:
        """Evaluate ``expression`` for each instance; the blocks of all, in order, are those of the step."""
        rows = loop.rows or self._rows(name, loop)
        if name not in self.workflow.whole.conditions:      # else what is the same for all may run for some only
            self.fixed = dict.fromkeys(fixed_parts(expression))
        found = self._repeated(loop, rows, expression) or [self._instance(loop, row, expression) for row in rows]
        self.instances[name] = Instances(loop.variables, rows, found)
        self.conditions.join(found)
        self.values, self.items, self.files, self.fixed, self.sums, self.bound = {}, {}, {}, {}, {}, {}
        self.label = self.outer
        return joined(found)

    def _rows(self, name: str, loop: Loop) -> Sequence[Row]:
        """The instances of a loop over what was not known before the ranks met; a block or a row has its number as value."""
        given: dict[str, Sequence[Any]] = {}
        for variable, found in loop.found.items():
            if found.kind == "files":
                self.files[variable] = {entry.file: entry for entry in files_of(self.sources, name, variable)}
                given[variable] = list(self.files[variable])
                continue
            blocks = self.evaluate(found.of)
            self.items[variable] = found.kind, blocks
            given[variable] = range(len(blocks.tasks) if found.kind == "blocks" else self._num_rows(name, variable, blocks))
        return found_instances(self.workflow, name, loop, given)

    def _num_rows(self, name: str, variable: str, blocks: Blocks) -> int:
        if blocks.starts is None:
            self.workflow.fail(self.workflow.loop_path(name, variable),
                               "how many rows there will be is not known before the run; go through its 'blocks'")
            self.workflow.finish()
        return blocks.starts[-1]

    def _item(self, name: str) -> Blocks:
        """The block or the row that a variable stands for."""
        (kind, blocks), number = self.items[name], self.values[name]
        if kind == "blocks":
            return Blocks(blocks.tasks[number:number + 1], None if blocks.starts is None else (0, blocks.rows(number)))
        block = bisect(blocks.starts, number) - 1
        index = (("index", number - blocks.starts[block]),)
        return Blocks((self._apply(self.registry["row"], (Input("x", (blocks.tasks[block],)),), index),))

    def _instance(self, loop: Loop, row: Row, expression: Expression) -> Blocks:
        self.values = dict(zip(loop.variables, row, strict=True))
        self.label = self._label(loop.variables, row)
        return self._made(expression)

    def _label(self, variables: Sequence[str], row: Row) -> str:
        return f"{self.outer},{label(variables, row)}" if self.outer else label(variables, row)

    def _repeated(self, loop: Loop, rows: Sequence[Row], call: Expression) -> list[Blocks] | None:
        """Quick way for the plainest loop: one call on the same whole datasets for all instances; None if it is another."""
        simple = self.name not in self.workflow.whole.asides and self.conditions.guard is None
        operation = self._operation(call) if isinstance(call, Call) and simple else None
        if operation is None or operation.linear or operation.parallel or loop.found or self._is_own(
                operation, "concatenate", "column"):
            return None
        if operation.neighbours:
            return None
        arguments = self._bind(operation, call)
        if any(id(part) not in self.fixed or isinstance(part, Spread) for _, part in arguments.datasets):
            return None
        datasets = [(name, self.evaluate(part)) for name, part in arguments.datasets]
        if operation.elementwise and any(len(blocks.tasks) > 1 for _, blocks in datasets):
            return None
        inputs = tuple(Input(name, blocks.tasks) for name, blocks in datasets)
        expected = self.estimates.applied(operation, inputs, (), None) if self.estimates.alike(operation, inputs) else None
        given = [(item.argument, [self.graph.tasks[task].id for task in item.tasks], item.cut) for item in inputs]
        names, found = loop.variables, []
        for row in rows:
            parameters = arguments.parameters(dict(zip(names, row, strict=True)))
            identity = recipe_id(Kind.APPLY, operation.name, operation.code, parameters, given, (), None)
            number = self.numbers.get(identity)
            if number is None:
                right = expected or self.estimates.applied(operation, inputs, parameters, None)
                self.label = self._label(names, row)
                number = self._append(identity, right, Kind.APPLY, operation.key, inputs, parameters)
            found.append(Blocks((number,)))
        return found

    # Expressions

    def evaluate(self, expression: Expression) -> Blocks:
        """Add the tasks for ``expression`` and give its blocks; in a loop once, if it is the same for all items."""
        key = id(expression)
        if key not in self.fixed:
            return self._evaluate(expression)
        if self.fixed[key] is None:
            self.fixed[key] = self._evaluate(expression)
        return self.fixed[key]

    def _evaluate(self, expression: Expression) -> Blocks:
        match expression:
            case Ref(name=name):
                return self.named[name]
            case Item(name=name):
                return self._item(name)
            case Fed(name=name):
                return self.fed[name]
            case Collected(refs=refs, variables=variables, rows=rows):
                found = [self.named[ref.name] for ref in refs]
                self.instances[self.name] = Instances(variables, rows, found)
                self.conditions.join(found)
                return joined(found)
            case Chosen() | Spread():
                return joined(self._instances(expression))
            case Sum():
                return self._sum(expression)
            case Column(table=table, name=name):
                return self._column(self.evaluate(table), name)
            case Call():
                return self._call(expression)
        raise InternalError(f"step {self.current!r}: {expression} is no dataset")

    def _instances(self, expression: Expression) -> list[Blocks]:
        """The instances of a step with a loop, or some of them, or columns of them."""
        match expression:
            case Ref(name=name):
                return self.instances[name].blocks
            case Column(table=table, name=name):
                return [self._column(blocks, name) for blocks in self._instances(table)]
            case Spread(step=step):
                return self._instances(step)
        try:
            return self._chosen(expression)
        except FilterError as error:
            self.workflow.fail_at(self.name, expression, str(error))
            self.workflow.finish()

    def _chosen(self, expression: Chosen) -> list[Blocks]:
        """Those instances for which the conditions hold; of a column the instances are those of its step."""
        step = loop_of(expression)
        numbers = self.instances[step.name].chooser.choose(expression.conditions, self.values)
        if not numbers:
            where = f" (at {self.label})" if self.label else ""
            raise FilterError(f"no instance of {step.name!r} is meant by this{where}")
        every = self._instances(expression.step)
        return [every[number] for number in numbers]

    def _sum(self, expression: Sum) -> Blocks:
        """Add terms along a binary tree over their positions."""
        total = self.sums.get(id(expression)) or added(expression.terms)
        if self.fixed:                                      # in a loop, which asks again
            self.sums[id(expression)] = total
        return self.evaluate(total)

    def _column(self, table: Blocks, name: str) -> Blocks:
        """Take a column of each block; every column of a table of known rows has them."""
        tasks = self._apply_each(self.registry["column"], "table", table, (), (("name", name),)).tasks
        return Blocks(tasks, table.starts)

    def _call(self, call: Call) -> Blocks:
        operation = self._operation(call)
        if operation.pairs:
            return self._pairs(operation, call)
        if operation.linear:
            return self._linear(operation, call)
        arguments, parameters = self._arguments(operation, call)
        if operation.parallel:
            return self._parallel(operation, arguments, parameters)
        if self._is_own(operation, "concatenate"):
            return joined([blocks for _, blocks in arguments])
        if self._is_own(operation, "column") and len(arguments) == 1 and len(parameters) == 1:
            return self._column(arguments[0][1], parameters[0][1])
        if operation.elementwise and any(len(blocks.tasks) > 1 for _, blocks in arguments):
            aligned = self._elementwise(operation, arguments, parameters)
            if aligned:
                return aligned
        inputs = tuple([Input(name, blocks.tasks) for name, blocks in arguments])
        if operation.halo is not None:
            self.neighbours.extent(operation, parameters)
            parameters = told(operation, parameters, 0, 0)
        return Blocks((self._apply(operation, inputs, parameters),))

    def _operation(self, call: Call) -> Operation:
        return self.registry[self.workflow.operation(self.name, call.operation)]

    def _is_own(self, operation: Operation, *names: str) -> bool:
        """Whether it is a built-in operation of one of these names."""
        return operation.name in names and operation.code == BUILTIN

    def _bind(self, operation: Operation, call: Call) -> Arguments:
        """Name a call's arguments."""
        if id(call) in self.bound:
            return self.bound[id(call)]
        names = operation.bind(len(call.arguments), [name for name, _ in call.keywords])
        given = [*zip(names, call.arguments, strict=True), *call.keywords]
        plain = [(name, item.template if isinstance(item, Variable) else item.value, isinstance(item, Variable))
                 for name, item in given if isinstance(item, PLAIN) and name]
        plain.sort(key=itemgetter(0))
        arguments = Arguments(tuple([pair for pair in given if not isinstance(pair[1], PLAIN)]), tuple(plain))
        if self.fixed:
            self.bound[id(call)] = arguments
        return arguments

    def _arguments(self, operation: Operation, call: Call, skip_first: bool = False) -> tuple[list, tuple]:
        """Split a call's arguments into datasets and plain parameters, by name."""
        arguments = self._bind(operation, call)
        datasets = [(name, blocks) for name, part in arguments.datasets if not skip_first or name != operation.first
                    for blocks in (self._instances(part) if isinstance(part, Spread) and not name else [self.evaluate(part)])]
        return datasets, arguments.parameters(self.values)

    def _elementwise(self, operation: Operation, arguments: list[tuple[str, Blocks]], parameters: tuple) -> Blocks | None:
        """Apply ``operation`` block by block if all arguments are cut alike, or whole; None if they are not."""
        cut = [blocks for _, blocks in arguments if len(blocks.tasks) > 1]
        pattern = cut[0]
        alike = all(blocks.tasks == pattern.tasks or (blocks.starts and blocks.starts == pattern.starts) for blocks in cut)
        if not alike or (pattern.starts is None and len(cut) < len(arguments)):
            return None
        around = self.neighbours.around(operation, dict(arguments).get(operation.first), parameters)
        if around:
            self.conditions.refuse_gaps(operation.name, dict(arguments)[operation.first].tasks)
        if around and len(around) < len(pattern.tasks):
            return None
        tasks, given = [], parameters
        for number in range(len(pattern.tasks)):
            inputs = []
            for name, blocks in arguments:
                if around and name == operation.first:
                    mine, given = around[number]
                    inputs.append(Input(name, mine))
                elif len(blocks.tasks) > 1:
                    inputs.append(Input(name, (blocks.tasks[number],)))
                else:
                    starts = pattern.starts
                    inputs.append(Input(name, blocks.tasks, (starts[number], starts[number + 1], starts[-1])))
            own = self.graph.tasks[dict(arguments)[operation.first].tasks[number]].nbytes if around else None
            tasks.append(self._apply(operation, tuple(inputs), given, pattern.rows(number), own))
        return Blocks(tuple(tasks), pattern.starts)

    def _pairs(self, operation: Operation, call: Call) -> Blocks:
        """Apply ``operation`` to each pair of blocks; join the results to a matrix, or combine them."""
        arguments, parameters = self._arguments(operation, call)
        self.conditions.refuse_gaps(operation.name, (task for _, blocks in arguments for task in blocks.tasks))
        if not operation.linear:
            return self.neighbours.matrix(operation, dict(arguments), parameters)
        made = self.neighbours.pairs(operation, dict(arguments), parameters)
        return Blocks((self._close(operation, tuple(made.values()), arguments, parameters),))

    def _parallel(self, operation: Operation, arguments: list[tuple[str, Blocks]], parameters: tuple) -> Blocks:
        """One task on each of the step's ranks; each has its share of the blocks."""
        members = self._members(operation, arguments)
        num, ranks = len(members.inputs), members.ranks
        try:
            guard = self.conditions.common(task for _, blocks in arguments for task in blocks.tasks)
        except ValueError:
            guard = None
            self.workflow.fail(("steps", self.name), f"{operation.name} is a parallel operation, and parts of what it is given "
                               "may be skipped while others are not; its ranks would wait for each other", key=True)
        given = [(name, [self.graph.tasks[task].id for task in blocks.tasks]) for name, blocks in arguments]
        team = recipe_id("team", operation.name, operation.code, operation.parallel, parameters, given, members.held or num,
                         *self._guard_id(guard))
        if team not in self.numbers:
            self.numbers[team] = len(self.graph.tasks)
            for member, own in enumerate(members.inputs):
                self._append(recipe_id(team, member), self.estimates.applied(operation, own, parameters, None), Kind.APPLY,
                             operation.key, own, parameters, part=Part(team, member, ranks), guard=guard,
                             ranks=(ranks[member],) if ranks else None)
        first = self.numbers[team]
        return Blocks(tuple(range(first, first + (1 if operation.parallel == "first" else num))))

    def _members(self, operation: Operation, arguments: list[tuple[str, Blocks]]) -> Members:
        """Who runs a parallel operation, as far as that is known before all tasks are."""
        num = self.workflow.document.steps[self.name].ranks
        try:
            if num == HOLDERS:
                return self.holders.members(operation, arguments)
            return Members(shares([Input(name, blocks.tasks) for name, blocks in arguments], num))
        except ValueError as error:
            self.workflow.fail(("steps", self.name, "ranks"), str(error))
            self.workflow.finish()
            raise

    def _linear(self, operation: Operation, call: Call) -> Blocks:
        whole, parameters = self._arguments(operation, call, skip_first=True)
        terms = [self._apply_each(operation, operation.first, part, whole, parameters)
                 for part in self._terms(split(operation, call))]
        parts = joined(terms)
        return parts if operation.blockwise else Blocks((self._close(operation, parts.tasks, whole, parameters),))

    def _terms(self, expression: Expression) -> list[Blocks]:
        """Give the summands that a linear operation is applied to one by one."""
        if isinstance(expression, Sum) and not numbers(expression):
            return [part for term in expression.terms for part in self._terms(term)]
        if isinstance(expression, Call) and self._operation(expression).additive:
            operation = self._operation(expression)
            inner = split(operation, expression)
            if isinstance(inner, (Sum, Call)):
                whole, parameters = self._arguments(operation, expression, skip_first=True)
                parts = [self._apply_each(operation, operation.first, part, whole, parameters) for part in self._terms(inner)]
                return [Blocks((self._close(operation, part.tasks, whole, parameters),)) for part in parts]
        return [self.evaluate(expression)]

    def _apply_each(self, operation: Operation, first: str, blocks: Blocks, whole: Sequence, parameters: tuple) -> Blocks:
        others = tuple(Input(name, item.tasks) for name, item in whole)
        around = self.neighbours.around(operation, blocks, parameters)
        if around:
            self.conditions.refuse_gaps(operation.name, blocks.tasks)
        each = around or [((task,), parameters) for task in blocks.tasks]
        return Blocks(tuple([self._apply(operation, (Input(first, mine), *others), given) for mine, given in each]))

    def _close(self, operation: Operation, tasks: Sequence[int], whole: Sequence, parameters: tuple) -> int:
        """Combine partial results along a binary tree over their numbers, then finish."""
        level = list(tasks)
        while len(level) > 1:
            pairs = [(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
            level = [self._combine(operation, pair) for pair in pairs] + level[2 * len(pairs):]
        if operation.finish is None:
            return level[0]
        wanted = operation.closing
        inputs = (Input("", (level[0],)), *(Input(name, item.tasks) for name, item in whole if name in wanted))
        given = tuple(item for item in parameters if item[0] in wanted)
        estimated = operation.estimated_by["finish_nbytes"]
        sizes = tuple(Input(name, item.tasks) for name, item in whole if name in estimated and name not in wanted)
        hints = tuple(item for item in parameters if item[0] in wanted or item[0] in estimated)
        return self._add(Kind.FINISH, operation.key, inputs, given, self.estimates.finished(operation, inputs, hints, sizes))

    def _combine(self, operation: Operation, pair: tuple[int, int]) -> int:
        inputs = tuple(Input("", (task,)) for task in pair)
        return self._add(Kind.COMBINE, operation.key, inputs, (), self.estimates.combined(operation, inputs))

    def _apply(self, operation: Operation, inputs: tuple[Input, ...], parameters: tuple, rows: int | None = None,
               otherwise: int | None = None) -> int:
        expected = self.estimates.applied(operation, inputs, parameters, rows, otherwise)
        read = [found[self.values[variable]] for variable, found in self.files.items()
                if variable in self.values and mentions(parameters, self.values[variable])]
        if read:
            return self._reading(operation, inputs, parameters, expected, read)
        return self._add(Kind.APPLY, operation.key, inputs, parameters, expected, rows=rows)

    def _reading(self, operation: Operation, inputs: tuple[Input, ...], parameters: tuple, expected: Expected,
                 read: Sequence[SourceEntry]) -> int:
        """Apply an operation to files that its plain arguments name: where they are seen, and anew when they change."""
        seeing = [rank for rank in range(self.size) if all(rank in entry.holders for entry in read)]
        number = self._add(
            Kind.APPLY, operation.key, inputs, parameters, expected,
            recipe=tuple([(entry.file, entry.size, entry.mtime_ns, entry.inode) for entry in read]),
            ranks=None if len(seeing) == self.size else tuple(seeing))
        if not seeing:
            task = self.graph.tasks[number]
            self.graph.tasks[number] = replace(task, kind=Kind.GONE, ranks=None, block=Block(self.current, 0, 0, read[0].file))
        return number

    def _add(self, kind: Kind, operation: str, inputs: tuple[Input, ...], parameters: tuple, expected: Expected, *,
             recipe: tuple = (), rows: int | None = None, **fields: Any) -> int:
        """Add a task, or give the number of the one with the same recipe."""
        called, code = (self.registry[operation].name, self.registry[operation].code) if operation else ("", "")
        tasks = self.graph.tasks
        arguments = [(item.argument, [tasks[task].id for task in item.tasks], item.cut) for item in inputs]
        guard = self.conditions.needed(kind, inputs) if self.conditional else None
        identity = recipe_id(kind, called, code, parameters, arguments, recipe, rows, *self._guard_id(guard))
        number = self.numbers.get(identity)
        if number is None:
            number = self._append(identity, expected, kind, operation, inputs, parameters, rows=rows, guard=guard, **fields)
        return number

    def _guard_id(self, guard: tuple[int, bool] | None) -> tuple:
        return () if guard is None else (self.graph.tasks[guard[0]].id, guard[1])

    def _append(self, identity: str, expected: Expected, kind: Kind, operation: str, inputs: tuple[Input, ...],
                parameters: tuple, **fields: Any) -> int:
        tasks = self.graph.tasks
        self.numbers[identity] = number = len(tasks)
        tasks.append(Task(identity, kind, self.current, operation, inputs, parameters,
                          nbytes=expected.nbytes, seconds=expected.seconds, instance=self.label, **fields))
        self.estimates.note(number, expected)
        if self.conditional:
            self.conditions.note(number)
        return number

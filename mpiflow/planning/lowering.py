"""From a workflow to tasks: linear operations are split, and what is asked twice is computed once.

The split *defines* the value of a linear operation, wherever its tasks run::

    f(a + b)         = combine(f(a), f(b))
    f(a)             = combine over the blocks of a, along a binary tree over their numbers
    f(a + g(b + c))  = combine(f(a), f(g(b)), f(g(c)))      if g is combined by adding and not finished
    f(a + 1)         = f(add(a, 1)), split over blocks only: a number is no summand
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx

from mpiflow.catalog.catalog import DatasetEntry
from mpiflow.catalog.entries import SourceEntry
from mpiflow.errors import InternalError
from mpiflow.operations.operation import Operation
from mpiflow.operations.registry import BUILTIN, Registry
from mpiflow.planning.checks import check, numbers
from mpiflow.planning.sources import SourceBlock
from mpiflow.planning.tasks import Block, Input, Kind, Task, TaskGraph, recipe_id
from mpiflow.workflow.expressions import Call, Column, Constant, Expression, Ref, Sum
from mpiflow.workflow.reading import Workflow

BYTES_PER_SECOND = 2e9      # of an operation that declares nothing; numpy streams at a few GB/s
SECONDS_PER_TASK = 2e-5


@dataclass(frozen=True, slots=True)
class Blocks:
    """A dataset as the tasks that make its blocks, and where each block's rows start, if known."""

    tasks: tuple[int, ...]
    starts: tuple[int, ...] | None = None       # one more than blocks: the last is the number of rows

    def rows(self, block: int) -> int | None:
        """Number of rows of one block, if known."""
        return None if self.starts is None else self.starts[block + 1] - self.starts[block]


def lower(workflow: Workflow, registry: Registry, sources: Sequence[SourceEntry], size: int) -> TaskGraph:
    """Make the tasks of ``workflow``. Pure.

    Args:
        workflow: What the user wrote.
        registry: The operations that it may name.
        sources: The files of its datasets and who sees them, as all ranks know them.
        size: Number of ranks.

    Raises:
        DocumentError: With every problem found: those noted in ``workflow`` already, unknown operations, wrong
            arguments, files that nobody sees.
    """
    blocks = check(workflow, registry, sources)
    workflow.finish()
    lowering = _Lowering(workflow, registry, size)
    for name in nx.lexicographical_topological_sort(workflow.graph):
        if name in workflow.document.steps:
            lowering.step(name)
        elif workflow.graph.out_degree(name) or name in workflow.document.results:      # what nobody reads is not loaded
            lowering.load(name, blocks[name])
    lowering.write_results()
    workflow.finish()
    return lowering.graph


class _Lowering:
    """The graph under construction; tasks with the same recipe are one task."""

    def __init__(self, workflow: Workflow, registry: Registry, size: int) -> None:
        self.workflow = workflow
        self.registry = registry
        self.size = size
        self.graph = TaskGraph()
        self.numbers: dict[str, int] = {}
        self.named: dict[str, Blocks] = {}
        self.current = ""

    # Names

    def load(self, name: str, blocks: Sequence[SourceBlock]) -> None:
        dataset = self.workflow.document.datasets[name]
        pinned = None if dataset.rank is None else (dataset.rank % self.size,)
        self.current = name
        tasks, starts = [], [0]
        for block in blocks:
            seconds = SECONDS_PER_TASK + block.nbytes / BYTES_PER_SECOND
            rows = block.stop - block.start
            tasks.append(self._add(
                Kind.LOAD, "", (), (), recipe=(block.recipe, block.start, block.stop), rows=rows,
                block=Block(name, block.start, block.stop, block.file, block.stamp), nbytes=block.nbytes, seconds=seconds,
                ranks=self._loaders(name, pinned, block)))
            starts.append(starts[-1] + rows)
        self._name(name, "dataset", Blocks(tuple(tasks), tuple(starts)), dataset.unit or blocks[0].unit, dataset.tags)

    def _loaders(self, name: str, pinned: tuple[int, ...] | None, block: SourceBlock) -> tuple[int, ...] | None:
        """The ranks that can load a block: the one that the user chose, if it sees the file, or all that see it."""
        if pinned and block.holders is not None and pinned[0] not in block.holders:
            self.workflow.fail(("datasets", name, "rank"), f"rank {pinned[0]} does not see {block.file}; "
                               f"ranks {', '.join(map(str, block.holders))} do")
        ranks = pinned or block.holders
        return None if ranks is not None and len(ranks) == self.size else ranks

    def step(self, name: str) -> None:
        self.current = name
        step = self.workflow.document.steps[name]
        unit, tags = (None, ()) if isinstance(step, str) else (step.unit, step.tags)
        self._name(name, "step", self.evaluate(self.workflow.expressions[name]), unit, tags)

    def _name(self, name: str, made_by: str, blocks: Blocks, unit: str | None, tags: Sequence[str]) -> None:
        self.named[name] = blocks
        ids = [self.graph.tasks[task].id for task in blocks.tasks]
        self.graph.datasets[name] = DatasetEntry(
            name, recipe_id("blocks", ids), made_by, blocks.tasks, unit or "", tuple(tags))

    def write_results(self) -> None:
        """Add one task for each result file; several results in one file are written together."""
        files: dict[str, list[str]] = {}
        for name, file in self.workflow.document.results.items():
            files.setdefault(file, []).append(name)
        for file, names in files.items():
            self.current = file
            inputs = tuple(Input(name, self.named[name].tasks) for name in names)
            entries = [(name, self.graph.datasets[name]) for name in names]
            self._add(Kind.WRITE, "", inputs, (("file", file),), nbytes=0,
                      recipe=(file, [(name, entry.id, entry.unit, entry.tags) for name, entry in entries]))

    # Expressions

    def evaluate(self, expression: Expression) -> Blocks:
        """Add the tasks for ``expression`` and give its blocks."""
        match expression:
            case Ref(name=name):
                return self.named[name]
            case Sum(terms=terms):
                return self._sum(terms)
            case Column(table=table, name=name):
                return self._column(self.evaluate(table), name)
            case Call():
                return self._call(expression)
        raise InternalError(f"step {self.current!r}: {expression} is no dataset")

    def _sum(self, terms: Sequence[Expression]) -> Blocks:
        """Add terms along a binary tree over their positions."""
        while len(terms) > 1:
            pairs = [Call("add", tuple(terms[i:i + 2])) if i + 1 < len(terms) else terms[i]
                     for i in range(0, len(terms), 2)]
            terms = pairs
        return self.evaluate(terms[0])

    def _column(self, table: Blocks, name: str) -> Blocks:
        """Take a column of each block; every column of a table of known rows has them."""
        tasks = self._apply_each(self.registry["column"], "table", table, (), (("name", name),)).tasks
        return Blocks(tasks, table.starts)

    def _call(self, call: Call) -> Blocks:
        operation = self.registry[call.operation]
        if operation.linear:
            return self._linear(operation, call)
        arguments, parameters = self._arguments(operation, call)
        if operation.name == "concatenate" and operation.code == BUILTIN:
            return _joined([blocks for _, blocks in arguments])
        if operation.elementwise and any(len(blocks.tasks) > 1 for _, blocks in arguments):
            aligned = self._elementwise(operation, arguments, parameters)
            if aligned:
                return aligned
        inputs = tuple(Input(name, blocks.tasks) for name, blocks in arguments)
        return Blocks((self._apply(operation, inputs, parameters),))

    def _arguments(self, operation: Operation, call: Call, skip_first: bool = False) -> tuple[list, tuple]:
        """Split a call's arguments into datasets and plain parameters, by name."""
        names = operation.bind(len(call.arguments), [name for name, _ in call.keywords])
        bound = [*zip(names, call.arguments, strict=True), *call.keywords]
        if skip_first:
            bound = [item for item in bound if item[0] != operation.first]
        datasets = [(name, self.evaluate(item)) for name, item in bound if not isinstance(item, Constant)]
        parameters = tuple(sorted((name, item.value) for name, item in bound if isinstance(item, Constant) and name))
        return datasets, parameters

    def _elementwise(self, operation: Operation, arguments: list[tuple[str, Blocks]], parameters: tuple) -> Blocks | None:
        """Apply ``operation`` block by block if all arguments are cut alike, or whole; None if they are not."""
        cut = [blocks for _, blocks in arguments if len(blocks.tasks) > 1]
        pattern = cut[0]
        alike = all(blocks.tasks == pattern.tasks or (blocks.starts and blocks.starts == pattern.starts) for blocks in cut)
        if not alike or (pattern.starts is None and len(cut) < len(arguments)):
            return None
        tasks = []
        for number in range(len(pattern.tasks)):
            inputs = []
            for name, blocks in arguments:
                if len(blocks.tasks) > 1:
                    inputs.append(Input(name, (blocks.tasks[number],)))
                else:
                    starts = pattern.starts
                    inputs.append(Input(name, blocks.tasks, (starts[number], starts[number + 1], starts[-1])))
            tasks.append(self._apply(operation, tuple(inputs), parameters, pattern.rows(number)))
        return Blocks(tuple(tasks), pattern.starts)

    def _linear(self, operation: Operation, call: Call) -> Blocks:
        whole, parameters = self._arguments(operation, call, skip_first=True)
        terms = [self._apply_each(operation, operation.first, part, whole, parameters)
                 for part in self._terms(_split(operation, call))]
        parts = _joined(terms)
        return parts if operation.blockwise else Blocks((self._close(operation, parts.tasks, whole, parameters),))

    def _terms(self, expression: Expression) -> list[Blocks]:
        """Give the summands that a linear operation is applied to one by one."""
        if isinstance(expression, Sum) and not numbers(expression):
            return [part for term in expression.terms for part in self._terms(term)]
        if isinstance(expression, Call) and self.registry[expression.operation].additive:
            operation = self.registry[expression.operation]
            split = _split(operation, expression)
            if isinstance(split, (Sum, Call)):
                whole, parameters = self._arguments(operation, expression, skip_first=True)
                parts = [self._apply_each(operation, operation.first, part, whole, parameters) for part in self._terms(split)]
                return [Blocks((self._close(operation, part.tasks, whole, parameters),)) for part in parts]
        return [self.evaluate(expression)]

    def _apply_each(self, operation: Operation, first: str, blocks: Blocks, whole: Sequence, parameters: tuple) -> Blocks:
        others = tuple(Input(name, item.tasks) for name, item in whole)
        tasks = tuple(self._apply(operation, (Input(first, (task,)), *others), parameters) for task in blocks.tasks)
        return Blocks(tasks)

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
        return self._add(Kind.FINISH, operation.name, inputs, tuple(item for item in parameters if item[0] in wanted))

    def _combine(self, operation: Operation, pair: tuple[int, int]) -> int:
        sizes = [self.graph.tasks[task].nbytes for task in pair]
        joined = sum(sizes) if operation.combine == "concatenate" else max(sizes)
        return self._add(Kind.COMBINE, operation.name, tuple(Input("", (task,)) for task in pair), (), nbytes=joined)

    def _apply(self, operation: Operation, inputs: tuple[Input, ...], parameters: tuple, rows: int | None = None) -> int:
        sizes = [sum(self.graph.tasks[task].nbytes for task in item.tasks) for item in inputs]
        largest = max(sizes, default=8) if operation.elementwise else sum(sizes[:1]) or 8
        return self._add(
            Kind.APPLY, operation.name, inputs, parameters, rows=rows,
            nbytes=int(self._estimate(operation, "nbytes", sizes[0] if sizes else 0, largest)),
            seconds=self._estimate(operation, "seconds", sum(sizes), SECONDS_PER_TASK + sum(sizes) / BYTES_PER_SECOND))

    def _estimate(self, operation: Operation, what: str, size: int, default: float) -> float:
        """What an operation declares: a number, or a function of a size [bytes]; else the default."""
        declared = getattr(operation, what)
        if declared is None:
            return default
        try:
            estimate = float(declared(size) if callable(declared) else declared)
            if math.isfinite(estimate):
                return max(estimate, 0.0)
            reason = f"gives {estimate}"
        except Exception as error:           # user code may raise anything
            reason = f"raises {type(error).__name__}: {error}"
        self.workflow.fail(("steps", self.current), f"operation {operation.name!r}: its {what} for {size} bytes {reason}")
        return default

    def _add(self, kind: Kind, operation: str, inputs: tuple[Input, ...], parameters: tuple, *, recipe: tuple = (),
             rows: int | None = None, nbytes: int | None = None, seconds: float | None = None, **fields: Any) -> int:
        """Add a task, or give the number of the one with the same recipe."""
        code = self.registry[operation].code if operation else ""
        arguments = [(item.argument, [self.graph.tasks[task].id for task in item.tasks], item.cut) for item in inputs]
        identity = recipe_id(kind, operation, code, parameters, arguments, recipe, rows)
        if identity not in self.numbers:
            size = sum(self.graph.tasks[task].nbytes for item in inputs for task in item.tasks)
            self.numbers[identity] = len(self.graph.tasks)
            self.graph.tasks.append(Task(
                identity, kind, self.current, operation, inputs, parameters, rows=rows,
                nbytes=size if nbytes is None else nbytes,
                seconds=SECONDS_PER_TASK + size / BYTES_PER_SECOND if seconds is None else seconds, **fields))
        return self.numbers[identity]


def _split(operation: Operation, call: Call) -> Expression:
    """The argument that a linear operation splits."""
    return call.arguments[0] if call.arguments else dict(call.keywords)[operation.first]


def _joined(parts: Sequence[Blocks]) -> Blocks:
    """The blocks of several datasets one after the other."""
    tasks = tuple(task for part in parts for task in part.tasks)
    if any(part.starts is None for part in parts):
        return Blocks(tasks)
    starts = [0]
    for part in parts:
        offset = starts[-1]
        starts += [offset + start for start in part.starts[1:]]
    return Blocks(tasks, tuple(starts))

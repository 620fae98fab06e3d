"""What expressions stand for: the blocks of datasets, in the step at hand and in the instance of its loop at hand. Pure.

The split *defines* the value of a linear operation, wherever its tasks run::

    f(a + b)         = combine(f(a), f(b))
    f(a)             = combine over the blocks of a, along a binary tree over their numbers
    f(a + g(b + c))  = combine(f(a), f(g(b)), f(g(c)))      if g is combined by adding and not finished
    f(a + 1)         = f(add(a, 1)), split over blocks only: a number is no summand
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from mpiflow.catalog.entries import SourceEntry
from mpiflow.errors import InternalError
from mpiflow.operations.operation import Operation
from mpiflow.planning.applying import Applying, Datasets, inputs_of, is_own
from mpiflow.planning.blocks import Arguments, Blocks, added, fixed_parts, joined, split
from mpiflow.planning.checks import numbers
from mpiflow.planning.conditions import Conditions
from mpiflow.planning.construction import Construction
from mpiflow.planning.estimates import Parameters
from mpiflow.planning.instances import Instances, files_of, found_instances
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
from mpiflow.workflow.reading import Workflow
from mpiflow.workflow.sweeps import loop_of


class Evaluation:
    """Gives the blocks of expressions, and adds the tasks that make them.

    Args:
        workflow: What the user wrote.
        construction: What tasks are added to.
        conditions: What they depend on.
        sources: The files of loops and who sees them.
        size: Number of ranks.

    Attributes:
        named: What names stand for so far.
        fed: What the turn at hand is fed.
        name: The step at hand, as the workflow names it.
        values: Those of the variables of its loop, in the instance at hand.
    """

    def __init__(self, workflow: Workflow, construction: Construction, conditions: Conditions, sources: Sequence[SourceEntry],
                 size: int) -> None:
        self._workflow, self._construction, self._conditions, self._sources = workflow, construction, conditions, sources
        self._applying = Applying(construction, conditions, size)
        self._instances = construction.graph.instances
        self.named: dict[str, Blocks] = {}
        self.fed: Mapping[str, Blocks] = {}
        self.enter("", "")

    def enter(self, name: str, turn: str) -> None:
        """A step is at hand from now on, in a turn of the documents around it."""
        self.name = name
        self._construction.step, outer = self._workflow.whole.groups.get(name, (name, ""))
        self._outer = self._construction.instance = ",".join(filter(None, (outer, turn)))
        # Of its loop: the datasets and the files that its variables stand for, and by id what is the same for all instances.
        self.values: dict[str, Any] = {}
        self._items: dict[str, tuple[str, Blocks]] = {}
        self._files: dict[str, dict[str, SourceEntry]] = {}
        self._applying.files = ()
        self._fixed: dict[int, Blocks | None] = {}
        self._sums: dict[int, Expression] = {}
        self._bound: dict[int, Arguments] = {}

    # Loops

    def instances(self, loop: Loop, expression: Expression) -> Sequence[Row]:
        """Give the instances of the step at hand; from now on, what is the same for all of them is evaluated once."""
        rows = loop.rows or self._rows(loop)
        if self.name not in self._workflow.whole.conditions:        # else what is the same for all may run for some only
            self._fixed = dict.fromkeys(fixed_parts(expression))
        return rows

    def _rows(self, loop: Loop) -> Sequence[Row]:
        """The instances of a loop over what was not known before the ranks met; a block or a row has its number as value."""
        given: dict[str, Sequence[Any]] = {}
        for variable, found in loop.found.items():
            if found.kind == "files":
                self._files[variable] = {entry.file: entry for entry in files_of(self._sources, self.name, variable)}
                given[variable] = list(self._files[variable])
                continue
            blocks = self.evaluate(found.of)
            self._items[variable] = found.kind, blocks
            if found.kind == "rows" and blocks.starts is None:
                self._workflow.fail(self._workflow.loop_path(self.name, variable),
                                    "how many rows there will be is not known before the run; go through its 'blocks'")
                self._workflow.finish()
            given[variable] = range(len(blocks.tasks) if found.kind == "blocks" else blocks.starts[-1])
        return found_instances(self._workflow, self.name, loop, given)

    def at(self, variables: Sequence[str], row: Row) -> None:
        """An instance is at hand from now on."""
        self.values = dict(zip(variables, row, strict=True))
        self._applying.files = [files[self.values[variable]] for variable, files in self._files.items()]
        self._construction.instance = self._label(variables, row)

    def _label(self, variables: Sequence[str], row: Row) -> str:
        return f"{self._outer},{label(variables, row)}" if self._outer else label(variables, row)

    def at_once(self, loop: Loop, rows: Sequence[Row], call: Expression) -> list[Blocks] | None:
        """Evaluate the plainest loop for all instances: one call on the same whole datasets; None if it is another one."""
        simple = self.name not in self._workflow.whole.asides and self._construction.guards.in_force is None
        operation = self._operation(call) if isinstance(call, Call) and simple else None
        if operation is None or operation.linear or operation.parallel or operation.neighbours or loop.found or is_own(
                operation, "concatenate", "column"):
            return None
        arguments = self._bind(operation, call)
        if any(id(part) not in self._fixed or isinstance(part, Spread) for _, part in arguments.datasets):
            return None
        datasets = [(name, self.evaluate(part)) for name, part in arguments.datasets]
        if operation.elementwise and any(len(blocks.tasks) > 1 for _, blocks in datasets):
            return None
        names = loop.variables
        each = ((self._label(names, row), arguments.parameters(dict(zip(names, row, strict=True)))) for row in rows)
        return [Blocks((number,)) for number in self._construction.add_alike(operation, inputs_of(datasets), each)]

    # Expressions

    def evaluate(self, expression: Expression) -> Blocks:
        """Add the tasks for ``expression`` and give its blocks; in a loop once, if it is the same for all items."""
        key = id(expression)
        if key not in self._fixed:
            return self._evaluate(expression)
        if self._fixed[key] is None:
            self._fixed[key] = self._evaluate(expression)
        return self._fixed[key]

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
                self._instances[self.name] = Instances(variables, rows, found)
                self._conditions.join(found)
                return joined(found)
            case Chosen() | Spread():
                return joined(self._each(expression))
            case Sum():
                return self._sum(expression)
            case Column(table=table, name=name):
                return self._applying.column(self.evaluate(table), name)
            case Call():
                return self._call(expression)
        raise InternalError(f"step {self._construction.step!r}: {expression} is no dataset")

    def _item(self, name: str) -> Blocks:
        """The block or the row that a variable stands for."""
        (kind, blocks), number = self._items[name], self.values[name]
        if kind == "blocks":
            return Blocks(blocks.tasks[number:number + 1], None if blocks.starts is None else (0, blocks.rows(number)))
        block = bisect(blocks.starts, number) - 1
        return self._applying.row(blocks.tasks[block], number - blocks.starts[block])

    def _each(self, expression: Expression) -> list[Blocks]:
        """The instances of a step with a loop, or some of them, or columns of them."""
        match expression:
            case Ref(name=name):
                return self._instances[name].blocks
            case Column(table=table, name=name):
                return [self._applying.column(blocks, name) for blocks in self._each(table)]
            case Spread(step=step):
                return self._each(step)
        try:
            return self._chosen(expression)
        except FilterError as error:
            self._workflow.fail_at(self.name, expression, str(error))
            self._workflow.finish()

    def _chosen(self, expression: Chosen) -> list[Blocks]:
        """Those instances for which the conditions hold; of a column the instances are those of its step."""
        step = loop_of(expression)
        numbers = self._instances[step.name].chooser.choose(expression.conditions, self.values)
        if not numbers:
            where = f" (at {self._construction.instance})" if self._construction.instance else ""
            raise FilterError(f"no instance of {step.name!r} is meant by this{where}")
        every = self._each(expression.step)
        return [every[number] for number in numbers]

    def _sum(self, expression: Sum) -> Blocks:
        """Add terms along a binary tree over their positions."""
        total = self._sums.get(id(expression)) or added(expression.terms)
        if self._fixed:                                     # in a loop, which asks again
            self._sums[id(expression)] = total
        return self.evaluate(total)

    # Calls

    def _call(self, call: Call) -> Blocks:
        operation = self._operation(call)
        if operation.linear and not operation.pairs:
            return self._linear(operation, call)
        datasets, parameters = self._arguments(operation, call)
        if operation.pairs:
            return self._applying.pairs(operation, datasets, parameters)
        if operation.parallel:
            return self._parallel(operation, datasets, parameters)
        return self._applying.apply(operation, datasets, parameters)

    def _operation(self, call: Call) -> Operation:
        return self._construction.registry[self._workflow.operation(self.name, call.operation)]

    def _bind(self, operation: Operation, call: Call) -> Arguments:
        """Name a call's arguments."""
        if id(call) in self._bound:
            return self._bound[id(call)]
        names = operation.bind(len(call.arguments), [name for name, _ in call.keywords])
        given = [*zip(names, call.arguments, strict=True), *call.keywords]
        plain = [(name, item.template if isinstance(item, Variable) else item.value, isinstance(item, Variable))
                 for name, item in given if isinstance(item, PLAIN) and name]
        plain.sort(key=itemgetter(0))
        arguments = Arguments(tuple([pair for pair in given if not isinstance(pair[1], PLAIN)]), tuple(plain))
        if self._fixed:
            self._bound[id(call)] = arguments
        return arguments

    def _arguments(self, operation: Operation, call: Call, skip_first: bool = False) -> tuple[Datasets, Parameters]:
        """Split a call's arguments into datasets and plain parameters, by name."""
        arguments = self._bind(operation, call)
        datasets = [(name, blocks) for name, part in arguments.datasets if not skip_first or name != operation.first
                    for blocks in (self._each(part) if isinstance(part, Spread) and not name else [self.evaluate(part)])]
        return datasets, arguments.parameters(self.values)

    def _parallel(self, operation: Operation, datasets: Datasets, parameters: Parameters) -> Blocks:
        try:
            return self._applying.parallel(operation, datasets, parameters, self._workflow.document.steps[self.name].ranks)
        except ValueError as error:
            self._workflow.fail(("steps", self.name, "ranks"), str(error))
            self._workflow.finish()
            raise

    def _linear(self, operation: Operation, call: Call) -> Blocks:
        whole, parameters = self._arguments(operation, call, skip_first=True)
        parts = joined(self._on_terms(operation, split(operation, call), whole, parameters))
        return parts if operation.blockwise else self._applying.close(operation, parts.tasks, whole, parameters)

    def _on_terms(self, operation: Operation, inner: Expression, whole: Datasets, parameters: Parameters) -> list[Blocks]:
        """Apply a linear operation to each block of each summand, one by one."""
        return [self._applying.each(operation, blocks, whole, parameters) for blocks in self._terms(inner)]

    def _terms(self, expression: Expression) -> Iterable[Blocks]:
        """Give the summands that a linear operation is applied to one by one."""
        if isinstance(expression, Sum) and not numbers(expression):
            return [part for term in expression.terms for part in self._terms(term)]
        if isinstance(expression, Call) and self._operation(expression).additive:
            operation = self._operation(expression)
            inner = split(operation, expression)
            if isinstance(inner, (Sum, Call)):
                whole, parameters = self._arguments(operation, expression, skip_first=True)
                return [self._applying.close(operation, part.tasks, whole, parameters)
                        for part in self._on_terms(operation, inner, whole, parameters)]
        return [self.evaluate(expression)]

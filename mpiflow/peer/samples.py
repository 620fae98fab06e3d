"""What operations declare, tried on the first rows of the data that a workflow calls them with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mpiflow.catalog.catalog import DatasetEntry
from mpiflow.operations.operation import Operation
from mpiflow.operations.programs import Program
from mpiflow.operations.registry import BUILTIN, Registry
from mpiflow.operations.values import Value, as_value, concatenate
from mpiflow.planning.checks import numbers
from mpiflow.planning.declarations import Call as Trial
from mpiflow.planning.declarations import Untried, declared, false_declarations, result_of, wrong_sizes
from mpiflow.planning.sources import SourceBlock
from mpiflow.planning.tasks import Block
from mpiflow.storage.sources import load
from mpiflow.workflow.expressions import (
    Call,
    Chosen,
    Collected,
    Column,
    Constant,
    Expression,
    Item,
    Ref,
    Spread,
    Sum,
    Variable,
    walk,
)
from mpiflow.workflow.loops import bound
from mpiflow.workflow.reading import Workflow

SAMPLE = 1 << 18        # a dataset is cut to so many bytes,
ROWS = 24               # but not to fewer rows,
LARGEST = 1 << 26       # unless these have more bytes than this
ATTEMPTS = 3            # calls of one operation, until one can be tried
SourceBlocks = Mapping[str, Sequence[SourceBlock]]
Datasets = Mapping[str, DatasetEntry]
_SAYS = {"linear": "is not linear", "elementwise": "is not elementwise", "combine": "has a combine that is not associative",
         "dtype": "has another dtype than declared"}


@dataclass
class Tried:
    """What came of it.

    Attributes:
        held: Operations that were tried, and which declarations.
        untried: Operations that could not be tried, and why.
        notes: What is not wrong, but could be better.
    """

    held: dict[str, tuple[str, ...]] = field(default_factory=dict)
    untried: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def try_declarations(workflow: Workflow, registry: Registry, blocks: SourceBlocks, datasets: Datasets) -> Tried:
    """Try what the user's operations declare; what is false is noted in ``workflow``. Local: it reads data and runs operations.

    Args:
        workflow: A workflow without mistakes.
        registry: The operations that it may name.
        blocks: The blocks of its sources.
        datasets: What its names stand for when it is compiled.
    """
    samples, tried = _Samples(workflow, registry, blocks, datasets), Tried()
    attempts: dict[str, int] = {}
    for step, call in _calls(workflow):
        operation = registry[workflow.operation(step, call.operation)]
        name = operation.key
        if operation.code == BUILTIN or not declared(operation) or name in tried.held or attempts.get(name, 0) == ATTEMPTS:
            continue
        attempts[name] = attempts.get(name, 0) + 1
        try:
            trial = samples.trial(step, call)
            what = declared(operation, trial.entire)
            if not what:
                continue
            false = false_declarations(trial)
            tried.notes += wrong_sizes(trial)
        except Untried as error:
            tried.untried.setdefault(name, str(error))
            continue
        tried.held[name] = what
        tried.untried.pop(name, None)
        for claim, message in false.items():
            if claim == "cut":
                tried.notes.append(f"operation {name!r} is linear in sums of datasets, but leave these in one block: {message}")
            else:
                workflow.fail_at(step, call, f"operation {name!r} {_SAYS[claim]}: {message}")
    return tried


def _calls(workflow: Workflow) -> Iterator[tuple[str, Call]]:
    for step, expression in workflow.expressions.items():
        for item in walk(expression):
            if isinstance(item, Call):
                yield step, item


class _Samples:
    """Small values of datasets and steps, made when they are asked for."""

    def __init__(self, workflow: Workflow, registry: Registry, blocks: SourceBlocks, datasets: Datasets) -> None:
        self._workflow = workflow
        self._registry = registry
        self._blocks = blocks
        self._datasets = datasets
        self._named: dict[str, Value | Untried] = {}
        self._rows = _common_rows(blocks)

    def trial(self, step: str, call: Call) -> Trial:
        """Give an operation with samples of what a step calls it with; of a sum that it splits, the first term.

        Raises:
            Untried: There is no sample of something.
        """
        operation, given = self._bound(step, call)
        if isinstance(operation, Program):
            raise Untried("it comes from a program, which is not run for a check")
        datasets, parameters = [], {}
        for name, part in given:
            if isinstance(part, (Constant, Variable)):
                parameters[name] = self._plain(step, part)
            else:
                datasets.append((name, self.of(step, _terms(operation, name, part)[0])))
        if operation.pairs and operation.split[1] not in dict(given):
            datasets.append((operation.split[1], dict(datasets)[operation.first]))
        parameters |= dict.fromkeys(operation.told, 0)          # all rows are its own
        datasets.sort(key=lambda pair: operation.linear and pair[0] != operation.first)
        cut = operation.linear and self._num_blocks(step, dict(given)[operation.first]) > 1
        return Trial(operation, tuple(datasets), parameters, self._entire(given), cut)

    def of(self, step: str, expression: Expression) -> Value:
        """Give the value of an expression, on samples.

        Raises:
            Untried: Something cannot be read, or raises.
        """
        match expression:
            case Ref(name=name):
                return self._sample(name)
            case Column(table=table, name=name):
                value = self.of(step, table)
                if not isinstance(value, dict) or name not in value:
                    raise Untried(f"there is no column {name!r}")
                return value[name]
            case Sum(terms=terms):
                return self._sum([term.value if isinstance(term, Constant) else self.of(step, term) for term in terms])
            case Call():
                operation, given = self._bound(step, expression)
                first = [part for name, part in given if operation.apart and name == operation.first]
                terms = [self.of(step, term) for part in first for term in _terms(operation, operation.first, part)]
                return result_of(self.trial(step, expression), terms)
            case Chosen(step=inner) | Spread(step=inner):
                return self.of(step, inner)
            case Collected(refs=refs):
                return self.of(step, refs[0])
            case Item():
                raise Untried("it is a part of a dataset that a loop goes through")
        return as_value(self._plain(step, expression))

    def _bound(self, step: str, call: Call) -> tuple[Operation, list[tuple[str, Expression]]]:
        operation = self._registry[self._workflow.operation(step, call.operation)]
        names = operation.bind(len(call.arguments), [name for name, _ in call.keywords])
        return operation, [*zip(names, call.arguments, strict=True), *call.keywords]

    def _plain(self, step: str, part: Constant | Variable) -> object:
        """A plain value; of a loop, its first."""
        if not isinstance(part, Variable):
            return part.value
        loop = self._workflow.loops[step]
        if loop.rows is None:
            raise Untried("what its loop goes through is known when it runs")
        return bound(part.template, dict(zip(loop.variables, loop.rows[0], strict=True)))

    def _sum(self, values: Sequence[object]) -> Value:
        try:
            return as_value(sum(values[1:], values[0]))
        except Exception as error:                          # shapes that do not fit, tables
            raise Untried(f"a sum of samples cannot be made: {error}") from None

    def _sample(self, name: str) -> Value:
        if name not in self._named:
            try:
                if name in self._blocks:
                    self._named[name] = self._load(name)
                else:
                    self._named[name] = self.of(name, self._workflow.expressions[name])
            except (Untried, RecursionError) as error:      # a recursion for each step of a long chain
                self._named[name] = Untried(f"there is no sample of {name!r}: {error}")
        found = self._named[name]
        if isinstance(found, Untried):
            raise found
        return found

    def _load(self, name: str) -> Value:
        """The first rows of a dataset, from as many blocks as it takes."""
        wanted, parts = self._rows[name], []
        for block in self._blocks[name]:
            stop = min(block.stop, block.start + wanted)
            if block.nbytes // max(block.stop - block.start, 1) * wanted > LARGEST:
                raise Untried(f"{wanted} rows are more than {LARGEST >> 20} MiB")
            try:
                parts.append(as_value(load(self._workflow, Block(name, block.start, stop, block.file, block.stamp))))
            except Exception as error:                      # a file that is not what it was, or cannot be read after all
                raise Untried(str(error)) from None
            wanted -= stop - block.start
            if wanted <= 0:
                break
        return as_value(concatenate(parts))

    def _num_blocks(self, step: str, expression: Expression) -> int:
        """Into how many blocks the value of an expression is cut, at most."""
        match expression:
            case Ref(name=name):
                return len(self._datasets[name].tasks) if name in self._datasets else 1
            case Column(table=table):
                return self._num_blocks(step, table)
            case Call():
                operation, given = self._bound(step, expression)
                blockwise = operation.blockwise or (operation.name, operation.code) == ("concatenate", BUILTIN)
                return max(self._num_blocks(step, part) for _, part in given) if blockwise else 1
            case Sum(terms=terms):
                return max(self._num_blocks(step, term) for term in terms)
        return 1

    def _entire(self, given: Sequence[tuple[str, Expression]]) -> bool:
        """Whether what a call gets is all there is."""
        waiting, seen = [part for _, part in given], set()
        while waiting:
            for item in walk(waiting.pop()):
                if isinstance(item, Ref) and item.name not in seen:
                    seen.add(item.name)
                    if item.name in self._workflow.expressions:
                        waiting.append(self._workflow.expressions[item.name])
                    elif self._rows[item.name] < _num_rows(self._blocks[item.name]):
                        return False
        return True


def _terms(operation: Operation, name: str, part: Expression) -> Sequence[Expression]:
    """The summands that a linear operation takes apart."""
    splits = operation.apart and name == operation.first and isinstance(part, Sum) and not numbers(part)
    return part.terms if splits else (part,)


def _num_rows(blocks: Sequence[SourceBlock]) -> int:
    return sum(block.stop - block.start for block in blocks)


def _common_rows(blocks: SourceBlocks) -> dict[str, int]:
    """How many rows of each dataset are enough; datasets with as many rows as another are cut like it."""
    least: dict[int, int] = {}
    for parts in blocks.values():
        rows = _num_rows(parts)
        row = int(np.ceil(sum(part.nbytes for part in parts) / max(rows, 1)))
        least[rows] = min(least.get(rows, rows), _round(max(ROWS, SAMPLE // max(row, 1))))
    return {name: min(rows, least[rows]) for name, parts in blocks.items() for rows in [_num_rows(parts)]}


def _round(rows: int) -> int:
    """A number of rows whose halves and thirds are round, for operations that want groups of 10 or 1,000."""
    unit = 6 * 10 ** int(np.log10(rows / 6))
    return rows // unit * unit

"""Datasets as the tasks that make their blocks, and what is asked of expressions when they are evaluated. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mpiflow.operations.operation import Operation
from mpiflow.workflow.expressions import Call, Chosen, Expression, Fed, Item, Variable, children, walk
from mpiflow.workflow.loops import bound


@dataclass(frozen=True, slots=True)
class Blocks:
    """A dataset as the tasks that make its blocks, and where each block's rows start, if known."""

    tasks: tuple[int, ...]
    starts: tuple[int, ...] | None = None       # one more than blocks: the last is the number of rows

    def rows(self, block: int) -> int | None:
        """Number of rows of one block, if known."""
        return None if self.starts is None else self.starts[block + 1] - self.starts[block]


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of a call: datasets, and plain ones in order of their names, each with whether variables are in it."""

    datasets: tuple[tuple[str, Expression], ...]
    plain: tuple[tuple[str, Any, bool], ...]

    def parameters(self, values: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
        """The plain arguments when the variables of the loop have these values."""
        return tuple([(name, bound(value, values) if varies else value) for name, value, varies in self.plain])


def fixed_parts(expression: Expression) -> list[int]:
    """Give the ids of those parts of an expression that are the same for all instances of a loop."""
    parts = list(walk(expression))
    varying: set[int] = set()
    for part in reversed(parts):                            # what is inside comes first
        varies = isinstance(part, (Variable, Item, Fed)) or (
            isinstance(part, Chosen) and any(isinstance(item.value, Variable) for item in part.conditions))
        if varies or any(id(inner) in varying for inner in children(part)):
            varying.add(id(part))
    return [id(part) for part in parts if id(part) not in varying]


def added(terms: Sequence[Expression]) -> Expression:
    """Terms added along a binary tree over their positions."""
    while len(terms) > 1:
        terms = [Call("add", tuple(terms[i:i + 2])) if i + 1 < len(terms) else terms[i] for i in range(0, len(terms), 2)]
    return terms[0]


def split(operation: Operation, call: Call) -> Expression:
    """The argument that a linear operation splits."""
    return call.arguments[0] if call.arguments else dict(call.keywords)[operation.first]


def joined(parts: Sequence[Blocks]) -> Blocks:
    """The blocks of several datasets one after the other."""
    tasks = tuple(task for part in parts for task in part.tasks)
    if any(part.starts is None for part in parts):
        return Blocks(tasks)
    starts = [0]
    for part in parts:
        offset = starts[-1]
        starts += [offset + start for start in part.starts[1:]]
    return Blocks(tasks, tuple(starts))

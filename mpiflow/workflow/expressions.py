"""What the expressions of steps are made of, and how to go through them; ``parsing`` makes them from text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mpiflow.workflow.loops import Row, bound, written


@dataclass(frozen=True, slots=True)
class Ref:
    """A dataset or a step, by name."""

    name: str
    offset: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Constant:
    """A plain value: number, text, true, false or none, or a list of such."""

    value: Any
    offset: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Variable:
    """A plain value made of variables of the step's loop: ``$i``, or a text or a list with ``$i`` in it."""

    template: Any
    offset: int = field(default=0, compare=False)

    @property
    def value(self) -> Any:
        """What messages show."""
        return written(self.template)


@dataclass(frozen=True, slots=True)
class Item:
    """The block or the row of a dataset that a variable of the step's loop stands for."""

    name: str
    offset: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Sum:
    """Two or more terms joined by ``+``, none of them a sum itself; a linear operation takes it apart."""

    terms: tuple[Expression, ...]
    offset: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Column:
    """One named array of a table."""

    table: Expression
    name: str
    offset: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """An operation applied to expressions; ``places`` are the offsets of its keywords."""

    operation: str
    arguments: tuple[Expression, ...]
    keywords: tuple[tuple[str, Expression], ...] = ()
    offset: int = field(default=0, compare=False)
    places: tuple[int, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Condition:
    """What a variable of another step's loop must be: ``T >= 300``."""

    variable: str
    operation: str
    value: Constant | Variable
    offset: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Those instances of a step with a loop for which all conditions hold: ``sweep[T >= 300, seed == 0]``."""

    step: Expression
    conditions: tuple[Condition, ...]
    offset: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Spread:
    """All instances of a step with a loop, each by itself: ``sweep.*``."""

    step: Expression
    offset: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Collected:
    """Datasets that are the instances of one step, in order, with the values of the variables; not written by users."""

    refs: tuple[Ref, ...]
    variables: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    offset: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Fed:
    """What a turn of a repeated step is given for an input by the turn before; not written by users."""

    name: str
    offset: int = field(default=0, compare=False)


Expression = Ref | Constant | Variable | Item | Fed | Sum | Column | Call | Chosen | Spread | Collected
PLAIN = (Constant, Variable)


def walk(expression: Expression) -> Iterator[Expression]:
    """Yield ``expression`` and everything inside it, outermost first, left to right."""
    stack = [expression]
    while stack:
        current = stack.pop()
        yield current
        stack.extend(reversed(children(current)))


def children(expression: Expression) -> tuple[Expression, ...]:
    """Give the expressions directly inside ``expression``."""
    match expression:
        case Sum(terms=terms):
            return terms
        case Column(table=table):
            return (table,)
        case Chosen(step=step) | Spread(step=step):
            return (step,)
        case Collected(refs=refs):
            return refs
        case Call(arguments=arguments, keywords=keywords):
            return arguments + tuple(value for _, value in keywords)
    return ()


def references(expression: Expression) -> tuple[Ref, ...]:
    """Give every reference to a dataset or step, left to right."""
    return tuple(item for item in walk(expression) if isinstance(item, Ref))


def renamed(expression: Expression, name: Callable[[Ref], Expression], column: Callable[[Column], Expression | None],
            values: Mapping[str, Any] | None, memo: dict[int, Expression]) -> Expression:
    """Give ``expression`` with other names in it.

    Args:
        expression: What to go through.
        name: Gives what stands for a reference.
        column: Gives what stands for a column, if something else does.
        values: Values of variables, to be put in.
        memo: What has become of parts, by id: the same part becomes the same again.
    """
    def again(part: Expression) -> Expression:
        if id(part) not in memo:
            memo[id(part)] = renew(part)
        return memo[id(part)]

    def renew(part: Expression) -> Expression:
        match part:
            case Ref():
                return name(part)
            case Column(table=table):
                return column(part) or replace(part, table=again(table))
            case Sum(terms=terms):
                return replace(part, terms=tuple(map(again, terms)))
            case Call(arguments=arguments, keywords=keywords):
                return replace(part, arguments=tuple(map(again, arguments)),
                               keywords=tuple([(key, again(item)) for key, item in keywords]))
            case Spread(step=step):
                return replace(part, step=again(step))
            case Chosen(step=step, conditions=conditions):
                return replace(part, step=again(step), conditions=tuple(
                    [replace(item, value=again(item.value)) for item in conditions]))
            case Variable(template=template, offset=offset) if values is not None:
                return Constant(bound(template, values), offset)
        return part

    return again(expression)

"""Which instances of a loop there are, and which of them are meant: ``where: $T > 250`` and ``sweep[T == 300]``."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial, reduce
from typing import Any

from mpiflow.errors import did_you_mean
from mpiflow.workflow.expressions import PLAIN, Call, Condition, Constant, Expression, Sum, Variable, walk
from mpiflow.workflow.loops import Row, bound

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "less": operator.lt, "less_equal": operator.le, "greater": operator.gt, "greater_equal": operator.ge,
    "equal": operator.eq, "not_equal": operator.ne,
}
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "divide": operator.truediv,
    "floor_divide": operator.floordiv, "remainder": operator.mod, "power": math.pow,
    "negative": operator.neg, "positive": operator.pos,
}
_LOGIC: dict[str, Callable[..., bool]] = {
    "logical_and": lambda x, y: x and y, "logical_or": lambda x, y: x or y, "logical_not": operator.not_,
}
_NUM_ARGUMENTS = {"negative": 1, "positive": 1, "logical_not": 1}
_FORMS = "numbers, text, $variables, + - * / // % **, comparisons, logical_and, logical_or and logical_not"


class FilterError(ValueError):
    """What is asked of an instance cannot be answered."""


# where

def misfits(where: Expression) -> Iterator[tuple[Expression, str]]:
    """Yield what cannot stand in a ``where``, and why not."""
    for part in walk(where):
        if isinstance(part, (*PLAIN, Sum)):
            continue
        name = part.operation if isinstance(part, Call) else ""
        if not name:
            yield part, f"'where' can only have {_FORMS}"
        elif name not in _COMPARISONS | _ARITHMETIC | _LOGIC:
            yield part, f"'where' has no operation {name!r}" + (did_you_mean(name, _LOGIC) or f"; it can have {_FORMS}")
        elif part.keywords or len(part.arguments) != (num := _NUM_ARGUMENTS.get(name, 2)):
            yield part, f"{name} takes {num} argument{'s' * (num != 1)} here, without names"


def holds(where: Expression, values: Mapping[str, Any]) -> bool:
    """Tell whether ``where``, which has no misfits, holds for these values of the variables.

    Raises:
        FilterError: It is neither true nor false, or cannot be computed.
    """
    found = _computed(where, values)
    if not isinstance(found, bool):
        raise FilterError(f"'where' must be true or false, not {found!r}")
    return found


def _computed(part: Expression, values: Mapping[str, Any]) -> Any:
    if isinstance(part, Constant):
        return part.value
    if isinstance(part, Variable):
        return bound(part.template, values)
    if isinstance(part, Sum):
        return reduce(partial(_applied, "add"), [_computed(term, values) for term in part.terms])
    return _applied(part.operation, *[_computed(argument, values) for argument in part.arguments])


def _applied(name: str, *arguments: Any) -> Any:
    if name in _COMPARISONS:
        return _compared(name, *arguments)
    kind, what = (bool, "true or false") if name in _LOGIC else ((int, float), "numbers")
    for argument in arguments:
        if not isinstance(argument, kind) or (name in _ARITHMETIC and isinstance(argument, bool)):
            raise FilterError(f"{name} needs {what}, not {argument!r}")
    try:
        return (_LOGIC | _ARITHMETIC)[name](*arguments)
    except (ArithmeticError, ValueError) as error:
        raise FilterError(f"{name} of {' and '.join(map(repr, arguments))}: {error}") from None


def _compared(name: str, left: Any, right: Any) -> bool:
    try:
        return bool(_COMPARISONS[name](left, right))
    except TypeError:
        raise FilterError(f"{left!r} and {right!r} have no order") from None


# sweep[...]

class Chooser:
    """Finds instances of one loop by the values of its variables, those that must be equal by a table."""

    def __init__(self, variables: Sequence[str], rows: Sequence[Row]) -> None:
        self._variables = variables
        self._rows = rows
        self._tables: dict[tuple[int, ...], dict[Row, list[int]]] = {}

    def choose(self, conditions: Sequence[Condition], values: Mapping[str, Any]) -> list[int]:
        """Give the numbers of the instances for which all conditions hold.

        Args:
            conditions: Of variables that the loop has.
            values: Of the variables of the loop that asks.

        Raises:
            FilterError: Two values have no order.
        """
        asked = [(self._variables.index(item.variable), item.operation, _value(item, values)) for item in conditions]
        equal = {place: value for place, name, value in asked if name == "equal" and isinstance(value, (int, float, str))}
        found = self._table(tuple(sorted(equal))).get(tuple([equal[place] for place in sorted(equal)]), [])
        return [number for number in found
                if all(_compared(name, self._rows[number][place], value) for place, name, value in asked)]

    def _table(self, places: tuple[int, ...]) -> dict[Row, list[int]]:
        """The numbers of instances by their values at these places."""
        if places not in self._tables:
            table: dict[Row, list[int]] = {}
            for number, row in enumerate(self._rows):
                table.setdefault(tuple([row[place] for place in places]), []).append(number)
            self._tables[places] = table
        return self._tables[places]


def _value(condition: Condition, values: Mapping[str, Any]) -> Any:
    value = condition.value
    return bound(value.template, values) if isinstance(value, Variable) else value.value

"""The loop of a step, ``for: {T: [250, 300], i: range(4)}``: its instances, and plain values with an instance put in."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpiflow.workflow.expressions import Expression

PARAMETER = re.compile(r"\$(?:\$|([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})")
MAX_ITEMS = 1_000_000
LOOPS = ("for", "zip")                            # the keys that make a step a loop
_WHOLE = r"\s*([-+]?\d(?:_?\d)*)\s*"
_RANGE = re.compile(rf"\s*range\s*\({_WHOLE}(?:,{_WHOLE})?(?:,{_WHOLE})?,?\s*\)\s*")
_FORMS = "range(stop), range(start, stop) or range(start, stop, step) with whole numbers"
_SHOWN = 40         # characters of a value in the name of an instance

Row = tuple[Any, ...]


# Plain values

@dataclass(frozen=True, slots=True)
class Hole:
    """Where the value of a variable belongs."""

    name: str


@dataclass(frozen=True, slots=True)
class Joined:
    """A text with values between its pieces."""

    pieces: tuple[str | Hole, ...]


def template(value: Any, variables: Collection[str]) -> tuple[Any, bool]:
    """Give a plain value with a ``Hole`` for each ``$variable`` in its texts; and whether there are any.

    ``$$`` in a text becomes a dollar sign.
    """
    if isinstance(value, str) and "$" in value:
        return _text_template(value, variables)
    if isinstance(value, list):
        parts = [template(item, variables) for item in value]
        return [part for part, _ in parts], any(varies for _, varies in parts)
    if isinstance(value, dict):
        named = {key: template(item, variables) for key, item in value.items()}
        return {key: part for key, (part, _) in named.items()}, any(varies for _, varies in named.values())
    return value, False


def _text_template(text: str, variables: Collection[str]) -> tuple[Any, bool]:
    pieces: list[str | Hole] = []
    start, piece = 0, ""
    for match in PARAMETER.finditer(text):
        piece += text[start:match.start()]
        start = match.end()
        if (match[1] or match[2]) in variables:
            if match[0] == text:
                return Hole(match[1] or match[2]), True
            pieces += (piece, Hole(match[1] or match[2]))
            piece = ""
        else:
            piece += "$" if match[0] == "$$" else match[0]
    piece += text[start:]
    return (Joined((*pieces, piece)), True) if pieces else (piece, False)


def bound(template: Any, values: Mapping[str, Any]) -> Any:
    """Give the plain value that a template stands for when the variables have these values."""
    if isinstance(template, Hole):
        return values[template.name]
    if isinstance(template, Joined):
        return "".join([str(values[piece.name]) if isinstance(piece, Hole) else piece for piece in template.pieces])
    if isinstance(template, list):
        return [bound(part, values) for part in template]
    if isinstance(template, dict):
        return {key: bound(part, values) for key, part in template.items()}
    return template


def holes(template: Any) -> list[str]:
    """Give the variables of a template, in order, each once."""
    if isinstance(template, Hole):
        return [template.name]
    parts: Iterable[Any] = ()
    if isinstance(template, Joined):
        parts = template.pieces
    elif isinstance(template, (list, dict)):
        parts = template.values() if isinstance(template, dict) else template
    return list(dict.fromkeys(name for part in parts for name in holes(part)))


class _Written(dict):
    """Each variable as the user writes it."""

    def __missing__(self, name: str) -> str:
        return f"${name}"


def written(template: Any) -> Any:
    """Give a template as the user wrote it, for messages."""
    return bound(template, _Written())


def escaped(value: Any) -> Any:
    """Give a plain value whose texts ``template`` leaves as they are."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, list):
        return [escaped(item) for item in value]
    if isinstance(value, dict):
        return {key: escaped(item) for key, item in value.items()}
    return value


# Instances

class LoopError(ValueError):
    """A loop has no instances, or too many; ``variable`` is the one to blame, empty if none is."""

    def __init__(self, message: str, variable: str = "") -> None:
        super().__init__(message)
        self.variable = variable


@dataclass(frozen=True, slots=True)
class Found:
    """Values that are known when all ranks have met.

    Attributes:
        kind: "blocks" or "rows" of a dataset, or "files" that match a pattern.
        of: The dataset, or the pattern.
    """

    kind: str
    of: Expression | str


@dataclass(frozen=True, slots=True)
class Axis:
    """One variable with its values; or several, which take theirs side by side.

    Attributes:
        variables: Their names.
        values: For each, its values in order; a template of these, which variables of earlier axes fill; or ``Found``.
    """

    variables: tuple[str, ...]
    values: tuple[Sequence[Any] | Joined | Hole | Found, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """What a step is done for: every combination of the values of its axes, the last one going fastest.

    Attributes:
        axes: Each with its variables.
        where: What must hold for a combination.
        rows: The values of all variables for each instance, in order; None if they are not known yet.
    """

    axes: tuple[Axis, ...]
    where: tuple[Expression, ...] = ()
    rows: tuple[Row, ...] | None = None

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of all variables, in order."""
        return tuple([name for axis in self.axes for name in axis.variables])

    @property
    def found(self) -> dict[str, Found]:
        """The variables whose values are known only when all ranks have met."""
        return {name: values for axis in self.axes for name, values in zip(axis.variables, axis.values, strict=True)
                if isinstance(values, Found)}

    @property
    def datasets(self) -> tuple[str, ...]:
        """The variables that stand for blocks or rows of datasets."""
        return tuple([name for name, found in self.found.items() if found.kind != "files"])


def combinations(loop: Loop, given: Mapping[str, Sequence[Any]]) -> list[Row]:
    """Give the values of all variables for each instance, ``where`` left out of account. Pure.

    Args:
        loop: What to go through.
        given: The values of variables that are ``Found``.

    Raises:
        LoopError: There are no values, or too many, or axes that go side by side have different lengths.
    """
    rows: list[Row] = [()]
    names: tuple[str, ...] = ()
    for axis in loop.axes:
        depends = any(holes(values) for values in axis.values)
        fixed = [] if depends else _axis_rows(axis, {}, given)
        if len(rows) * len(fixed) > MAX_ITEMS:
            raise LoopError(f"{len(rows) * len(fixed):,} instances are too many; {MAX_ITEMS:,} are possible", axis.variables[0])
        found: list[Row] = []
        for row in rows:
            more = _axis_rows(axis, dict(zip(names, row, strict=True)), given) if depends else fixed
            found += [row + end for end in more] if row else more
            if len(found) > MAX_ITEMS:
                raise LoopError(f"more than {MAX_ITEMS:,} instances are too many", axis.variables[0])
        if not found:
            raise LoopError(f"{axis.variables[0]!r} never has a value", axis.variables[0])
        rows, names = found, names + axis.variables
    return rows


def _axis_rows(axis: Axis, values: Mapping[str, Any], given: Mapping[str, Sequence[Any]]) -> list[Row]:
    """The values of an axis; there may be none for some ``values`` of the variables before it."""
    columns = []
    for name, items in zip(axis.variables, axis.values, strict=True):
        try:
            columns.append(given[name] if isinstance(items, Found) else parse_items(bound(items, values), bool(values)))
        except ValueError as error:
            at = ", ".join(f"{key}={value}" for key, value in values.items() if key in holes(items))
            raise LoopError(f"{error}" + (f" (at {at})" if at else ""), name) from None
    odd = next((index for index, column in enumerate(columns) if len(column) != len(columns[0])), 0)
    if odd:
        raise LoopError(f"{axis.variables[odd]!r} has {len(columns[odd])} values, {axis.variables[0]!r} has {len(columns[0])}; "
                        "side by side they need equally many", axis.variables[odd])
    return list(zip(*columns, strict=True))


def label(variables: Sequence[str], row: Row) -> str:
    """Name an instance for people: T=300,seed=2."""
    return ",".join([f"{name}={_shortened(str(value))}" for name, value in zip(variables, row, strict=True)])


def _shortened(text: str) -> str:
    """The end of a long text tells more: it may be a path."""
    return text if len(text) <= _SHOWN else "..." + text[3 - _SHOWN:]


def parse_items(written: Sequence[Any] | str, empty: bool = False) -> Sequence[Any]:
    """Give the values of a variable: a list as it is, or what a text like ``range(10)`` stands for.

    Raises:
        ValueError: There are none, unless they may be ``empty``; or too many, or the text is something else; the message
            says what.
    """
    items = _parse_range(written) if isinstance(written, str) else written
    if not items and not empty:
        raise ValueError(f"{written.strip()} has no items" if isinstance(written, str) else "the list has no items")
    if len(items) > MAX_ITEMS:
        raise ValueError(f"{len(items):,} items are too many; {MAX_ITEMS:,} are possible")
    return items


def _parse_range(text: str) -> range:
    match = _RANGE.fullmatch(text)
    if match is None or any(number and len(number) > 19 for number in match.groups()):
        raise ValueError(f"{text!r} is no list and no range; write [a, b, ...], {_FORMS}")
    numbers = [int(number) for number in match.groups() if number]
    if len(numbers) == 3 and numbers[2] == 0:
        raise ValueError(f"{text.strip()} never ends: its step is 0")
    return range(*numbers)

"""The loops of a document: ``for``, ``zip`` and ``where`` of a step, and who uses its instances."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from mpiflow.errors import DocumentError, did_you_mean, near_file
from mpiflow.workflow.expressions import Chosen, Column, Expression, Item, Ref, Spread, walk
from mpiflow.workflow.filters import FilterError, holds, misfits
from mpiflow.workflow.located import Located, Path
from mpiflow.workflow.loops import LOOPS, Axis, Found, Loop, LoopError, Row, combinations, holes, parse_items, template
from mpiflow.workflow.model import Step, Values
from mpiflow.workflow.parsing import ExpressionError, parse_expression
from mpiflow.workflow.text import decode, plain_values

Read = Callable[[str], bytes]
TABLES = {".csv": ",", ".tsv": "\t"}


def written_loop(located: Located, name: str) -> bool:
    """Whether the user gave a step a loop, right or not."""
    step = located.value["steps"][name]
    return isinstance(step, dict) and any(key in step for key in (*LOOPS, "where"))


def read_loop(located: Located, name: str, step: Step, read: Read) -> Loop | None:
    """Give the loop of a step; None if it has none, or a wrong one, which is reported.

    Args:
        located: Takes what is wrong.
        name: Of the step.
        step: The step.
        read: Gives the contents of a file beside the document; raises OSError.
    """
    num, written = len(located.problems), located.value["steps"][name]
    given = {key: written[key] for key in LOOPS if key in written}
    if "where" in written and not given:
        located.report(("steps", name, "where"), "'where' chooses among the instances of a loop; there is no 'for'", key=True)
    if any(not isinstance(part, dict) or not part or ("steps", name, key) in located.broken for key, part in given.items()):
        return None
    reader = _Reader(located, name, given, read)
    axes = reader.axes({"for": step.loop, "zip": step.beside})
    if len(located.problems) > num or located.broken_inside(("steps", name, "for"), ("steps", name, "zip")) or not axes:
        return None
    loop = Loop(axes, reader.where(step.where, axes))
    if not loop.found and len(located.problems) == num:
        try:
            loop = Loop(axes, loop.where, tuple(instances(loop, {})))
        except LoopError as error:
            located.report(loop_path(located, name, error.variable), str(error))
    return loop if len(located.problems) == num else None


def loop_path(located: Located, name: str, variable: str) -> Path:
    """Where a variable of the loop of a step has its values; without a variable, where the loop is filtered."""
    key = next((key for key in LOOPS if ("steps", name, key, variable) in located.marks), "")
    return ("steps", name, key, variable) if key else ("steps", name, "where")


def instances(loop: Loop, given: Mapping[str, Sequence[Any]]) -> list[Row]:
    """Give the values of all variables for each instance of a loop. Pure.

    Args:
        loop: What to go through.
        given: The values of variables that are ``Found``.

    Raises:
        LoopError: There are no instances, or too many, or ``where`` cannot be answered.
    """
    rows = combinations(loop, given)
    if not loop.where:
        return rows
    names, left = loop.variables, []
    for row in rows:
        values = dict(zip(names, row, strict=True))
        try:
            if all(holds(condition, values) for condition in loop.where):
                left.append(row)
        except FilterError as error:
            raise LoopError(f"{error} (at {', '.join(f'{key}={value}' for key, value in values.items())})") from None
    if not left:
        raise LoopError(f"'where' leaves none of {len(rows):,} instances")
    return left


class _Reader:
    """Reads the values of the variables of one step."""

    def __init__(self, located: Located, step: str, given: Mapping[str, Mapping[str, Any]], read: Read) -> None:
        self._located = located
        self._path: Path = ("steps", step)
        self._given = given
        self._variables = [name for part in given.values() for name in part]
        self._read = read

    def axes(self, typed: Mapping[str, Mapping[str, Any]]) -> tuple[Axis, ...]:
        """Give the axes; what is wrong is reported."""
        params = self._located.value.get("params") or {}
        axes, done = [], []
        for key, part in self._given.items():
            found = {}
            for name, values in part.items():
                here = (*self._path, key, name)
                if cut_off(values):
                    self._located.report(here, f"{values!r} is cut off; inside {{ }} a range with a comma needs quotes")
                elif name in params:
                    self._located.report(here, f"{name!r} is a parameter of the document already; give the variable another name",
                                         key=True)
                elif self._variables.count(name) > 1 and key == LOOPS[1]:
                    self._located.report(here, f"{name!r} stands under {LOOPS[0]!r} as well", key=True)
                elif name in typed[key] and not self._located.broken_inside(here):
                    found[name] = self._values(here, typed[key][name], done)
                if key == "for":
                    done.append(name)
            done += part
            kinds = [((name,), (values,)) for name, values in found.items()] if key == "for" else [
                (tuple(found), tuple(found.values()))]
            axes += [Axis(names, values) for names, values in kinds if names and None not in values]
        return tuple(axes)

    def _values(self, path: Path, written: Any, before: Sequence[str]) -> Any:
        """The values of one variable, in which those ``before`` it may stand; None if they are wrong."""
        if isinstance(written, Values):
            return self._elsewhere(path, written)
        values, varies = template(written, self._variables)
        early = [name for name in holes(values) if name not in before]
        if early:
            self._located.report(path, f"${early[0]} has no value here; a variable of 'for' may use those before it, one of "
                                 "'zip' those of 'for'")
        elif not varies:
            try:
                return parse_items(values)
            except ValueError as error:
                self._located.report(path, str(error))
        return None if early or not varies else values

    def _elsewhere(self, path: Path, values: Values) -> Any:
        given = [key for key in Values.SOURCES if getattr(values, key) is not None]
        if len(given) != 1:
            which = f"has {' and '.join(given)}" if given else "has none of them"
            self._located.report(path, f"{path[-1]!r} needs exactly one of {', '.join(Values.SOURCES)}; it {which}", key=True)
            return None
        (key,) = given
        if values.column is not None and key != "file":
            self._located.report((*path, "column"), f"'column' belongs to 'file', not to {key!r}", key=True)
        text = getattr(values, key)
        if key == "file":
            return self._listed(path, values)
        if key == "files":
            return Found(key, text)
        expression = self._parsed((*path, key), text)
        if expression is not None and not isinstance(expression, (Ref, Column, Chosen)):
            self._located.report((*path, key), f"{text!r} is no name of a dataset or a step; give it one, as a step", offset=0)
            return None
        return Found(key, expression) if expression else None

    def _listed(self, path: Path, values: Values) -> list[Any] | None:
        """The values in a file."""
        here = (*path, "file")
        try:
            text = decode(self._read(values.file), values.file)
        except OSError as error:
            self._located.report(here, f"cannot read {values.file}: {error.strerror or error}{near_file(error.filename)}")
            return None
        except DocumentError as error:
            self._located.report(here, f"{error}")
            return None
        separator = TABLES.get(PurePath(values.file).suffix.lower())
        if (separator is None) != (values.column is None):
            self._located.report(here, f"{values.file} is a table: say which 'column' is meant" if separator else
                                 f"{values.file} has no columns; it is no {' or '.join(TABLES)} file")
            return None
        try:
            items = _column(text, separator, values.column) if separator else _lines(text)
            return parse_items(plain_values(items))
        except (ValueError, csv.Error) as error:
            self._located.report((*path, "column") if isinstance(error, _NoColumnError) else here, f"{values.file}: {error}")
            return None

    def where(self, written: str | list[str], axes: Sequence[Axis]) -> tuple[Expression, ...]:
        """Give what must hold; what is wrong is reported."""
        here = (*self._path, "where")
        found = []
        for index, text in enumerate([written] if isinstance(written, str) else written):
            path = here if isinstance(written, str) else (*here, index)
            expression = self._parsed(path, text, Loop(tuple(axes)).datasets) if written else None
            if expression is None:
                continue
            found.append(expression)
            for part, message in misfits(expression):
                message = f"${part.name} is a dataset, which has no value before the run" if isinstance(part, Item) else message
                self._located.report(path, message, offset=part.offset)
                break
        return tuple(found)

    def _parsed(self, path: Path, text: str, datasets: Collection[str] = ()) -> Expression | None:
        return parsed(self._located, path, text, self._variables, datasets)


class _NoColumnError(ValueError):
    """A table lacks a column."""


def _column(text: str, separator: str, column: str) -> list[str]:
    """The values of a column of a table whose first line names its columns."""
    names, *rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), delimiter=separator) if row] or [[]]
    if column not in names:
        raise _NoColumnError(f"no column {column!r}" + (did_you_mean(column, names) or f"; it has {', '.join(names) or 'none'}"))
    short = next((number for number, row in enumerate(rows, 1) if len(row) != len(names)), 0)
    if short:
        raise ValueError(f"row {short} has {len(rows[short - 1])} cells, not {len(names)}")
    return [row[names.index(column)] for row in rows]


def _lines(text: str) -> list[str]:
    """The lines of a text, without empty ones and comments."""
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def cut_off(values: Any) -> bool:
    """Whether YAML has cut ``values`` at a comma: range(1, 2) without quotes in a flow mapping."""
    return isinstance(values, str) and "(" in values and ")" not in values


def parsed(located: Located, path: Path, text: str, variables: Collection[str] = (),
           datasets: Collection[str] = ()) -> Expression | None:
    """Parse the expression at ``path``; None if it is none, which is reported."""
    try:
        return parse_expression(text, variables, datasets)
    except ExpressionError as error:
        cut = error.unclosed and located.followed_by(path) == ","
        hint = "; inside { } an expression with a comma needs quotes" if cut else ""
        located.report(path, str(error) + hint, offset=error.offset)
        return None


# Who uses instances

def misused(expression: Expression, loops: Mapping[str, Collection[str]]) -> Iterator[tuple[str, int, str]]:
    """Yield step, offset and message for each use of instances that there are not.

    Args:
        expression: Of a step.
        loops: The variables of each step that has a loop.
    """
    for part in walk(expression):
        if not isinstance(part, (Chosen, Spread)):
            continue
        ref = loop_of(part)
        if ref.name not in loops:
            yield ref.name, part.offset, f"{ref.name!r} has no instances: it is no step with 'for'"
            continue
        variables = loops[ref.name]
        for item in part.conditions if isinstance(part, Chosen) else ():
            if item.variable not in variables:
                yield ref.name, item.offset, f"the loop of {ref.name!r} has no variable {item.variable!r}" + (
                    did_you_mean(item.variable, variables) or f"; it has {', '.join(variables)}")


def loop_of(part: Expression) -> Ref:
    """Give the step whose instances are meant."""
    while not isinstance(part, Ref):
        part = part.table if isinstance(part, Column) else part.step
    return part

"""Steps that run only when something holds, and steps that are done again with what they have made: ``when`` and ``repeat``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mpiflow.errors import did_you_mean
from mpiflow.workflow.expressions import PLAIN, Constant, Expression, Fed, Item, Ref, references, walk
from mpiflow.workflow.filters import FilterError, holds, misfits
from mpiflow.workflow.located import Located, Path
from mpiflow.workflow.loops import Loop
from mpiflow.workflow.model import Step
from mpiflow.workflow.sweeps import parsed

Parts = tuple[tuple[Path, Expression], ...]


@dataclass(frozen=True)
class Repetition:
    """How a step is repeated.

    Attributes:
        feed: Input to what a turn gives the next one for it; over what the turn has made.
        until: What holds after the last turn; likewise.
        at_most: Number of turns that there may be.
        accepts: Whether the last of them is good in any case.
        again: What the step computes in a turn that is fed; None if it is a document.
        members: The steps of that document, without its inputs, as the whole workflow names them.
        outputs: Those of them that others may read.
    """

    feed: Mapping[str, Expression]
    until: Expression
    at_most: int
    accepts: bool
    again: Expression | None = None
    members: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    def renamed(self, again: Callable[[Expression], Expression]) -> Repetition:
        """Give it with other expressions."""
        return replace(self, feed={key: again(item) for key, item in self.feed.items()}, until=again(self.until),
                       again=None if self.again is None else again(self.again))

    def fed_by(self, call: Expression) -> Repetition:
        """Give it with the call that a fed turn makes, where ``call`` is that of the first one."""
        again = replace(call, keywords=tuple([(key, Fed(key) if key in self.feed else item) for key, item in call.keywords]))
        return replace(self, again=again)


# when

def read_when(located: Located, name: str, step: Step, loop: Loop | None) -> Expression | None:
    """Give what must hold for a step to run; None if nothing must, or what is written is wrong, which is reported."""
    path = ("steps", name, "when")
    if step.when is None or path in located.broken:
        return None
    if isinstance(step.when, bool):
        return Constant(step.when)
    variables, datasets = (loop.variables, loop.datasets) if loop else ((), ())
    found = parsed(located, path, step.when, variables, datasets)
    if found is None or not is_plain(found):
        return found
    try:
        for part, message in misfits(found):
            raise FilterError(message) if part is found else FilterError(f"{message}, where there are no datasets")
        return found if variables else settled(found)
    except FilterError as error:
        located.report(path, _said(error))
        return None


def is_plain(expression: Expression) -> bool:
    """Whether an expression has no datasets in it."""
    return not any(isinstance(part, (Ref, Item)) for part in walk(expression))


def settled(when: Expression, values: Mapping[str, Any] | None = None) -> Constant:
    """Give what a condition without datasets comes to.

    Raises:
        FilterError: It is neither true nor false.
    """
    try:
        return Constant(holds(when, values or {}), when.offset)
    except FilterError as error:
        raise FilterError(_said(error)) from None


def _said(error: FilterError) -> str:
    return str(error).replace("'where'", "'when'")


# repeat

def read_repeat(located: Located, name: str, step: Step, loop: Loop | None) -> Repetition | None:
    """Give how a step is repeated; None if it is not, or what is written is wrong, which is reported."""
    path, written = ("steps", name, "repeat"), step.repeat
    if written is None or located.broken_inside(path):
        return None
    num = len(located.problems)
    prefix = "in." if isinstance(step.run, list) else ""
    variables = loop.variables if loop else ()
    if step.workflow is None and not prefix and not (isinstance(step.run, str) and step.run.strip().isidentifier()):
        located.report(path, "what is repeated needs names for what it is given: an operation with 'in', a program, or a "
                       "workflow", key=True)
        return None
    feed = {key: _over_turn(located, (*path, "feed", key), name, text, variables) for key, text in written.feed.items()}
    for key in feed if step.workflow is None else ():
        if key not in step.inputs and not located.broken_inside(("steps", name, "in")):
            located.report((*path, "feed", key), f"{key!r} is not given under 'in', where its value for the first turn belongs"
                           + did_you_mean(key, step.inputs), key=True)
    until = _over_turn(located, (*path, "until"), name, written.until, variables)
    if len(located.problems) > num:
        return None
    return Repetition({prefix + key: item for key, item in feed.items()}, until, written.at_most, written.on_limit == "accept")


def _over_turn(located: Located, path: Path, name: str, text: str, variables: tuple[str, ...]) -> Expression | None:
    """Read an expression over what a turn has made, which stands under the name of the step."""
    found = parsed(located, path, text, variables)
    if found is None:
        return None
    what = f"what a turn has made, which is called {name!r} here"
    refs = references(found)
    other = next((ref for ref in refs if ref.name != name), None)
    if other is not None:
        located.report(path, f"{other.name!r} is not {what}" + did_you_mean(other.name, [name]), offset=other.offset)
    elif not refs or isinstance(found, PLAIN):
        located.report(path, f"{path[-1]!r} must be made of {what}", offset=found.offset)
    return found


def parts_of(name: str, when: Expression | None, repetition: Repetition | None) -> Parts:
    """Give the expressions of ``when`` and ``repeat`` of a step, and where they stand."""
    path, found = ("steps", name), []
    if when is not None:
        found.append(((*path, "when"), when))
    if repetition is not None:
        found.append(((*path, "repeat", "until"), repetition.until))
        found += [((*path, "repeat", "feed", key.removeprefix("in.")), item) for key, item in repetition.feed.items()]
    return tuple(found)

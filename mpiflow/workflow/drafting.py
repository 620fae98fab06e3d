"""One workflow document by itself, as far as it is right: its steps, their loops, and the names in them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import msgspec

from mpiflow.errors import DocumentError, did_you_mean
from mpiflow.workflow.convert import convert_document, shown
from mpiflow.workflow.expressions import PLAIN, Call, Constant, Expression, Ref, Variable, references
from mpiflow.workflow.located import Located, Path
from mpiflow.workflow.loops import Loop, holes, template
from mpiflow.workflow.model import Document, Given, ResultFile, Step
from mpiflow.workflow.policies import Policy, check_policy
from mpiflow.workflow.programs import check_program, is_program, plain_arguments, program_name
from mpiflow.workflow.repeating import Parts, Repetition, parts_of, read_repeat, read_when
from mpiflow.workflow.rules import check_datasets, check_results
from mpiflow.workflow.sweeps import Read, loop_path, parsed, read_loop, written_loop

_INSIDE = {                                                 # keys of a step that one which is a workflow cannot have
    "ranks": "give it to those of its steps that are parallel operations", "replicas": "give it to its steps",
    "unit": "its steps have units of their own", "tags": "its steps have tags of their own",
}


@dataclass(frozen=True)
class Other:
    """Another document that a step is: its file, what it is given, and plain values for its parameters."""

    file: str
    inputs: Mapping[str, Expression]
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Draft:
    """A document, as far as it is right.

    Attributes:
        located: Where each value stands, and what is wrong.
        document: The typed document, without the parts that are wrong.
        names: Every name of a dataset, a step or an input, right or not.
        parts: Every expression of each step as the document has it, and where; several if ``in`` gives them.
        expressions: What each step computes; without those that cannot be read.
        loops: The loops of the steps that have one.
        others: The steps that are other documents.
        policies: What becomes of failures, for steps that say so.
        conditions: What must hold for steps to run, where they say so.
        repeats: How steps are repeated, where they are.
    """

    located: Located
    document: Document
    names: Collection[str]
    parts: dict[str, Parts] = field(default_factory=dict)
    expressions: dict[str, Expression] = field(default_factory=dict)
    loops: dict[str, Loop] = field(default_factory=dict)
    others: dict[str, Other] = field(default_factory=dict)
    policies: dict[str, Policy] = field(default_factory=dict)
    conditions: dict[str, Expression] = field(default_factory=dict)
    repeats: dict[str, Repetition] = field(default_factory=dict)

    def asides(self, name: str) -> Parts:
        """Give the expressions of a step beyond what it computes."""
        return parts_of(name, self.conditions.get(name), self.repeats.get(name))


def draft(located: Located, read: Read) -> Draft:
    """Read what can be read of one document; what is wrong is reported in ``located``.

    Raises:
        DocumentError: Nothing of it can be read.
    """
    document = convert_document(located)
    if document is None:
        raise DocumentError(located.problems)
    document = msgspec.structs.replace(document, results={name: _normal(file) for name, file in document.results.items()})
    made = Draft(located, document, _names(located, document))
    for name, step in document.steps.items():
        policy = None if isinstance(step, str) else check_policy(located, name, step)
        if policy is not None:
            made.policies[name] = policy
        loop = None if isinstance(step, str) else read_loop(located, name, step, read)
        if loop is not None:
            made.loops[name] = loop
        elif written_loop(located, name):                   # a wrong one: what $i is in the rest, nobody knows
            made.parts[name] = ()
            continue
        if isinstance(step, Step):
            _beyond(made, name, step, loop)
        if isinstance(step, Step) and step.workflow is not None:
            _other(made, name, step, loop)
        elif isinstance(step, Step) and step.run is None:
            made.parts[name] = ()
            if not located.broken_inside(("steps", name, "run"), ("steps", name, "workflow")):
                located.report(("steps", name), f"key 'run' is missing in {name!r}", key=True)
        else:
            make = _program if is_program(step) else _expression
            made.parts[name], expression = make(located, name, step, loop, document)
            if expression is not None:
                made.expressions[name] = expression
                if name in made.repeats:
                    made.repeats[name] = made.repeats[name].fed_by(expression)
    check_datasets(located, document)
    check_results(located, document, made.names, [name for name in document.steps if written_loop(located, name)],
                  [name for name, step in document.steps.items() if isinstance(step, Step) and step.workflow is not None])
    _check_names(made)
    return made


def _beyond(made: Draft, name: str, step: Step, loop: Loop | None) -> None:
    """Note when a step runs, and how often."""
    when, repetition = read_when(made.located, name, step, loop), read_repeat(made.located, name, step, loop)
    if when is not None:
        made.conditions[name] = when
    if repetition is not None:
        made.repeats[name] = repetition


def _other(made: Draft, name: str, step: Step, loop: Loop | None) -> None:
    """Note a step that is another document."""
    located, path = made.located, ("steps", name)
    made.parts[name] = ()
    if step.run is not None or "run" in located.value["steps"][name]:
        located.report((*path, "workflow"), "a step has 'run' or 'workflow', not both", key=True)
        return
    if loop and loop.found:
        variable, found = next(iter(loop.found.items()))
        located.report((*loop_path(located, name, variable), found.kind), f"a workflow cannot be done for {found.kind}, which "
                       "are not known when it is read; go through them in its steps")
        return
    _refuse_program_keys(located, name, step)
    for key, remedy in _INSIDE.items():
        if key in located.value["steps"][name]:
            located.report((*path, key), f"{key!r} is not possible with 'workflow'; {remedy}", key=True)
    variables = loop.variables if loop else ()
    inputs = {key: parsed(located, (*path, "in", key), str(text), variables) for key, text in step.inputs.items()
              if not isinstance(text, Given)}
    for key, expression in inputs.items():
        if isinstance(expression, PLAIN):
            located.report((*path, "in", key), f"an input is a dataset, not {shown(expression.value)}; plain values belong under "
                           "'with'", offset=expression.offset)
    right = {key: item for key, item in inputs.items() if item is not None and not isinstance(item, PLAIN)}
    made.parts[name] = tuple([((*path, "in", key), item) for key, item in right.items()])
    values = {key: template(value, variables)[0] if loop else value for key, value in step.parameters.items()}
    made.others[name] = Other(step.workflow, right, values)


def _normal(file: str | ResultFile) -> str | ResultFile:
    """One spelling for each file: ./a.h5 is a.h5; what is no file name is left for the check."""
    if isinstance(file, ResultFile):
        return msgspec.structs.replace(file, file=_normal(file.file))
    pure = PurePath(file)
    return str(pure) if pure.name and not file.endswith("/") else file


# Steps

def _looped(located: Located, name: str, loop: Loop | None) -> Parts:
    """The datasets that a loop goes through."""
    return tuple([((*loop_path(located, name, variable), found.kind), found.of)
                  for variable, found in (loop.found.items() if loop else ()) if found.kind != "files"])


def _expression(located: Located, name: str, step: str | Step, loop: Loop | None,
                document: Document) -> tuple[Parts, Expression | None]:
    """Parse a step's texts; ``run: name`` with ``in`` and ``with`` becomes a call."""
    looped = _looped(located, name, loop)
    _refuse_program_keys(located, name, step)
    variables, datasets = (loop.variables, loop.datasets) if loop else ((), ())
    path: Path = ("steps", name)
    if isinstance(step, str) or not step.run.strip().isidentifier():
        for key, given in (() if isinstance(step, str) else (("in", step.inputs), ("with", step.parameters))):
            if given:
                located.report((*path, key), f"{key!r} needs the name of an operation under 'run', not an expression", key=True)
        path, text = (path, step) if isinstance(step, str) else ((*path, "run"), step.run)
        expression = parsed(located, path, text, variables, datasets)
        if isinstance(expression, PLAIN):
            located.report(path, f"{shown(expression.value)} is no dataset; a step must compute one", offset=expression.offset)
            expression = None
        return (*looped, *(((path, expression),) if expression else ())), expression
    parts, whole = [], True
    for argument, text in step.inputs.items():
        expression = None if isinstance(text, Given) else parsed(
            located, (*path, "in", argument), str(text), variables, datasets)
        if argument in step.parameters:
            located.report((*path, "with", argument), f"argument {argument!r} stands under 'in' as well", key=True)
        elif expression:
            parts.append(((*path, "in", argument), expression))
            continue
        whole = False
    whole = whole and not located.broken_inside((*path, "in"), (*path, "with"))
    keywords = [(place[-1], expression) for place, expression in parts]
    for argument, value in step.parameters.items():
        keywords.append((argument, _plain(located, (*path, "with", argument), value, loop)))
    whole = whole and not located.broken_inside((*path, "with"))
    return (*looped, *parts), Call(step.run.strip(), (), tuple(keywords)) if whole else None


def _plain(located: Located, path: Path, value: Any, loop: Loop | None) -> Constant | Variable:
    """A plain value, with places for those of variables if it has any."""
    if loop is None:
        return Constant(value)
    filled, varies = template(value, loop.variables)
    if wrong := next((name for name in holes(filled) if name in loop.datasets), ""):
        located.report(path, f"${wrong} is a dataset; datasets belong under 'in'")
    return Variable(filled) if varies else Constant(filled)


def _refuse_program_keys(located: Located, name: str, step: str | Step) -> None:
    """Report keys that only a step with a program has."""
    if isinstance(step, str):
        return
    for key in ("out", "stdout", "env"):
        if key in located.value["steps"][name]:
            located.report(("steps", name, key), f"{key!r} belongs to a program, run: [program, argument, ...]", key=True)
    for argument, given in step.inputs.items():
        if isinstance(given, Given):
            located.report(("steps", name, "in", argument),
                           "a mapping under 'in' describes a file for a program, run: [program, argument, ...]")


def _program(located: Located, name: str, step: Step, loop: Loop | None, document: Document) -> tuple[Parts, Expression | None]:
    """Parse what a program gets as files; the step becomes a call of the operation that stands for the program."""
    path: Path = ("steps", name)
    num, parts, found = len(located.problems), [], {}
    variables, datasets = (loop.variables, loop.datasets) if loop else ((), ())
    for argument, given in step.inputs.items():
        place = (*path, "in", argument, "data") if isinstance(given, Given) else (*path, "in", argument)
        expression = parsed(located, place, str(given.data if isinstance(given, Given) else given), variables, datasets)
        if isinstance(expression, PLAIN):
            located.report(place, f"{shown(expression.value)} is no dataset; write plain values into 'run'")
        elif expression:
            parts.append((place, expression))
            found[argument] = expression
    plain = plain_arguments(step, found, document.datasets)
    check_program(located, name, step, plain)
    keywords = [(f"in.{argument}", expression) for argument, expression in found.items()]
    keywords += [(argument, _plain(located, (*path, argument), value, loop)) for argument, value in plain.items()]
    right = len(located.problems) == num and not located.broken_inside(path)
    return (*_looped(located, name, loop), *parts), Call(program_name(step), (), tuple(keywords)) if right else None


# Names

def _names(located: Located, document: Document) -> dict[str, None]:
    """Every name that the user gave to a dataset, a step or an input, right or not, in order."""
    return dict.fromkeys((*_section(located, "datasets"), *_section(located, "steps"), *document.inputs))


def _section(located: Located, key: str) -> Collection[str]:
    """The names under ``key``, as the user wrote them."""
    written = located.value.get(key)
    return written if isinstance(written, dict) else ()


def _check_names(made: Draft) -> None:
    """Report names that are used twice, or missing."""
    located, document, names = made.located, made.document, made.names
    twice = [name for name in document.steps if name in _section(located, "datasets")]
    for name in twice:
        located.report(("steps", name), f"{name!r} is the name of a dataset already", key=True)
    for index, name in enumerate(document.inputs):
        if name in document.steps or name in document.inputs[:index]:
            kind = "a step" if name in document.steps else "an input"
            located.report(("inputs", index), f"{name!r} is the name of {kind} already")
    unsure = _unsure(located, names)
    for name, pieces in made.parts.items() if unsure is not None else ():
        for path, ref in ((path, ref) for path, expression in (*pieces, *made.asides(name)) for ref in references(expression)):
            if ref.name not in names and ref.name not in unsure:
                located.report(path, _no_name(ref, document, names), offset=ref.offset)


def _unsure(located: Located, names: Collection[str]) -> set[str] | None:
    """Unknown names that come from names which are wrong themselves (my-data); None if any may, as a section is broken."""
    if {("steps",), ("datasets",)} & located.broken:
        return None
    return {part for name in names if not name.isidentifier() for part in re.findall(r"[A-Za-z_]\w*", name)}


def _no_name(ref: Ref, document: Document, names: Collection[str]) -> str:
    if ref.name in document.params:
        return f"no dataset or step {ref.name!r}; the parameter is written ${ref.name}"
    return f"no dataset or step {ref.name!r}" + did_you_mean(ref.name, names)

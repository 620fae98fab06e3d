"""A workflow document from its text: every problem of it found in one go."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import PurePath
from typing import Any, NamedTuple

import msgspec
import networkx as nx

from mpiflow.errors import DocumentError, did_you_mean
from mpiflow.workflow.convert import convert_document, shown
from mpiflow.workflow.expressions import (
    Call,
    Constant,
    Expression,
    ExpressionError,
    Ref,
    Variable,
    parse_expression,
    references,
    walk,
)
from mpiflow.workflow.located import Located, Path
from mpiflow.workflow.loops import Loop, template
from mpiflow.workflow.model import Document, Given, Step
from mpiflow.workflow.policies import Policy, check_policy
from mpiflow.workflow.programs import check_program, is_program, plain_arguments, program_name
from mpiflow.workflow.rules import HDF5_SUFFIXES, check_datasets, check_loop, check_results
from mpiflow.workflow.text import locate

__all__ = ["HDF5_SUFFIXES", "Workflow", "draft_workflow", "read_workflow"]
Parts = tuple[tuple[Path, Expression], ...]


class Packed(NamedTuple):
    """A file that came with the document, in a pack.

    Attributes:
        place: Where it lies on this rank.
        stamp: What stands for size, time and inode of a file: the same on all ranks, and other for other contents.
    """

    place: str
    stamp: tuple[int, int, int]


@dataclass(frozen=True)
class Workflow:
    """A document, as far as it is right.

    Attributes:
        document: The typed document, without the parts that are wrong.
        expressions: What each step computes; without those that cannot be read.
        parts: Every expression of each step as the document has it, and where; several if ``in`` gives them.
        graph: Names of datasets and steps; an edge leads from what is read to what reads it.
        located: Where each value stands, and the problems noted so far.
        digest: Hash of the text and the parameters; equal on ranks that see the same workflow.
        loops: The loops of the steps that have one.
        policies: What becomes of failures, for steps that say so.
        inputs: Files that came with the document, by their paths in it: where they lie, and what stands for their state.
    """

    document: Document
    expressions: Mapping[str, Expression]
    parts: Mapping[str, Parts]
    graph: nx.DiGraph
    located: Located
    digest: str
    loops: Mapping[str, Loop] = field(default_factory=dict)
    policies: Mapping[str, Policy] = field(default_factory=dict)
    inputs: Mapping[str, Packed] = field(default_factory=dict)

    def fail(self, path: Path, message: str, offset: int | None = None, key: bool = False) -> None:
        """Note a problem at ``path`` of the document, to be raised by ``finish``; see ``Located.report``."""
        self.located.report(path, message, key, offset)

    def fail_at(self, step: str, item: Expression, message: str, argument: str = "") -> None:
        """Note a problem at an expression inside ``step``, or at one of a call's named arguments."""
        for path, expression in self.parts[step]:
            if any(item is inner for inner in walk(expression)):
                named = [name for name, _ in item.keywords] if isinstance(item, Call) else []
                place = item.places[named.index(argument)] if argument in named else item.offset
                self.fail(path, message, place)
                return
        for part in ("in", "with"):                         # the call that ``run`` names
            path = ("steps", step, part, argument)
            if path in self.located.marks:
                self.fail(path, message, key=True)
                return
        self.fail(("steps", step, "run"), message, 0)

    def finish(self) -> None:
        """Raise all problems noted so far.

        Raises:
            DocumentError: There are any.
        """
        if self.located.problems:
            raise DocumentError(self.located.problems)


def read_workflow(text: str, file: str, overrides: Mapping[str, str] | None = None) -> Workflow:
    """Read a workflow document. Pure.

    Args:
        text: YAML.
        file: Its name, for messages.
        overrides: Parameters given on the command line, as YAML text.

    Raises:
        DocumentError: With every problem found.
    """
    workflow = draft_workflow(text, file, overrides)
    workflow.finish()
    return workflow


def draft_workflow(text: str, file: str, overrides: Mapping[str, str] | None = None) -> Workflow:
    """Read what can be read of a workflow document; what is wrong is noted, for ``Workflow.finish``. Pure.

    Raises:
        DocumentError: Nothing of it can be read.
    """
    located = locate(text, file, overrides or {})
    document = convert_document(located)
    if document is None:
        raise DocumentError(located.problems)
    document = msgspec.structs.replace(document, results={name: _normal(file) for name, file in document.results.items()})
    parts: dict[str, Parts] = {}
    expressions, loops, policies = {}, {}, {}
    for name, step in document.steps.items():
        policy = None if isinstance(step, str) else check_policy(located, name, step)
        if policy is not None:
            policies[name] = policy
        loop = None if isinstance(step, str) else check_loop(located, name, step)
        if loop is not None:
            loops[name] = loop
        elif _has_loop(located, name):                      # a wrong one: what $i is in the rest, nobody knows
            parts[name] = ()
            continue
        variable = loop.variable if loop else ""
        make = _program if is_program(step) else _expression
        parts[name], expression = make(located, name, step, variable, document)
        if expression is not None:
            expressions[name] = expression
    names = _names(located)
    check_datasets(located, document)
    check_results(located, document, names)
    graph = _name_graph(located, document, parts, names)
    digest = hashlib.blake2b(repr((text, sorted((overrides or {}).items()))).encode("utf-8", "surrogateescape"), digest_size=16)
    return Workflow(document, expressions, parts, graph, located, digest.hexdigest(), loops, policies)


def _normal(file: str) -> str:
    """One spelling for each file: ./a.h5 is a.h5; what is no file name is left for the check."""
    pure = PurePath(file)
    return str(pure) if pure.name and not file.endswith("/") else file


# Steps

def _has_loop(located: Located, name: str) -> bool:
    written = located.value["steps"][name]
    return isinstance(written, dict) and "for" in written


def _expression(located: Located, name: str, step: str | Step, variable: str,
                document: Document) -> tuple[Parts, Expression | None]:
    """Parse a step's texts; ``run: name`` with ``in`` and ``with`` becomes a call."""
    path: Path = ("steps", name)
    _refuse_program_keys(located, name, step)
    if isinstance(step, str) or not step.run.strip().isidentifier():
        for key, given in (() if isinstance(step, str) else (("in", step.inputs), ("with", step.parameters))):
            if given:
                located.report((*path, key), f"{key!r} needs the name of an operation under 'run', not an expression", key=True)
        path, text = (path, step) if isinstance(step, str) else ((*path, "run"), step.run)
        expression = _parsed(located, path, text, variable)
        if isinstance(expression, (Constant, Variable)):
            located.report(path, f"{shown(expression.value)} is no dataset; a step must compute one", offset=expression.offset)
            expression = None
        return ((path, expression),) if expression else (), expression
    parts, whole = [], True
    for argument, text in step.inputs.items():
        expression = None if isinstance(text, Given) else _parsed(located, (*path, "in", argument), str(text), variable)
        if argument in step.parameters:
            located.report((*path, "with", argument), f"argument {argument!r} stands under 'in' as well", key=True)
        elif expression:
            parts.append(((*path, "in", argument), expression))
            continue
        whole = False
    whole = whole and not _broken_inside(located, (*path, "in")) and not _broken_inside(located, (*path, "with"))
    keywords = [(place[-1], expression) for place, expression in parts]
    keywords += [(argument, _plain(value, variable)) for argument, value in step.parameters.items()]
    return tuple(parts), Call(step.run.strip(), (), tuple(keywords)) if whole else None


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


def _program(located: Located, name: str, step: Step, variable: str, document: Document) -> tuple[Parts, Expression | None]:
    """Parse what a program gets as files; the step becomes a call of the operation that stands for the program."""
    path: Path = ("steps", name)
    num, parts, parsed = len(located.problems), [], {}
    for argument, given in step.inputs.items():
        place = (*path, "in", argument, "data") if isinstance(given, Given) else (*path, "in", argument)
        expression = _parsed(located, place, str(given.data if isinstance(given, Given) else given), variable)
        if isinstance(expression, (Constant, Variable)):
            located.report(place, f"{shown(expression.value)} is no dataset; write plain values into 'run'")
        elif expression:
            parts.append((place, expression))
            parsed[argument] = expression
    plain = plain_arguments(step, parsed, document.datasets)
    check_program(located, name, step, plain)
    right = len(located.problems) == num and not _broken_inside(located, path)
    keywords = [(f"in.{argument}", expression) for argument, expression in parsed.items()]
    keywords += [(argument, _plain(value, variable)) for argument, value in plain.items()]
    return tuple(parts), Call(program_name(step), (), tuple(keywords)) if right else None


def _plain(value: Any, variable: str) -> Constant | Variable:
    """A value under ``with``."""
    filled, varies = template(value, variable) if variable else (value, False)
    return Variable(variable, filled) if varies else Constant(filled)


def _parsed(located: Located, path: Path, text: str, variable: str) -> Expression | None:
    try:
        return parse_expression(text, variable)
    except ExpressionError as error:
        cut = error.unclosed and located.followed_by(path) == ","
        hint = "; inside { } an expression with a comma needs quotes" if cut else ""
        located.report(path, str(error) + hint, offset=error.offset)
        return None


def _broken_inside(located: Located, path: Path) -> bool:
    return bool(located.broken) and any(place[:len(path)] == path for place in located.broken)


# Names

def _names(located: Located) -> dict[str, None]:
    """Every name that the user gave to a dataset or a step, right or not, in order."""
    return dict.fromkeys((*_section(located, "datasets"), *_section(located, "steps")))


def _section(located: Located, key: str) -> Collection[str]:
    """The names under ``key``, as the user wrote them."""
    written = located.value.get(key)
    return written if isinstance(written, dict) else ()


def _name_graph(located: Located, document: Document, parts: Mapping[str, Parts], names: Collection[str]) -> nx.DiGraph:
    """The DAG of names; reports names that are used twice, missing, or depend on themselves."""
    twice = [name for name in document.steps if name in _section(located, "datasets")]
    for name in twice:
        located.report(("steps", name), f"{name!r} is the name of a dataset already", key=True)
    graph = nx.DiGraph()
    graph.add_nodes_from(document.datasets, kind="dataset")
    graph.add_nodes_from((name for name in document.steps if name not in twice), kind="step")
    unsure = _unsure(located, names)
    for name, pieces in parts.items():
        for path, ref in ((path, ref) for path, expression in pieces for ref in references(expression)):
            if ref.name in graph and name not in twice:
                graph.add_edge(ref.name, name)
            elif ref.name not in names and unsure is not None and ref.name not in unsure:
                located.report(path, _no_name(ref, document, names), offset=ref.offset)
    _report_cycles(located, graph, list(document.steps))
    return graph


def _unsure(located: Located, names: Collection[str]) -> set[str] | None:
    """Unknown names that come from names which are wrong themselves (my-data); None if any may, as a section is broken."""
    if {("steps",), ("datasets",)} & located.broken:
        return None
    return {part for name in names if not name.isidentifier() for part in re.findall(r"[A-Za-z_]\w*", name)}


def _no_name(ref: Ref, document: Document, names: Collection[str]) -> str:
    if ref.name in document.params:
        return f"no dataset or step {ref.name!r}; the parameter is written ${ref.name}"
    return f"no dataset or step {ref.name!r}" + did_you_mean(ref.name, names)


def _report_cycles(located: Located, graph: nx.DiGraph, steps: list[str]) -> None:
    """Report one cycle of each strongly connected part, a shortest one through its first step in the document."""
    for part in nx.strongly_connected_components(graph):
        if len(part) > 1 or any(graph.has_edge(name, name) for name in part):
            inside = graph.subgraph(part)
            first = min(part, key=steps.index)
            ways = [nx.shortest_path(inside, first, last) for last in sorted(inside.predecessors(first))]
            cycle = [first, *reversed(min(ways, key=len))]
            message = f"step {first!r} depends on itself"
            if len(cycle) > 2:
                needs = ", ".join(f"{one!r} needs {other!r}" for one, other in pairwise(cycle))
                message = f"steps depend on each other: {needs}"
            located.report(("steps", first), message, key=True)

"""A workflow document from its text: every problem of it found in one go."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import PurePath

import msgspec
import networkx as nx

from mpiflow.errors import DocumentError, did_you_mean
from mpiflow.workflow.convert import convert_document, shown
from mpiflow.workflow.expressions import PLAIN, Call, Constant, Expression, Ref, Variable, references, walk
from mpiflow.workflow.located import Located, Path
from mpiflow.workflow.loops import Loop, holes, template
from mpiflow.workflow.model import Document, Step
from mpiflow.workflow.rules import HDF5_SUFFIXES, check_datasets, check_results
from mpiflow.workflow.sweeps import Read, loop_path, misused, parsed, read_loop, written_loop
from mpiflow.workflow.text import locate

__all__ = ["HDF5_SUFFIXES", "Workflow", "draft_workflow", "read_workflow"]
Parts = tuple[tuple[Path, Expression], ...]


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
        files: Contents of the files beside the document that it was read from as well, by their paths from there.
    """

    document: Document
    expressions: Mapping[str, Expression]
    parts: Mapping[str, Parts]
    graph: nx.DiGraph
    located: Located
    digest: str
    loops: Mapping[str, Loop] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)

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


def _nothing(file: str) -> bytes:
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), file)


def read_workflow(text: str, file: str, overrides: Mapping[str, str] | None = None, read: Read = _nothing) -> Workflow:
    """Read a workflow document. Pure, but for what ``read`` does.

    Args:
        text: YAML.
        file: Its name, for messages.
        overrides: Parameters given on the command line, as YAML text.
        read: Gives the contents of a file that the document names, by its path from there; raises OSError.

    Raises:
        DocumentError: With every problem found.
    """
    workflow = draft_workflow(text, file, overrides, read)
    workflow.finish()
    return workflow


def draft_workflow(text: str, file: str, overrides: Mapping[str, str] | None = None, read: Read = _nothing) -> Workflow:
    """Read what can be read of a workflow document; what is wrong is noted, for ``Workflow.finish``.

    See ``read_workflow``.

    Raises:
        DocumentError: Nothing of it can be read.
    """
    files: dict[str, bytes] = {}

    def reading(file: str) -> bytes:
        if file not in files:
            files[file] = read(file)
        return files[file]

    located = locate(text, file, overrides or {})
    document = convert_document(located)
    if document is None:
        raise DocumentError(located.problems)
    document = msgspec.structs.replace(document, results={name: _normal(file) for name, file in document.results.items()})
    parts: dict[str, Parts] = {}
    expressions, loops = {}, {}
    for name, step in document.steps.items():
        loop = None if isinstance(step, str) else read_loop(located, name, step, reading)
        if loop is not None:
            loops[name] = loop
        elif written_loop(located, name):                   # a wrong one: what $i is in the rest, nobody knows
            parts[name] = ()
            continue
        parts[name], expression = _expression(located, name, step, loop)
        if expression is not None:
            expressions[name] = expression
    names = _names(located)
    check_datasets(located, document)
    check_results(located, document, names, [name for name in document.steps if written_loop(located, name)])
    graph = _name_graph(located, document, parts, names)
    _check_instances(located, parts, loops)
    seen = (text, sorted((overrides or {}).items()), *([sorted(files.items())] if files else []))
    digest = hashlib.blake2b(repr(seen).encode("utf-8", "surrogateescape"), digest_size=16)
    return Workflow(document, expressions, parts, graph, located, digest.hexdigest(), loops, files)


def _normal(file: str) -> str:
    """One spelling for each file: ./a.h5 is a.h5; what is no file name is left for the check."""
    pure = PurePath(file)
    return str(pure) if pure.name and not file.endswith("/") else file


# Steps

def _expression(located: Located, name: str, step: str | Step, loop: Loop | None) -> tuple[Parts, Expression | None]:
    """Parse a step's texts; ``run: name`` with ``in`` and ``with`` becomes a call."""
    looped = tuple([((*loop_path(located, name, variable), found.kind), found.of)
                    for variable, found in (loop.found.items() if loop else ()) if found.kind != "files"])
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
        expression = parsed(located, (*path, "in", argument), str(text), variables, datasets)
        if argument in step.parameters:
            located.report((*path, "with", argument), f"argument {argument!r} stands under 'in' as well", key=True)
        elif expression:
            parts.append(((*path, "in", argument), expression))
            continue
        whole = False
    whole = whole and not located.broken_inside((*path, "in"), (*path, "with"))
    keywords = [(place[-1], expression) for place, expression in parts]
    for argument, value in step.parameters.items():
        filled, varies = template(value, variables) if loop else (value, False)
        if wrong := next((one for one in holes(filled) if one in datasets), ""):
            located.report((*path, "with", argument), f"${wrong} is a dataset; datasets belong under 'in'")
            whole = False
        keywords.append((argument, Variable(filled) if varies else Constant(filled)))
    return (*looped, *parts), Call(step.run.strip(), (), tuple(keywords)) if whole else None


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


def _check_instances(located: Located, parts: Mapping[str, Parts], loops: Mapping[str, Loop]) -> None:
    """Report instances that there are not; of a step whose loop is wrong there may be any."""
    variables = {name: loop.variables for name, loop in loops.items()}
    wrong = [name for name in located.value["steps"] if name not in loops and written_loop(located, name)] if parts else ()
    for pieces in parts.values():
        for path, expression in pieces:
            for step, offset, message in misused(expression, variables):
                if step not in wrong and path not in located.broken:
                    located.report(path, message, offset=offset)


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

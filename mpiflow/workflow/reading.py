"""A workflow document from its text: every problem of it found in one go."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import msgspec
import networkx as nx

from mpiflow.errors import DocumentError, Problem
from mpiflow.workflow.composing import Composed, compose
from mpiflow.workflow.drafting import draft
from mpiflow.workflow.expressions import Call, Collected, Expression, references, walk
from mpiflow.workflow.located import Located, Path
from mpiflow.workflow.loops import Loop
from mpiflow.workflow.model import Document
from mpiflow.workflow.parameters import locate
from mpiflow.workflow.policies import Policy
from mpiflow.workflow.repeating import Parts
from mpiflow.workflow.rules import HDF5_SUFFIXES
from mpiflow.workflow.sweeps import Read, loop_path, misused, written_loop

__all__ = ["HDF5_SUFFIXES", "Workflow", "draft_workflow", "read_workflow"]


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
        files: Contents of the files beside the document that it was read from as well, by their paths from there.
        whole: The documents that it is made of.
        policies: What becomes of failures, for steps that say so.
        keys: For each file that has operations of its own: what it calls them, and their keys in the registry.
        inputs: Files that came with the document, by their paths in it: where they lie, and what stands for their state.
        text: The document as it was read.
        near: For datasets whose files this rank does not see, what gives the end of a message: which one may be meant. It looks
            into a folder, so it is asked only if nobody sees them.
    """

    document: Document
    expressions: Mapping[str, Expression]
    parts: Mapping[str, Parts]
    graph: nx.DiGraph
    located: Located
    digest: str
    loops: Mapping[str, Loop] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    whole: Composed = field(default_factory=Composed)
    policies: Mapping[str, Policy] = field(default_factory=dict)
    inputs: Mapping[str, Packed] = field(default_factory=dict)
    keys: dict[str, dict[str, str]] = field(default_factory=dict)
    text: str = field(default="", repr=False)
    near: dict[str, Callable[[], str]] = field(default_factory=dict)

    def place(self, path: Path) -> tuple[Located, Path]:
        """Give the document that a value is from, and where it stands there."""
        located, own = self.whole.origins.get(path[1], (self.located, ())) if path[1:] else (self.located, ())
        return (located, own + path[2:]) if own and path[0] in ("steps", "datasets") else (self.located, path)

    def mark(self, path: Path) -> tuple[str, int, int] | None:
        """Give file, line and column of a value; None if the user has not written it."""
        located, own = self.place(path)
        return (located.file, *located.marks[own]) if own in located.marks else None

    def loop_path(self, step: str, variable: str) -> Path:
        """Give the path of the values of a variable, for ``fail``; without a variable, of the filter of the loop."""
        located, own = self.place(("steps", step))
        return "steps", step, *loop_path(located, own[1], variable)[2:]

    def fail(self, path: Path, message: str, offset: int | None = None, key: bool = False) -> None:
        """Note a problem at ``path`` of the document, to be raised by ``finish``; see ``Located.report``."""
        located, own = self.place(path)
        located.report(own, message, key, offset)

    def fail_at(self, step: str, item: Expression, message: str, argument: str = "") -> None:
        """Note a problem at an expression inside ``step``, or at one of a call's named arguments."""
        located, own = self.place(("steps", step))
        for path, expression in (*self.parts.get(step, ()), *self.whole.asides.get(step, ())):
            if any(item is inner for inner in walk(expression)):
                named = [name for name, _ in item.keywords] if isinstance(item, Call) else []
                place = item.places[named.index(argument)] if argument in named else item.offset
                located.report(path, message, offset=place)
                return
        for part in ("in", "with"):                         # the call that ``run`` names
            path = (*own, part, argument)
            if path in located.marks:
                located.report(path, message, key=True)
                return
        located.report((*own, "run"), message, offset=0)

    @property
    def problems(self) -> list[Problem]:
        """What is wrong, so far, in all documents."""
        return [problem for located in self.whole.documents for problem in located.problems]

    def heard(self, file: str, line: int, column: int) -> None:
        """Note that something is wrong at a place, which is reported by somebody else."""
        for located in self.whole.documents:
            if located.file == file:
                located.heard(line, column)

    def broken_datasets(self) -> set[str]:
        """Give the names of datasets that something is wrong with."""
        if not any(located.broken for located in self.whole.documents):
            return set()
        named = ((name, *self.place(("datasets", name))) for name in self.document.datasets)
        return {name for name, located, path in named if located.broken_inside(path)}

    def broken_modules(self) -> bool:
        """Tell whether something is wrong with a list of operation modules."""
        return any(located.broken_inside(("operations",)) for located in self.whole.documents)

    def operation(self, step: str, name: str) -> str:
        """Give the key of the operation that ``step`` calls ``name``; empty if its document has no such operation."""
        home = self.whole.homes.get(step)
        return self.keys[home].get(name, "") if home in self.keys else name

    def operations(self, step: str, registry: Collection[str]) -> list[str]:
        """Give the names of the operations that ``step`` can call, of those in ``registry``."""
        return [name for name in self.keys.get(self.whole.homes.get(step), registry) if name.isidentifier()]

    def finish(self) -> None:
        """Raise all problems noted so far.

        Raises:
            DocumentError: There are any.
        """
        if problems := self.problems:
            raise DocumentError(problems)


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

    made = draft(locate(text, file, overrides or {}), reading)
    whole = compose(made, file, reading)
    document = msgspec.structs.replace(made.document, datasets=whole.datasets, steps=whole.steps)
    seen = (text, sorted((overrides or {}).items()), *([sorted(files.items())] if files else []))
    digest = hashlib.blake2b(repr(seen).encode("utf-8", "surrogateescape"), digest_size=16)
    workflow = Workflow(document, whole.expressions, whole.parts, _graph(whole), made.located, digest.hexdigest(), whole.loops,
                        files, whole, whole.policies, text=text)
    _report_cycles(workflow)
    _check_instances(workflow)
    return workflow


def _graph(whole: Composed) -> nx.DiGraph:
    """The DAG of names, as far as they are there."""
    graph = nx.DiGraph()
    graph.add_nodes_from(whole.datasets, kind="dataset")
    graph.add_nodes_from((name for name in whole.steps if name not in whole.datasets), kind="step")
    for name, pieces in whole.parts.items():
        if name in whole.datasets or name not in graph:
            continue
        expressions = [expression for _, expression in pieces]
        if isinstance(whole.expressions.get(name), Collected):
            expressions.append(whole.expressions[name])
        expressions += _conditions(whole, name)
        graph.add_edges_from((ref.name, name) for item in expressions for ref in references(item) if ref.name in graph)
    return graph


def _conditions(whole: Composed, name: str | None) -> list[Expression]:
    """The conditions of a step, and of the steps around it."""
    found = []
    while name is not None:
        found.append(whole.conditions.get(name))
        name = whole.guards.get(name)
    return [condition for condition in found if condition is not None]


def _check_instances(workflow: Workflow) -> None:
    """Report instances that there are not; of a step whose loop is wrong there may be any."""
    variables = {name: loop.variables for name, loop in workflow.loops.items()}
    variables |= {name: item.variables for name, item in workflow.expressions.items() if isinstance(item, Collected)}
    for name in dict.fromkeys((*workflow.parts, *workflow.whole.asides)):
        for path, expression in (*workflow.parts.get(name, ()), *workflow.whole.asides.get(name, ())):
            for step, offset, message in misused(expression, variables):
                here = workflow.place(("steps", name))[0]
                if path not in here.broken and not _is_wrong(workflow, step, variables):
                    here.report(path, message, offset=offset)


def _is_wrong(workflow: Workflow, step: str, loops: Collection[str]) -> bool:
    """Whether something is wrong with a step, or with its loop, that is reported itself."""
    if step in workflow.document.datasets:
        return False
    located, place = workflow.place(("steps", step))
    return step not in workflow.expressions or (
        place[0] == "steps" and len(place) == 2 and step not in loops and written_loop(located, place[1]))


def _report_cycles(workflow: Workflow) -> None:
    """Report one cycle of each strongly connected part, a shortest one through its first step in the document."""
    graph, steps = workflow.graph, list(workflow.document.steps)
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
            workflow.fail(("steps", first), message, key=True)

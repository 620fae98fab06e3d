"""Workflows in Python: the same documents as in YAML, built step by step or loaded from a file."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx

from mpiflow.api.arguments import Place, caller, key_of, overrides_of, plain
from mpiflow.api.planning import Checked, Given, Plan, checked, planned
from mpiflow.errors import DocumentError, Problem, did_you_mean
from mpiflow.operations.live import known, module_file
from mpiflow.operations.operation import Operation, operation
from mpiflow.operations.registry import is_builtin
from mpiflow.peer.reading import Written, read
from mpiflow.report.inline import dag_svg, workflow_html
from mpiflow.workflow.model import Document
from mpiflow.workflow.terms import Term
from mpiflow.workflow.text import decode, unfilled
from mpiflow.workflow.writing import lines

if TYPE_CHECKING:
    from mpiflow.workflow.reading import Workflow as Read


class Handle(Term):
    """A dataset or a step of a workflow, by its name; an expression like any other."""

    __slots__ = ()

    @property
    def name(self) -> str:
        """What the workflow calls it."""
        return self.text


class Workflow:
    """A workflow document, built in Python: what can be said here is what YAML can say, in the same words.

    Keys of documents that are words of Python get a ``_`` behind them (``in_``, ``with_``, ``for_``, ``as_``); ``on-error`` is
    ``on_error``. Mistakes are found by ``check``, ``plan`` and ``run``, all in one go, with the lines of the program.

    Example::

        import mpiflow as mf
        from ops import real2bin                        # an @operation function

        wf = mf.Workflow("even-odd")
        a = wf.dataset("DS1", random={"shape": [1000], "seed": 1}, rank=1)
        b = wf.dataset("DS2", random={"shape": [1000], "seed": 2}, rank=2)
        bits = wf.step("bits", real2bin(a + b))         # nothing is computed yet
        wf.result(bits, "bits.h5")
        print(wf.plan(ranks=8))
    """

    def __init__(self, name: str, params: Mapping[str, Any] | None = None, folder: str | os.PathLike = ".") -> None:
        """Begin an empty workflow.

        Args:
            name: What you call it.
            params: Parameters with their values; ``mf.var(name)`` stands for one.
            folder: Where relative paths of files start (default: where the program runs).
        """
        self._content: dict[str, Any] = {"mpiflow": 1, "name": name, "params": {}, "operations": [], "inputs": [], "datasets": {},
                                         "steps": {}, "results": {}}
        self._content["params"] = {key: plain(value) for key, value in (params or {}).items()}
        self._file = Path(folder).absolute() / f"<{name}>"
        self._overrides: dict[str, str] = {}
        self._loaded = False                    # as its file says, and not changed since
        self._places: dict[tuple[str, str], Place] = {}
        self._operations: dict[str, Operation] = {}

    # Building

    def dataset(self, name: str, **keys: Any) -> Handle:
        """Add a dataset and give its handle.

        Args:
            name: What it is called.
            **keys: As in a document: one of ``random``, ``normal``, ``arange``, ``full``, ``file``; and ``path``, ``as_``,
                ``rows``, ``blocks``, ``rank``, ``replicas``, ``unit``, ``tags``.
        """
        return self._add("datasets", name, self._mapping(keys))

    def step(self, name: str, run: str | Term | Callable[..., Any] | list | None = None, **keys: Any) -> Handle:
        """Add a step and give its handle.

        Args:
            name: What it is called.
            run: An expression, of handles or as text; or an operation, by name or the function itself, that ``in_`` and ``with_``
                belong to; or a list: a program and its arguments.
            **keys: As in a document: ``in_``, ``with_``, ``for_``, ``zip``, ``where``, ``workflow``, ``out``, ``stdout``,
                ``env``, ``ranks``, ``retries``, ``timeout``, ``on_error``, ``replicas``, ``unit``, ``tags``.
        """
        if callable(run) and not isinstance(run, Term):
            run = self._use(run)
        content = self._mapping({"run": run, **keys} if run is not None else keys)
        short = list(content) == ["run"] and isinstance(content["run"], str)
        return self._add("steps", name, content["run"] if short else content)

    def result(self, what: str | Term, file: str | os.PathLike, parts: int = 1) -> None:
        """Have a dataset, a step or a column written to ``file`` (.h5, .npy) by each run.

        Args:
            what: What is written.
            file: Where to.
            parts: How many files share its blocks, to which ``file`` then refers.
        """
        place = os.fspath(file)
        self._add("results", str(what), place if parts == 1 else {"file": place, "parts": parts})

    def operations(self, *files: str | os.PathLike) -> None:
        """Add Python files with @operation functions, which expressions in text may then name."""
        self._open()
        self._content["operations"] += [os.fspath(file) for file in files]

    def copy(self) -> Workflow:
        """Give a workflow like this one, to which other things can be added."""
        made = copy.copy(self)
        made._content, made._places, made._operations = copy.deepcopy(self._content), dict(self._places), dict(self._operations)
        return made

    def __getitem__(self, name: str) -> Handle:
        """Give the handle of a dataset or a step that is there already."""
        self._open()
        names = [*self._content["datasets"], *self._content["steps"], *self._content["inputs"]]
        if name not in names:
            raise KeyError(f"no dataset or step {name!r}" + did_you_mean(name, names))
        return Handle(name)

    def _add(self, section: str, name: str, content: Any) -> Handle:
        self._open()
        for other in (section,) if section == "results" else ("datasets", "steps"):
            if name in self._content[other]:
                raise ValueError(f"{name!r} stands in {other} already: {self._content[other][name]}")
        self._content[section][name] = content
        self._places[section, name] = caller()
        return Handle(name)

    def _mapping(self, keys: Mapping[str, Any]) -> dict[str, Any]:
        """Give the keys as documents have them."""
        return {key_of(key): self._value(value) for key, value in keys.items() if value is not None}

    def _value(self, value: Any) -> Any:
        if isinstance(value, Term):
            for item in value.uses.values():
                self._use(item)
            return value.text
        if isinstance(value, Operation):
            return self._use(value)
        if isinstance(value, Mapping):
            return {key: self._value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._value(item) for item in value]
        return plain(value)

    def _use(self, function: Callable[..., Any]) -> str:
        """Note an operation that comes as a Python object; give its name."""
        self._open()
        item = function if isinstance(function, Operation) else operation(function)
        if not is_builtin(item):
            there = self._operations.setdefault(item.name, item)
            if there.function is not item.function:
                raise ValueError(f"two operations are called {item.name!r}; give one another: @operation(name=...)")
        return item.name

    def _open(self) -> None:
        """A loaded document that is added to becomes plain values, each of which remembers its line."""
        if not self._loaded:
            return
        located = unfilled(decode(self._file.read_bytes(), str(self._file)), str(self._file))
        if not isinstance(located.value, dict) or located.problems:
            self.workflow().finish()
        self._content = self._content | {key: value for key, value in located.value.items() if value is not None}
        self._places = {path: Place(str(self._file), *mark) for path, mark in located.marks.items() if len(path) == 2}
        self._loaded = False

    # The document

    def _parts(self) -> tuple[list[str], list[tuple[str, str]]]:
        """Give the lines of the document, and what each is about."""
        modules, live = self._split()
        content = {key: value for key, value in self._content.items() if value or key == "steps"}
        operations = [*dict.fromkeys([*self._content["operations"], *modules])]
        content = {key: operations if key == "operations" else value
                   for key, value in ({**content, "operations": operations} if operations else content).items()}
        order = [key for key in self._content if key in content] + [key for key in content if key not in self._content]
        head = [f"# {name} lives in a Python program; to run this document by itself, put it into a module" for name in live]
        pairs = [*((line, ("", "")) for line in head), *lines({key: content[key] for key in order})]
        return [line for line, _ in pairs], [about for _, about in pairs]

    def _split(self) -> tuple[list[str], dict[str, Operation]]:
        """Give the modules that operations are from, and the operations that live in the program."""
        modules, live = [], {}
        for name, item in self._operations.items():
            file = module_file(item)
            if file is None:
                live[name] = item
            elif file.is_relative_to(self._file.parent):
                modules.append(file.relative_to(self._file.parent).as_posix())
            else:
                modules.append(str(file))
        return modules, live

    def to_yaml(self) -> str:
        """Give the document as YAML; read again it is the same."""
        if self._loaded:
            return decode(self._file.read_bytes(), str(self._file))
        return "\n".join(self._parts()[0]) + "\n"

    def given(self, params: Mapping[str, Any] | None = None) -> Given:
        """Give what a run or a plan is made of, for other parts of mpiflow."""
        overrides = self._overrides | overrides_of(params)
        if self._loaded:
            return Given(self._file, overrides, None, ())
        named = [known(item) for item in self._split()[1].values()]
        operations = {item.name: item for item, _ in named}
        unknown = tuple(f"{item.name} reads {', '.join(found)}" for item, found in named if found)
        return Given(self._file, overrides, Written("\n".join(self._parts()[0]) + "\n", operations), unknown)

    def workflow(self, params: Mapping[str, Any] | None = None) -> Read:
        """Give the document as it was read, with its problems noted; for other parts of mpiflow. Local."""
        given = self.given(params)
        local = read(given.file, given.overrides, 0, written=given.written)
        if local.workflow is None or local.complaints:
            problems = [Problem(c.file, c.line, c.column, c.message) for c in local.complaints]
            raise self.blamed(DocumentError(problems))
        return local.workflow

    @property
    def document(self) -> Document:
        """The typed document, as YAML gives it.

        Raises:
            DocumentError: With every problem found.
        """
        read = self.workflow()
        read.finish()
        return read.document

    def blamed(self, error: DocumentError) -> DocumentError:
        """Give an error with the lines of the program, not of the text that was made of it; for other parts of mpiflow."""
        if self._loaded:
            return error
        about = self._parts()[1]
        return DocumentError([self._blamed(problem, about) for problem in error.problems])

    def wrong(self, error: DocumentError) -> list[str]:
        """Give the names in this document that the problems of an error are about; for other parts of mpiflow."""
        about = self._parts()[1]
        return [about[problem.line - 1][1] for problem in error.problems
                if problem.file == str(self._file) and 0 < problem.line <= len(about)]

    def _blamed(self, problem: Problem, about: list[tuple[str, str]]) -> Problem:
        if problem.file != str(self._file) or not 0 < problem.line <= len(about):
            return problem
        section, name = about[problem.line - 1]
        place = self._places.get((section, name))
        if place is None:
            return Problem(problem.file, 0, 0, problem.message)
        what = {"datasets": "dataset", "steps": "step", "results": "result"}.get(section, section)
        named = "" if repr(name) in problem.message else f" ({what} {name!r})"
        return Problem(*place, problem.message + named)

    # What would come of it

    def check(self, samples: bool = True, params: Mapping[str, Any] | None = None) -> Checked:
        """Look for mistakes, without MPI. Local.

        Args:
            samples: Whether to try on the first rows of the data what operations declare.
            params: Other values of parameters.

        Raises:
            DocumentError: With every problem found.
        """
        return self._speaking(lambda: checked(self.given(params), samples))

    def plan(self, ranks: int = 1, ranks_per_node: int | None = None, *, memory: int | None = None,
             latency: tuple[float, float] | None = None, bandwidth: tuple[float, float] | None = None,
             store: str | os.PathLike = ".mpiflow", params: Mapping[str, Any] | None = None) -> Plan:
        """Say what would run where, what would move and how long it would take, without MPI. Local.

        Args:
            ranks: Number of ranks.
            ranks_per_node: Ranks on each node; None for all on one.
            memory: What blocks may take on each rank [bytes].
            latency: Of messages within a node and between nodes [s]; None for those of the last run.
            bandwidth: Likewise [bytes/s].
            store: Where earlier runs have left run times and sizes.
            params: Other values of parameters.

        Raises:
            DocumentError: With every problem found.
            PlanningError: A task needs more memory than any rank may use.
        """
        return self._speaking(lambda: planned(self.given(params), ranks, ranks_per_node, memory, latency, bandwidth, Path(store)))

    def graph(self) -> nx.DiGraph:
        """Give the DAG of names: node attribute ``kind`` is "dataset" or "step"; an edge leads to who reads. A copy.

        Raises:
            DocumentError: With every problem found.
        """
        read = self.workflow()
        read.finish()
        return nx.DiGraph(read.graph)

    def _speaking(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except DocumentError as error:
            raise self.blamed(error) from None

    def __repr__(self) -> str:
        return f"<workflow {self._file.name if self._loaded else self._content['name']}>"

    def _repr_svg_(self) -> str | None:
        try:
            return dag_svg(self.graph())
        except DocumentError:                   # the other form says it
            return None

    def _repr_html_(self) -> str:
        try:
            return workflow_html(self.document.name, self.graph())
        except DocumentError as error:          # a notebook shows what is wrong in its place
            return workflow_html(str(error), None)


def load(file: str | os.PathLike, params: Mapping[str, Any] | None = None) -> Workflow:
    """Give the workflow of a YAML document, or of a pack. Nothing is read yet, since only some ranks may see it.

    It can be added to like one that was built; then ranks that do so must see the file.

    Args:
        file: The document.
        params: Values of its parameters.
    """
    loaded = Workflow(Path(file).name)
    loaded._file, loaded._loaded, loaded._overrides = Path(file), True, overrides_of(params)
    return loaded

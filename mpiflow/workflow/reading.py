"""A workflow document from its text: every problem of it found in one go."""

from __future__ import annotations

import hashlib
import keyword
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, get_args, get_origin

import msgspec
import networkx as nx

from mpiflow.errors import DocumentError, did_you_mean
from mpiflow.workflow.expressions import Call, Constant, Expression, ExpressionError, Ref, parse_expression, references
from mpiflow.workflow.model import Count, Dataset, Document, Name, Step
from mpiflow.workflow.text import Located, Path, locate

HDF5_SUFFIXES = (".h5", ".hdf5", ".h5md", ".nc")
_ITEM = re.compile(r"\[(\d+)\]|\.(\w+)|\[\.\.\.\]")


@dataclass(frozen=True)
class Workflow:
    """A document that is right as far as its text tells.

    Attributes:
        document: The typed document.
        expressions: What each step computes.
        graph: Names of datasets and steps; an edge leads from what is read to what reads it.
        located: Where each value stands, for messages about what only the run can find.
        digest: Hash of the text and the parameters; equal on ranks that see the same workflow.
    """

    document: Document
    expressions: Mapping[str, Expression]
    graph: nx.DiGraph
    located: Located
    digest: str

    def fail(self, path: Path, message: str, offset: int = 0) -> None:
        """Note a problem at ``path`` of the document, to be raised by ``finish``."""
        self.located.report(path, message, offset=offset)

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
    located = locate(text, file, overrides or {})
    document = _Converter(located).document()
    expressions = {name: _expression(located, name, step) for name, step in document.steps.items()}
    _check_datasets(located, document)
    _check_results(located, document)
    graph = _name_graph(located, document, expressions)
    if located.problems:
        raise DocumentError(located.problems)
    digest = hashlib.blake2b(repr((text, sorted((overrides or {}).items()))).encode(), digest_size=16).hexdigest()
    return Workflow(document, {name: item for name, item in expressions.items() if item}, graph, located, digest)


class _Converter:
    """Converts located values to msgspec types, field by field, so that one error does not hide the next."""

    def __init__(self, located: Located) -> None:
        self.located = located

    def document(self) -> Document:
        value = self.located.value
        if not isinstance(value, dict):
            self.located.report((), "the document must be a mapping that starts with 'mpiflow: 1'")
            raise DocumentError(self.located.problems)
        fields = self.fields(Document, value, ())
        if "steps" not in fields:
            raise DocumentError(self.located.problems)
        return Document(**{"mpiflow": 1, "name": "", **fields})

    def fields(self, kind: type, value: dict[str, Any], path: Path) -> dict[str, Any]:
        """Convert the fields of ``kind`` that ``value`` has; report unknown, missing and wrong ones."""
        known = {item.encode_name: item for item in msgspec.structs.fields(kind)}
        for key in value:
            if key not in known:
                self.located.report((*path, key), f"unknown key {key!r}" + did_you_mean(key, known), key=True)
        found = {}
        for key, item in known.items():
            if key in value and value[key] is not None:
                done = self.convert(item.type, value[key], (*path, key))
                if done is not None:
                    found[item.name] = done
            elif key in value:
                if not self._reported((*path, key)):
                    self.located.report((*path, key), f"key {key!r} has no value")
            elif item.required:
                self.located.report(path, f"key {key!r} is missing" + (f" in {path[-1]!r}" if path else ""))
        return found

    def _reported(self, path: Path) -> bool:
        line, column = self.located.marks[path]
        return any((p.line, p.column) == (line, column) for p in self.located.problems)

    def convert(self, kind: Any, value: Any, path: Path) -> Any:
        """Give ``value`` as ``kind``, or report why not and give None."""
        if hasattr(kind, "__metadata__") and get_origin(kind.__origin__) is dict:
            kind = kind.__origin__
        if get_origin(kind) is dict and isinstance(value, dict):
            return self._named(get_args(kind)[1], value, path)
        structs = [k for k in (kind, *get_args(kind)) if isinstance(k, type) and issubclass(k, msgspec.Struct)]
        if structs and isinstance(value, dict):
            return self._struct(structs[0], value, path)
        if structs and not (isinstance(value, str) and str in get_args(kind)):
            self.located.report(path, f"{path[-1]!r} must be a mapping, not {_shown(value)}")
            return None
        try:
            return msgspec.convert(value, kind, strict=True)
        except msgspec.ValidationError as error:
            self._report(str(error), value, path)
            return None

    def _struct(self, kind: type, value: dict[str, Any], path: Path) -> Any:
        fields = self.fields(kind, value, path)
        try:
            return kind(**fields)                           # what is wrong in it was reported; go on with the rest
        except TypeError:                                   # a required field is missing or wrong
            return None

    def _named(self, kind: Any, value: dict[str, Any], path: Path) -> dict[str, Any]:
        """Convert a mapping from names chosen by the user."""
        done = {}
        for name, item in value.items():
            if not name.isidentifier() or keyword.iskeyword(name):
                self.located.report((*path, name), f"{name!r} cannot be a name: letters, digits and _ only, "
                                    "no digit first, no Python keyword", key=True)
            elif item is None and kind is not Any:
                if not self._reported((*path, name)):
                    self.located.report((*path, name), f"{name!r} has no value")
            else:
                converted = self.convert(kind, item, (*path, name))
                if converted is not None or kind is Any:
                    done[name] = converted
        return done

    def _report(self, error: str, value: Any, path: Path) -> None:
        """Turn msgspec's ``Expected `int`, got `str` - at `$[0]``` into a sentence at the right place."""
        what, _, where = error.partition(" - at ")
        for index, key in _ITEM.findall(where):
            value = value[int(index)] if index else value[key]
            path = (*path, int(index) if index else key)
        what = what.replace("`", "").replace("Expected ", "expected ").replace("str", "text")
        name = ".".join(str(part) for part in path)
        self.located.report(path, f"{name}: {what} (here: {_shown(value)})")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _expression(located: Located, name: str, step: str | Step) -> Expression | None:
    """Parse a step's text into what it computes; ``run: name`` with ``in`` and ``with`` becomes a call."""
    path: Path = ("steps", name)
    if isinstance(step, str):
        return _parsed(located, path, step)
    if not step.run.strip().isidentifier():
        for key, given in (("in", step.inputs), ("with", step.parameters)):
            if given:
                located.report((*path, key), f"{key!r} needs the name of an operation under 'run', not an expression", key=True)
        return _parsed(located, (*path, "run"), step.run)
    keywords: list[tuple[str, Expression]] = []
    for argument, text in step.inputs.items():
        keywords.append((argument, _parsed(located, (*path, "in", argument), str(text)) or Constant(None)))
        if argument in step.parameters:
            located.report((*path, "with", argument), f"argument {argument!r} stands under 'in' as well", key=True)
    keywords += [(argument, Constant(value)) for argument, value in step.parameters.items()]
    return Call(step.run.strip(), (), tuple(keywords), 0)


def _parsed(located: Located, path: Path, text: str) -> Expression | None:
    try:
        return parse_expression(text)
    except ExpressionError as error:
        located.report(path, str(error), offset=error.offset)
        return None


def _check_datasets(located: Located, document: Document) -> None:
    for name, dataset in document.datasets.items():
        path = ("datasets", name)
        given = [source for source in Dataset.SOURCES if source in located.value["datasets"][name]]
        if len(given) != 1:
            which = f"has {' and '.join(given)}" if given else "has none of them"
            located.report(path, f"dataset {name!r} needs exactly one of {', '.join(Dataset.SOURCES)}; it {which}", key=True)
            continue
        for key in ("path", "rows"):
            if getattr(dataset, key) is not None and dataset.file is None:
                located.report((*path, key), f"{key!r} belongs to 'file', not to {given[0]!r}", key=True)
        if dataset.rows and dataset.rows[0] >= dataset.rows[1]:
            located.report((*path, "rows"), f"rows: [start, stop] must have start < stop, not {dataset.rows}")
        if dataset.arange and dataset.arange.stop < dataset.arange.start:
            located.report((*path, "arange", "stop"), "arange: stop is below start")
        if dataset.file is not None:
            _check_file(located, path, dataset)


def _check_file(located: Located, path: Path, dataset: Dataset) -> None:
    suffix = PurePath(dataset.file).suffix.lower()
    if suffix in HDF5_SUFFIXES and not dataset.path:
        located.report((*path, "file"), "an HDF5 file needs 'path', the array inside it, e.g. path: /x")
    elif suffix == ".npy" and dataset.path:
        located.report((*path, "path"), "'path' belongs to an HDF5 file; a .npy file holds one array", key=True)
    elif suffix not in (*HDF5_SUFFIXES, ".npy"):
        located.report((*path, "file"), f"file type {suffix!r} is not known; known are {', '.join(HDF5_SUFFIXES)} and .npy")


def _check_results(located: Located, document: Document) -> None:
    known = (*document.steps, *document.datasets)
    owners: dict[str, str] = {}
    for name, file in document.results.items():
        if name not in known:
            located.report(("results", name), f"no step or dataset {name!r}" + did_you_mean(name, known), key=True)
        pure = PurePath(file)
        if not pure.name or file.endswith("/"):
            located.report(("results", name), f"{file!r} is no file name")
        elif ".." in pure.parts:
            located.report(("results", name), "a result file may not lie above the results directory ('..')")
        elif str(pure) in owners and pure.suffix.lower() not in HDF5_SUFFIXES:
            located.report(("results", name), f"{file!r} is the file of {owners[str(pure)]!r} too; "
                           "only an HDF5 file can hold several results")
        owners.setdefault(str(pure), name)


def _name_graph(located: Located, document: Document, expressions: Mapping[str, Expression | None]) -> nx.DiGraph:
    """The DAG of names; reports names that are used twice, missing, or depend on themselves."""
    graph = nx.DiGraph()
    graph.add_nodes_from(document.datasets, kind="dataset")
    for name in document.steps:
        if name in document.datasets:
            located.report(("steps", name), f"{name!r} is the name of a dataset already", key=True)
    graph.add_nodes_from(document.steps, kind="step")
    written = located.value.get("datasets"), located.value.get("steps")
    known = {name for part in written if isinstance(part, dict) for name in part}
    for name, expression in expressions.items():
        for ref in references(expression) if expression else ():
            if ref.name in graph:
                graph.add_edge(ref.name, name)
            elif ref.name not in known:                     # known but broken is reported where it is broken
                located.report(*_place(document, name, ref), offset=ref.offset)
    for cycle in _cycles(graph):
        located.report(("steps", cycle[0]), "steps depend on each other: " + " -> ".join((*cycle, cycle[0])), key=True)
    return graph


def _place(document: Document, name: str, ref: Ref) -> tuple[Path, str]:
    """Where in the document step ``name`` refers to ``ref``, and what to say about it."""
    step = document.steps[name]
    message = f"no dataset or step {ref.name!r}" + did_you_mean(ref.name, (*document.datasets, *document.steps))
    if isinstance(step, str):
        return ("steps", name), message
    for argument, text in step.inputs.items():
        try:
            if ref in references(parse_expression(str(text))):
                return ("steps", name, "in", argument), message
        except ExpressionError:
            continue
    return ("steps", name, "run"), message


def _cycles(graph: nx.DiGraph) -> list[list[str]]:
    """One cycle of each strongly connected part, starting at its first name."""
    found = []
    for part in nx.strongly_connected_components(graph):
        inside = graph.subgraph(part)
        if inside.number_of_edges():
            cycle = [source for source, _ in nx.find_cycle(inside, min(part))]
            turn = cycle.index(min(cycle))
            found.append(cycle[turn:] + cycle[:turn])
    return sorted(found)

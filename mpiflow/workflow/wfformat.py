"""From WfFormat 1.5, in which WfCommons publishes recorded workflows, to a workflow document that replays one.

The graph follows from the files alone: who reads a file needs the task that writes it. Recorded parents are compared with it.
Source: github.com/wfcommons/WfFormat.
"""

from __future__ import annotations

import hashlib
import json
import keyword
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated
from zlib import crc32

import msgspec
import networkx as nx
from msgspec import Meta, Struct

from mpiflow.errors import DocumentError, Problem
from mpiflow.workflow.model import LARGEST

VERSION = "1.5"
FILE_TAG = "file:"              # a dataset with the tag file:x stands for the file x
_WIDTH = 120
_LONGEST = 60
_Id = Annotated[str, Meta(min_length=1)]


class _Part(Struct, frozen=True, rename="camel"):
    """What is read of a JSON object; the rest is left."""


class _File(_Part):
    id: _Id
    size_in_bytes: Annotated[int, Meta(ge=0, le=LARGEST)]


class _Task(_Part):
    name: _Id
    id: _Id
    parents: list[str] = []
    input_files: list[_Id] = []
    output_files: list[_Id] = []


class _Specification(_Part):
    tasks: Annotated[list[_Task], Meta(min_length=1)]
    files: list[_File] = []


class _Run(_Part):
    id: _Id
    runtime_in_seconds: Annotated[float, Meta(ge=0)]


class _Execution(_Part):
    tasks: list[_Run]


class _Workflow(_Part):
    specification: _Specification
    execution: _Execution


class _Instance(_Part):
    name: _Id
    workflow: _Workflow


class _Version(_Part):
    schema_version: str


@dataclass(frozen=True)
class Recorded:
    """A recorded workflow.

    Attributes:
        name: Its name.
        tasks: Its tasks by id, in the order of the file.
        seconds: Their run times [s].
        sizes: Sizes of all files [bytes].
        producers: The task that writes a file.
        graph: Ids of tasks; an edge leads from the writer of a file to its reader.
        warnings: What is odd.
    """

    name: str
    tasks: Mapping[str, _Task]
    seconds: Mapping[str, float]
    sizes: Mapping[str, int]
    producers: Mapping[str, str]
    graph: nx.DiGraph
    warnings: tuple[str, ...]


def read_wfformat(data: bytes, file: str) -> Recorded:
    """Read a recorded workflow. Pure.

    Raises:
        DocumentError: It is no WfFormat 1.5, or cannot be replayed; with the first thing that is wrong.
    """
    try:
        version = msgspec.json.decode(data, type=_Version).schema_version
        if version != VERSION:
            raise ValueError(f"schemaVersion is {version!r}; only {VERSION} can be read")
        return _recorded(msgspec.json.decode(data, type=_Instance))
    except msgspec.ValidationError as error:
        raise _wrong(file, f"not WfFormat {VERSION}: {error}") from None
    except msgspec.DecodeError as error:
        raise _wrong(file, f"not JSON: {error}") from None
    except UnicodeDecodeError as error:
        raise _wrong(file, f"not UTF-8 text: {error.reason}") from None
    except (ValueError, RecursionError) as error:
        raise _wrong(file, str(error) or "nested too deeply") from None


def _wrong(file: str, message: str) -> DocumentError:
    return DocumentError([Problem(file, 0, 0, message)])


def _recorded(instance: _Instance) -> Recorded:
    """Put an instance together.

    Raises:
        ValueError: It contradicts itself.
    """
    specification = instance.workflow.specification
    tasks = _by_id(specification.tasks, "task")
    seconds = {run.id: run.runtime_in_seconds for run in instance.workflow.execution.tasks}
    sizes = {file.id: file.size_in_bytes for file in _by_id(specification.files, "file").values()}
    producers: dict[str, str] = {}
    for task in tasks.values():
        if task.id not in seconds:
            raise ValueError(f"task {task.id!r} has no runtimeInSeconds under 'execution'")
        for file in (*task.input_files, *task.output_files):
            if file not in sizes:
                raise ValueError(f"file {file!r} of task {task.id!r} has no size under 'files'")
        for file in dict.fromkeys(task.output_files):
            if file in producers:
                raise ValueError(f"file {file!r} is written by two tasks, {producers[file]!r} and {task.id!r}")
            producers[file] = task.id
    graph = _graph(tasks, producers)
    return Recorded(_printable(instance.name), tasks, seconds, sizes, producers, graph, tuple(_contradictions(tasks, graph)))


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "_" for letter in text)


def _by_id(items: Iterable[_Task | _File], what: str) -> dict[str, _Task | _File]:
    found: dict[str, _Task | _File] = {}
    for item in items:
        if not item.id.isprintable():
            raise ValueError(f"{what} {item.id!r}: an id must be printable")
        if item.id in found:
            raise ValueError(f"{what} {item.id!r} is there twice")
        found[item.id] = item
    return found


def _graph(tasks: Mapping[str, _Task], producers: Mapping[str, str]) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from(tasks)
    graph.add_edges_from((producers[file], task.id) for task in tasks.values() for file in task.input_files if file in producers)
    if not nx.is_directed_acyclic_graph(graph):
        cycle = [edge[0] for edge in nx.find_cycle(graph)]
        shown = [*map(repr, cycle[:5]), *(["..."] if len(cycle) > 5 else []), repr(cycle[0])]
        raise ValueError("tasks need each other's files: " + " -> ".join(shown))
    return graph


def _contradictions(tasks: Mapping[str, _Task], graph: nx.DiGraph) -> Iterator[str]:
    odd = [task for task in tasks.values() if set(task.parents) != set(graph.predecessors(task.id))]
    if odd:
        recorded, files = set(odd[0].parents), set(graph.predecessors(odd[0].id))
        which = [f"{_some(sorted(ids))} {where}" for ids, where in (
            (recorded - files, "recorded, but no file of theirs is read"),
            (files - recorded, "not recorded, but a file of theirs is read")) if ids]
        yield (f"{len(odd)} of {len(tasks)} tasks have other parents than their files say, which are taken; "
               f"the first is {odd[0].id!r}: {'; '.join(which)}")


def _some(ids: Sequence[str]) -> str:
    """The first few of many."""
    return ", ".join(map(repr, ids[:3])) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")


# The document

def replaying(recorded: Recorded, time_scale: float = 1.0, size_scale: float = 1.0) -> str:
    """Give a workflow document (YAML) that does what was recorded. Pure.

    Args:
        recorded: What was recorded.
        time_scale: Factor of all run times.
        size_scale: Factor of all sizes, which are then rounded.
    """
    names = _Names()
    sizes = {file: round(size * size_scale) for file, size in recorded.sizes.items()}
    read = dict.fromkeys(file for task in recorded.tasks.values() for file in task.input_files)
    steps = {task: names.new(task, "task") for task in recorded.tasks}
    datasets = {file: names.new(file, "file") for file in read if file not in recorded.producers}
    lines = [f"# {recorded.name}: {len(steps)} recorded tasks, replayed; from WfFormat {VERSION}.",
             "mpiflow: 1", f"name: {_quoted(recorded.name, '$')}"]
    if datasets:
        lines += ["", "datasets:", *_dataset_lines(datasets, sizes)]
    lines += ["", "steps:"]
    for task in recorded.tasks.values():
        inputs = [datasets[file] if file in datasets else _column(steps[recorded.producers[file]], file)
                  for file in dict.fromkeys(task.input_files)]
        files = [[column_name(file), sizes[file]] for file in dict.fromkeys(task.output_files)]
        arguments = [*inputs, f"task={task.id!r}", f"seconds={float(recorded.seconds[task.id] * time_scale)!r}"]
        if files:
            shown = [repr(pair) for pair in files]
            arguments += [f"files=[{shown[0]}", *shown[1:]]
            arguments[-1] += "]"
        lines += [f"  {steps[task.id]}:", "    run: >", *_wrapped(f"replay({arguments[0]}", [*arguments[1:]], ")")]
        lines.append(f"    tags: [{_quoted(_printable(task.name))}]")
    return "\n".join(lines) + "\n"


def _dataset_lines(datasets: Mapping[str, str], sizes: Mapping[str, int]) -> Iterator[str]:
    """Files that nobody writes; those of one size hold different bytes, or they would be one."""
    used: set[tuple[int, int]] = set()
    for file, name in datasets.items():
        first = crc32(file.encode())
        value = next((value for i in range(256) if (sizes[file], value := (first + i) % 256) not in used), first % 256)
        used.add((sizes[file], value))
        yield (f"  {name}: {{full: {{shape: [{sizes[file]}], value: {value}, dtype: uint8}}, "
               f"tags: [{_quoted(FILE_TAG + file)}]}}")


def _column(step: str, file: str) -> str:
    name = column_name(file)
    plain = name.isascii() and name.isidentifier() and not keyword.iskeyword(name)
    return f"{step}.{name}" if plain else f"column({step}, {name!r})"


def column_name(file: str) -> str:
    """Give the name of the column that stands for a file: no slash may be in it."""
    name = file.replace("%", "%25").replace("/", "%2F")
    return "%2E" if name == "." else name


def file_name(column: str) -> str:
    """Undo ``column_name``."""
    return column.replace("%2E", ".").replace("%2F", "/").replace("%25", "%")


def _wrapped(first: str, arguments: Iterable[str], end: str) -> Iterator[str]:
    """Lines of a folded YAML text, broken between arguments; $ stands for itself."""
    line = first
    for argument in arguments:
        if len(line) + len(argument) + 8 > _WIDTH:
            yield "      " + line.replace("$", "$$") + ","
            line = argument
        else:
            line += ", " + argument
    yield "      " + line.replace("$", "$$") + end


def _quoted(text: str, dollar: str = "$$") -> str:
    """A text in YAML's double quotes."""
    return json.dumps(text.replace("$", dollar), ensure_ascii=False)


class _Names:
    """Names of datasets and steps made of ids: readable, and each but once."""

    def __init__(self) -> None:
        self.used: set[str] = set()

    def new(self, text: str, what: str) -> str:
        name = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")
        if len(name) > _LONGEST:
            name = name[:_LONGEST] + "_" + hashlib.blake2b(text.encode(), digest_size=3).hexdigest()
        if not name or name[0].isdigit() or keyword.iskeyword(name):
            name = f"{what}_{name}".rstrip("_")
        number, found = 1, name
        while found in self.used:
            number += 1
            found = f"{name}_{number}"
        self.used.add(found)
        return found

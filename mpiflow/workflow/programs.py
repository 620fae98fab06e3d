"""Steps that run a program, ``run: [lmp, -in, "{in.melt}"]``: as calls of an operation, and what must hold in them.

The operation is called by the program and the names of its files, a name that no expression can have. Its datasets are called
``in.NAME``; its plain arguments are those in ``PLAIN``, so that all of them enter the ids of what the program makes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from mpiflow.errors import did_you_mean
from mpiflow.workflow.expressions import Ref
from mpiflow.workflow.located import Located, Path
from mpiflow.workflow.loops import LOOPS
from mpiflow.workflow.model import Dataset, Given, Step
from mpiflow.workflow.rules import HDF5_SUFFIXES

PLAIN = ("run", "files", "out", "stdout", "env")
PLACE = re.compile(r"\{(in|out)\.([A-Za-z_][A-Za-z0-9_]*)\}")
SUFFIXES = {".npy": "npy", **dict.fromkeys(HDF5_SUFFIXES, "hdf5"),
            **dict.fromkeys((".txt", ".dat", ".csv", ".tsv", ".xvg"), "text")}
_ENDINGS = {"npy": ".npy", "hdf5": ".h5", "text": ".txt", "bytes": ""}


def is_program(step: str | Step) -> bool:
    """Whether a step runs a program."""
    return not isinstance(step, str) and isinstance(step.run, list)


def program_name(step: Step) -> str:
    """Name the operation that stands for a program with the files that a step gives it."""
    return f"{step.run[0]}({', '.join(sorted(step.inputs))})"


def format_of(file: str, format: str | None) -> str:
    """Give the format of a file: the one that the document names, else by its suffix."""
    return format or SUFFIXES.get(PurePath(file).suffix.lower(), "bytes")


def plain_arguments(step: Step, parsed: Mapping[str, Any], datasets: Mapping[str, Dataset]) -> dict[str, Any]:
    """Give the plain arguments of a step that runs a program.

    Args:
        step: What the document says.
        parsed: The expression of each input.
        datasets: Those of the document.
    """
    files = {name: _given(name, given, parsed.get(name), datasets) for name, given in sorted(step.inputs.items())}
    out = {name: _made(name, made) for name, made in sorted(step.out.items())}
    return {"run": list(step.run), "files": files, "out": out, "stdout": step.stdout or "", "env": dict(sorted(step.env.items()))}


def _given(name: str, given: Any, expression: Any, datasets: Mapping[str, Dataset]) -> dict[str, str]:
    file, format = (given.file, given.format) if isinstance(given, Given) else (None, None)
    source = datasets.get(expression.name) if isinstance(expression, Ref) else None
    untouched = source is not None and source.taken_as == "bytes"
    if file is None:
        plain = untouched and source.file and not any(sign in source.file for sign in "*?[")
        file = PurePath(source.file).name if plain else name + _ENDINGS[format or ("bytes" if untouched else "npy")]
    return {"file": file, "format": "bytes" if untouched and format is None else format_of(file, format)}


def _made(name: str, made: Any) -> dict[str, str]:
    if isinstance(made, str):
        file, format = (name + _ENDINGS[made], made) if made in _ENDINGS else (made, format_of(made, None))
        return {"file": file, "format": format, "path": f"/{name}", "keep": ""}
    return {"file": made.file, "format": format_of(made.file, made.format), "path": made.path or f"/{name}",
            "keep": made.keep or ""}


def kept_files(arguments: Sequence[tuple[str, Any]]) -> list[str]:
    """Give the files that a program leaves under the results, of the plain arguments of its task; none of another task's."""
    named = dict(arguments) if len(arguments) == len(PLAIN) else {}
    return [made["keep"] for made in named["out"].values() if made["keep"]] if named.keys() == set(PLAIN) else []


# What must hold

def check_program(located: Located, name: str, step: Step, arguments: Mapping[str, Any]) -> None:
    """Report what is wrong in a step that runs a program.

    Args:
        located: Takes what is wrong.
        name: The step.
        step: What the document says.
        arguments: Its ``plain_arguments``.
    """
    path: Path = ("steps", name)
    written = located.value["steps"][name]
    if step.parameters:
        located.report((*path, "with"), "'with' belongs to an operation; what a program is told stands in 'run'", key=True)
    if not step.out and "out" not in written:
        located.report(path, "a program needs 'out', the files that it makes, e.g. out: {log: log.txt}", key=True)
    word = str(step.run[0])
    variables = [name for key in LOOPS if isinstance(written.get(key), dict) for name in written[key]]
    if not word.strip() or PLACE.search(word):
        located.report((*path, "run", 0), "the first element of 'run' must name a program" + (
            "; for a script as input write the interpreter first, e.g. python3" if word.strip() else ""))
    elif any(f"${variable}" in word or f"${{{variable}}}" in word for variable in variables):
        located.report((*path, "run", 0), f"the program {word!r} cannot depend on the loop")
    for index, word in enumerate(step.run):
        _check_places(located, (*path, "run", index), word, step)
    for variable, word in step.env.items():
        _check_places(located, (*path, "env", variable), word, step)
    _check_files(located, path, arguments)


def _check_places(located: Located, path: Path, word: Any, step: Step) -> None:
    for match in PLACE.finditer(str(word)):
        names = step.inputs if match[1] == "in" else step.out
        if match[2] not in names:
            located.report(path, f"no {match[0]}: {match[2]!r} is not under {match[1]!r}" + did_you_mean(match[2], names))


def _check_files(located: Located, path: Path, arguments: Mapping[str, Any]) -> None:
    """Report names of files that lead out of their folder, or are those of an input already."""
    inputs: dict[str, str] = {}
    for place, file in _files(path, arguments):
        wrong = misplaced(file)
        if not wrong and place[-1] != "keep" and file in inputs:
            wrong = f"{file!r} is the file of {inputs[file]!r} already"
        if place[2] == "in":
            inputs.setdefault(file, place[3])
        if wrong:
            located.report(place, wrong)


def _files(path: Path, arguments: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    for name, given in arguments["files"].items():
        yield (*path, "in", name, "file"), given["file"]
    for name, made in arguments["out"].items():
        yield (*path, "out", name, "file"), made["file"]
        if made["keep"]:
            yield (*path, "out", name, "keep"), made["keep"]
    if arguments["stdout"]:
        yield (*path, "stdout"), arguments["stdout"]


def misplaced(file: str) -> str:
    """Say what is wrong with the name of a file that must lie in a folder; empty if nothing is."""
    pure = PurePath(file)
    if not pure.name or file.endswith("/"):
        return f"{file!r} is no file name"
    if pure.is_absolute() or ".." in pure.parts:
        return f"{file!r} must be a path inside the folder, without '..'"
    return ""

"""A task that runs an external program: inputs become files, files become the result. Local; no MPI here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mpiflow.errors import MachineError, OperationError
from mpiflow.operations.commands import environment, run_command
from mpiflow.operations.folders import Folders
from mpiflow.operations.interrupts import Interrupts
from mpiflow.operations.printed import Printed
from mpiflow.operations.programs import Program
from mpiflow.operations.values import Value
from mpiflow.storage.files import keep_file, read_file, write_file
from mpiflow.workflow.programs import PLACE, misplaced


def run_program(program: Program, plain: Mapping[str, Any], inputs: Mapping[str, Value], links: Mapping[str, str], results: Path,
                folders: Folders, interrupts: Interrupts, timeout: float | None,
                printed: Printed | None = None) -> Value:
    """Run a program in a folder of its own, which is gone afterwards.

    Args:
        program: What to run.
        plain: Its plain arguments; see ``workflow.programs``.
        inputs: What is written to files, by name.
        links: Files on this node that are given as they are, in place of what is in ``inputs``, by name.
        results: Where relative paths of files that are kept start.
        folders: Gives the folder.
        interrupts: May strike while files are written and read, and while the program runs.
        timeout: How long it may run [s].
        printed: Keeps what it writes.

    Returns:
        Table with a column for each output.

    Raises:
        OperationError: The program failed, or left no file that it should.
        MachineError: A file cannot be written.
        Interrupted: This rank wants it to end.
    """
    with interrupts.only(False):
        try:
            with folders.new() as folder, interrupts.only(True):
                return _run(program, plain, inputs, links, results, folder / "work", folders, interrupts, timeout,
                            printed)
        except OSError as error:
            raise MachineError(f"no scratch folder for {program.name}: {error}") from None


def _run(program: Program, plain: Mapping[str, Any], inputs: Mapping[str, Value], links: Mapping[str, str], results: Path,
         work: Path, folders: Folders, interrupts: Interrupts, timeout: float | None,
         printed: Printed | None) -> Value:
    work.mkdir()
    for name, given in plain["files"].items():
        file = _inside(work, given["file"])
        if name in links:
            file.symlink_to(links[name])
        else:
            write_file(file, name, inputs[name], given["format"])
    for made in plain["out"].values():
        _inside(work, made["file"])                         # programs do not make folders
    words = {f"{part}.{name}": str(item["file"]) for part, key in (("in", "files"), ("out", "out"))
             for name, item in plain[key].items()}
    arguments = [_filled(word, words) for word in plain["run"]]
    given = {"TMPDIR": str(work)} | {name: _filled(word, words) for name, word in plain["env"].items()}
    stdout = _inside(work, plain["stdout"]) if plain["stdout"] else None
    run_command(program.file, arguments, work, stdout, environment(given, os.environ), folders, interrupts, timeout, printed)
    return _results(plain["out"], work, results)


def _results(out: Mapping[str, Any], work: Path, results: Path) -> dict[str, np.ndarray]:
    """Read what the program has left; only when all of it is right is anything kept."""
    found = {name: read_file(work / made["file"], made["format"], made["path"]) for name, made in out.items()}
    for made in out.values():
        if made["keep"]:
            keep_file(work / made["file"], results / _allowed(made["keep"]))
    return found


def _inside(work: Path, name: Any) -> Path:
    """Give the place of a file, and make its folder."""
    place = work / _allowed(str(name))
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _allowed(name: str) -> str:
    """Refuse names that an item of a loop has led astray."""
    wrong = misplaced(name)
    if wrong:
        raise OperationError(wrong)
    return name


def _filled(word: Any, words: Mapping[str, str]) -> str:
    """Put names of files in place of ``{in.NAME}`` and ``{out.NAME}``."""
    return PLACE.sub(lambda match: words[f"{match[1]}.{match[2]}"], str(word))

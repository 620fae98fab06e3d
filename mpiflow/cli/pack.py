"""``pack``: put a workflow into one file, which runs where it is seen by one rank only."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

from mpiflow.cli.arguments import add_workflow, nbytes, overrides
from mpiflow.errors import DocumentError, LaunchError, Problem
from mpiflow.peer.reading import Local, read
from mpiflow.peer.staging import beside
from mpiflow.report.console import say
from mpiflow.report.summary import count, human_bytes
from mpiflow.storage.pack import SUFFIX, is_inside, is_pack, make_pack
from mpiflow.storage.results import replace_file

HELP = "put document, operation modules, programs and small inputs into one file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this verb."""
    add_workflow(parser)
    parser.add_argument("-o", dest="output", type=Path, required=True, metavar="FILE", help=f"the pack, FILE{SUFFIX}")
    parser.add_argument("--inputs", type=nbytes, default=1 << 20, metavar="SIZE",
                        help="take the files of datasets that have at most SIZE together (default: 1MiB)")
    parser.add_argument("--add", type=Path, action="append", default=[], metavar="FILE",
                        help="take this file too, which an operation reads by itself; may be repeated")


def execute(chosen: argparse.Namespace) -> int:
    """Read the workflow as one rank would, and write it with what belongs to it.

    Raises:
        DocumentError: It cannot be read, or a module cannot.
        LaunchError: Something that it needs cannot be packed.
    """
    if chosen.output.suffix != SUFFIX:
        raise LaunchError(f"-o {chosen.output}: the name of a pack ends with {SUFFIX}")
    given = overrides(chosen)
    local = read(chosen.workflow, given, rank=0)
    if local.complaints:
        raise DocumentError(Problem(c.file, c.line, c.column, c.message) for c in local.complaints)
    try:
        document = chosen.workflow.read_bytes()
        if is_pack(chosen.workflow, document):
            raise LaunchError(f"{chosen.workflow} is a pack already")
        folder = chosen.workflow.absolute().parent
        inputs, left_out = _inputs(local, folder, chosen.inputs)
        contents = _code(local, folder) | {str(path): (folder / path).read_bytes() for path in _added(chosen.add, folder)}
        contents |= {name: Path(folder, name).read_bytes() for name in inputs}
        contents[chosen.workflow.name] = document
        data = make_pack(chosen.workflow.name, contents, inputs, given)
        chosen.output.parent.mkdir(parents=True, exist_ok=True)
        replace_file(chosen.output, lambda aside: aside.write_bytes(data))
    except OSError as error:
        raise LaunchError(f"cannot pack {error.filename or chosen.output}: {error.strerror}") from None
    say(f"{chosen.output}: {count(len(contents), 'file')}, {human_bytes(len(data))}")
    for name, why in left_out.items():
        say(f"not in it: dataset {name}, {why}")
    return 0


def _code(local: Local, folder: Path) -> dict[str, bytes]:
    """The modules and programs of a workflow, by their paths from ``folder``."""
    for module in local.workflow.document.operations:
        if not is_inside(module):
            raise LaunchError(f"operations: {module} does not lie beside the workflow or below; a pack cannot hold it")
    return beside(local.workflow, folder)


def _added(files: list[Path], folder: Path) -> Iterator[str]:
    """What the user adds, by paths from ``folder``."""
    for file in files:
        path = os.path.relpath(file.absolute(), folder)
        if not is_inside(path):
            raise LaunchError(f"--add {file}: it does not lie beside the workflow or below")
        yield path


def _inputs(local: Local, folder: Path, most: int) -> tuple[list[str], dict[str, str]]:
    """Choose the files of datasets that are packed; and say why others are not."""
    chosen, left_out = set(), {}
    for name, dataset in local.workflow.document.datasets.items():
        files = [entry for entry in local.sources if entry.dataset == name]
        size = sum(entry.size for entry in files)
        if dataset.file is None:
            continue
        if not files:
            left_out[name] = f"whose file {dataset.file} is not here: it must be seen where it runs"
        elif not is_inside(os.path.normpath(dataset.file)):
            left_out[name] = f"whose file {dataset.file} does not lie beside the workflow or below: it must be seen where it runs"
        elif size > most:
            left_out[name] = f"which is larger than --inputs ({human_bytes(size)}): {dataset.file} must be seen where it runs"
        else:
            chosen.update(os.path.relpath(entry.file, folder) for entry in files)
    return sorted(chosen), left_out

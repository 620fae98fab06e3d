"""A workflow that only some ranks can see: one of these sends it to the others, with the files that it names.

The others keep it in a directory of their own for as long as the run lasts. What is sent is the text of files, no more; it
is read and checked there as if it had been there already. Files of datasets stay where they are, but for those in a pack, which
is sent as it is.
"""

from __future__ import annotations

import posixpath
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from msgspec import Struct, msgpack

from mpiflow.catalog.entries import Hello
from mpiflow.operations.registry import texts
from mpiflow.storage.pack import is_inside, is_pack
from mpiflow.workflow.programs import is_program
from mpiflow.workflow.reading import Workflow


class Parcel(Struct, frozen=True, array_like=True):
    """The text of a document, and of the files beside it that it needs, by their paths from there."""

    document: bytes
    files: tuple[tuple[str, bytes], ...]


_decode = msgpack.Decoder(Parcel).decode


def sender(hellos: Sequence[Hello]) -> int | None:
    """Give the rank that sends the workflow to those that do not see it; None if all see it, or none does. Pure."""
    seeing = [hello.rank for hello in hellos if not hello.absent]
    return seeing[0] if 0 < len(seeing) < len(hellos) else None


def pack(file: Path, workflow: Workflow | None) -> bytes:
    """Put up a workflow for others. Local.

    Files that are named by an absolute path, or lie above the document, are not sent: all ranks must see these.

    Raises:
        OSError: It cannot be read any more.
    """
    data = file.read_bytes()
    files = beside(workflow, file.absolute().parent) if workflow and not is_pack(file, data) else {}
    return msgpack.encode(Parcel(data, tuple(sorted(files.items()))))


def beside(workflow: Workflow, folder: Path) -> dict[str, bytes]:
    """Give the files that a workflow names, but for those of datasets, by their paths from ``folder``. Local.

    These are modules and what they import, programs, inner workflows and lists.

    Raises:
        OSError: One cannot be read.
    """
    files = {path: text for path, text in workflow.files.items() if is_inside(path)}
    for module in (*workflow.document.operations, *[path for _, _, path, _ in workflow.whole.modules]):
        path = PurePosixPath(module)
        if is_inside(module) and (folder / path).is_file():
            files |= {str(path.with_name(f"{name}.py") if name else path): text for name, text in texts(folder / path).items()}
    for name, step in workflow.document.steps.items():
        word = str(step.run[0]) if is_program(step) else ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(workflow.whole.homes.get(name, "")), word))
        if "/" in word and not word.startswith("~") and is_inside(path) and (folder / path).is_file():
            files[path] = (folder / path).read_bytes()
    return files


def unpack(data: bytes, name: str) -> tuple[Path, tempfile.TemporaryDirectory]:
    """Lay out a workflow that has come from another rank. Local.

    Returns:
        The document, called ``name``, and the directory that it is in, which lives as long as this object.

    Raises:
        OSError: There is no room for it.
        msgspec.ValidationError: The bytes are no parcel.
    """
    parcel = _decode(data)
    folder = tempfile.TemporaryDirectory(prefix="mpiflow-")
    for path, text in ((name, parcel.document), *parcel.files):
        place = Path(folder.name, path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text)
        place.chmod(0o700)                      # it may be a program
    return Path(folder.name, name), folder

"""The workflow that a record tells of, as it is now."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mpiflow.errors import DocumentError, Problem, near_file
from mpiflow.peer.reading import read
from mpiflow.peer.staging import beside
from mpiflow.report.provenance import Ran
from mpiflow.storage.pack import is_pack


@dataclass(frozen=True)
class Source:
    """A workflow and what belongs to it.

    Attributes:
        name: Name of the document.
        document: Its bytes.
        files: Modules, programs and other documents, by their paths from it.
        digest: Hash of document and parameters.
    """

    name: str
    document: bytes
    files: dict[str, bytes]
    digest: str


def read_source(ran: Ran, moved: Path | None = None) -> Source:
    """Read the workflow that was run, from where it was, or from where it is now. Local.

    Raises:
        DocumentError: It cannot be read; mistakes in it do not matter.
    """
    file = moved or Path(ran.file)
    try:
        data = file.read_bytes()
    except OSError as error:
        problem = f"the workflow cannot be read: {error.strerror}; say where it is with --workflow FILE{near_file(file)}"
        raise DocumentError([Problem(str(file), 0, 0, problem)]) from None
    local = read(file, ran.overrides, rank=0)
    if local.workflow is None:
        return Source(file.name, data, {}, "")
    try:
        files = {} if is_pack(file, data) else beside(local.workflow, file.absolute().parent)
    except OSError:
        files = {}
    return Source(file.name, data, files, local.workflow.digest)

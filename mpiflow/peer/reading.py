"""Everything that the user wrote, as one rank sees it; no MPI here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mpiflow.catalog.entries import Complaint, SourceEntry
from mpiflow.errors import DocumentError, Problem
from mpiflow.operations.registry import ModuleError, Registry, builtin_operations, load_module
from mpiflow.storage.sources import discover
from mpiflow.workflow.reading import Workflow, read_workflow


@dataclass(slots=True)
class Local:
    """What this rank found in the user's input before it spoke to others.

    Attributes:
        workflow: The document; None if it cannot be read.
        registry: The operations that it may name.
        code: Hashes of its modules, in order.
        complaints: What is wrong.
        sources: The files of its datasets that this rank sees.
    """

    workflow: Workflow | None = None
    registry: Registry = field(default_factory=builtin_operations)
    code: list[str] = field(default_factory=list)
    complaints: list[Complaint] = field(default_factory=list)
    sources: tuple[SourceEntry, ...] = ()

    def raise_complaints(self) -> None:
        """Raise what this rank alone knows to be wrong.

        Raises:
            DocumentError: Something is.
        """
        if self.complaints:
            raise DocumentError(Problem(c.file, c.line, c.column, c.message) for c in self.complaints)


def read(file: Path, overrides: Mapping[str, str], rank: int) -> Local:
    """Read document, modules and the descriptions of files. Local: errors become complaints, never exceptions."""
    local = Local()
    try:
        text = file.read_bytes().decode("utf-8")
        local.workflow = read_workflow(text, str(file), overrides)
    except OSError as error:
        local.complaints.append(Complaint(str(file), 0, 0, f"cannot read the workflow: {error.strerror}"))
    except UnicodeDecodeError as error:
        local.complaints.append(Complaint(str(file), 1, 1, f"not UTF-8 text: {error.reason} at byte {error.start}"))
    except DocumentError as error:
        local.complaints += [Complaint(p.file, p.line, p.column, p.message) for p in error.problems]
    if local.workflow is None:
        return local
    folder = file.absolute().parent
    for index, module in enumerate(local.workflow.document.operations):
        try:
            local.code.append(load_module(folder / module, local.registry))
        except ModuleError as error:
            line, column = local.workflow.located.marks["operations", index]
            local.complaints.append(Complaint(str(file), line, column, str(error)))
    local.sources, complaints = discover(local.workflow, folder, rank)
    local.complaints += complaints
    return local

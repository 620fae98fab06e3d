"""Everything that the user wrote, as one rank sees it; no MPI here."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from mpiflow.catalog.entries import Complaint, SourceEntry
from mpiflow.errors import DocumentError, Problem, near_file
from mpiflow.operations.operation import Operation
from mpiflow.operations.programs import Program, ProgramError, find_program
from mpiflow.operations.registry import ModuleError, Registry, add_operation, adopt, builtin_operations, load_module
from mpiflow.planning.checks import check
from mpiflow.storage.pack import PackError, is_pack, open_pack
from mpiflow.storage.sources import discover
from mpiflow.workflow.programs import is_program, program_name
from mpiflow.workflow.reading import Workflow, draft_workflow
from mpiflow.workflow.text import decode


@dataclass(frozen=True, slots=True)
class Written:
    """What a Python program gives in place of a file.

    Attributes:
        text: The document.
        operations: Operations that live in the program, by name, with the hashes of their code.
    """

    text: str
    operations: Mapping[str, Operation] = field(default_factory=dict)


@dataclass(slots=True)
class Local:
    """What this rank found in the user's input before it spoke to others.

    Attributes:
        workflow: The document; None if it cannot be read.
        registry: The operations that it may name.
        code: Hashes of its modules, in order.
        complaints: What is wrong.
        sources: The files of its datasets that this rank sees.
        absent: Whether the document is not there.
        folder: Where a pack is laid out, if it is one; goes when this object does.
    """

    workflow: Workflow | None = None
    registry: Registry = field(default_factory=builtin_operations)
    code: list[str] = field(default_factory=list)
    complaints: list[Complaint] = field(default_factory=list)
    sources: tuple[SourceEntry, ...] = ()
    absent: bool = False
    folder: TemporaryDirectory | None = None

    def problems(self, complaints: Iterable[Complaint], sources: Sequence[SourceEntry]) -> list[Problem]:
        """Give what is wrong besides the ``complaints`` of all ranks, seen from what all of them know: ``sources``."""
        if self.workflow is None:
            return []
        for complaint in complaints:
            self.workflow.heard(complaint.file, complaint.line, complaint.column)
        before = set(self.workflow.problems)
        check(self.workflow, self.registry, sources)
        return [problem for problem in self.workflow.problems if problem not in before]


def read(file: Path, overrides: Mapping[str, str], rank: int, name: str = "", written: Written | None = None) -> Local:
    """Read document (or pack), modules and the descriptions of files. Local: errors become complaints, never exceptions.

    Args:
        file: The document, or a pack.
        overrides: Parameters given on the command line.
        rank: This rank.
        name: What the document is called in messages, if not ``file``.
        written: What stands in place of the file, if a program has made it; paths start at the folder of ``file`` all the same.
    """
    local, name = Local(), name or str(file)
    try:
        local.workflow, modules = drafted(file, name, overrides, local, written)
    except OSError as error:
        local.absent = isinstance(error, FileNotFoundError)
        local.complaints.append(Complaint(name, 0, 0, f"cannot read the workflow: {error.strerror}{near_file(file)}"))
    except PackError as error:
        local.complaints.append(Complaint(name, 0, 0, str(error)))
    except DocumentError as error:
        local.complaints += [Complaint(p.file, p.line, p.column, p.message) for p in error.problems]
    if local.workflow is None:
        return local
    for index, module in enumerate(local.workflow.document.operations):
        try:
            local.code.append(load_module(modules / module, local.registry))
        except ModuleError as error:
            local.workflow.fail(("operations", index), str(error))
    if written is not None:
        _adopt(local, written)
    _load_inner(local, modules)
    _find_programs(local, modules)
    local.sources, complaints = discover(local.workflow, file.absolute().parent, rank)
    problems = DocumentError(local.workflow.problems).problems
    local.complaints += [*(Complaint(p.file, p.line, p.column, p.message) for p in problems), *complaints]
    return local


def _adopt(local: Local, written: Written) -> None:
    """Add the operations that live in the program."""
    for _, item in sorted(written.operations.items()):
        local.code.append(item.code)
        try:
            add_operation(item, local.registry)
        except ModuleError as error:
            local.workflow.fail((), str(error))


def _load_inner(local: Local, folder: Path) -> None:
    """Load the modules of inner documents, each of which has the operations of its own modules only."""
    registries: dict[str, Registry] = {file: builtin_operations() for file in dict.fromkeys(local.workflow.whole.homes.values())}
    loaded: set[tuple[str, str]] = set()
    for located, index, module, home in local.workflow.whole.modules:
        if (home, module) in loaded:
            continue
        loaded.add((home, module))
        try:
            local.code.append(load_module(folder / os.path.expanduser(module), registries[home]))
        except ModuleError as error:
            located.report(("operations", index), str(error))
    outermost = local.workflow.located.file
    for home, registry in registries.items():
        if home != os.path.basename(outermost):
            local.workflow.keys[home] = adopt(local.registry, registry)


def _find_programs(local: Local, folder: Path) -> None:
    """Look for the programs of steps that are right; those of the outermost document keep their names."""
    workflow, found = local.workflow, set()
    for name, step in sorted(workflow.document.steps.items(), key=lambda item: item[0] in workflow.whole.homes):
        home = workflow.whole.homes.get(name, "")
        if not is_program(step) or name not in workflow.expressions or (home, program_name(step)) in found:
            continue
        operation, word = program_name(step), str(step.run[0])
        found.add((home, operation))
        try:
            program = find_program(operation, word, sorted(step.inputs), folder / os.path.dirname(home))
        except ProgramError as error:
            workflow.fail(("steps", name, "run", 0), str(error))
            program = Program(operation, len, inputs=tuple(sorted(step.inputs)))       # so that nothing else seems wrong
        workflow.keys.get(home, {}).update(adopt(local.registry, {operation: program}))
        local.code.append(program.code)


def drafted(file: Path, name: str, overrides: Mapping[str, str], local: Local,
            written: Written | None = None) -> tuple[Workflow, Path]:
    """Give the document as far as it can be read, and where its modules lie; a pack is laid out for ``local``. Local.

    Raises:
        DocumentError: Nothing of it can be read.
        PackError: It is a pack that is broken.
        OSError: A file cannot be read.
    """
    data = file.read_bytes() if written is None else written.text.encode()
    folder, inputs = file.absolute().parent, {}
    if written is None and is_pack(file, data):
        pack = open_pack(data)
        local.folder = pack.lay_out()
        folder, inputs = Path(local.folder.name), pack.inputs(local.folder.name)
        data, overrides = pack.contents[pack.manifest.document], {**pack.manifest.parameters, **overrides}
        name = f"{name}/{pack.manifest.document}"
    drafted = draft_workflow(decode(data, name), name, overrides, lambda part: (folder / os.path.expanduser(part)).read_bytes())
    return replace(drafted, inputs=inputs), folder

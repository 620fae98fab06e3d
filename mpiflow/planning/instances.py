"""The instances of loops as the planner sees them: what was not known before the ranks met, and which are chosen. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from msgspec.structs import replace

from mpiflow.catalog.entries import SourceEntry
from mpiflow.errors import ranges
from mpiflow.workflow.filters import Chooser
from mpiflow.workflow.loops import Loop, LoopError, Row
from mpiflow.workflow.reading import Workflow
from mpiflow.workflow.sweeps import instances


@dataclass(frozen=True)
class Instances:
    """The instances of a step: the values of the variables of its loop, and the blocks of each."""

    variables: tuple[str, ...]
    rows: Sequence[Row]
    blocks: Sequence[Any]

    @cached_property
    def chooser(self) -> Chooser:
        """Finds instances by their values."""
        return Chooser(self.variables, self.rows)


def source_of(step: str, variable: str) -> str:
    """Name the files of a variable as sources; no dataset has such a name."""
    return f"{step} for {variable}"


def files_of(sources: Sequence[SourceEntry], step: str, variable: str) -> list[SourceEntry]:
    """Give the files that a variable goes through, in order of their paths.

    Files of one path that differ in nothing but their inodes are copies of one file, on disks of several nodes.
    """
    found: dict[SourceEntry, list[SourceEntry]] = {}
    for entry in sources:
        if entry.dataset == source_of(step, variable):
            found.setdefault(replace(entry, inode=0, holders=()), []).append(entry)
    return [copies[0] if len(copies) == 1 else replace(
        one, holders=tuple(sorted({rank for entry in copies for rank in entry.holders}))) for one, copies in found.items()]


def check_files(workflow: Workflow, step: str, loop: Loop, sources: Sequence[SourceEntry]) -> None:
    """Note files of a loop that nobody sees, or that ranks see differently."""
    for variable, found in loop.found.items():
        if found.kind != "files":
            continue
        entries = files_of(sources, step, variable)
        seen: dict[str, list[SourceEntry]] = {}
        for entry in entries:
            seen.setdefault(entry.file, []).append(entry)
        path = (*workflow.loop_path(step, variable), "files")
        if not entries:
            workflow.fail(path, f"no rank sees a file that matches {found.of!r} (relative paths start at the workflow file)")
        elif odd := next((file for file, several in seen.items() if len(several) > 1), ""):
            where = "; ".join(f"ranks {ranges(entry.holders, ',')}: {entry.size} bytes" for entry in seen[odd])
            workflow.fail(path, f"{odd} is not the same file on all ranks ({where}); give node-local files different names")


def found_instances(workflow: Workflow, step: str, loop: Loop, given: Mapping[str, Sequence[Any]]) -> list[Row]:
    """Give the instances of a loop whose values are ``given`` now.

    Raises:
        DocumentError: There are none, or too many.
    """
    try:
        return instances(loop, given)
    except LoopError as error:
        workflow.fail(workflow.loop_path(step, error.variable), str(error))
        workflow.finish()
        raise


def mentions(value: Any, path: str) -> bool:
    """Whether a text in a plain value names ``path``."""
    if isinstance(value, str):
        return path in value
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return any(mentions(part, path) for part in parts)


def distinct(names: Sequence[str]) -> list[str]:
    """Number names that come again: a, b, a becomes a, b, a#2."""
    counts: dict[str, int] = {}
    found = []
    for name in names:
        counts[name] = counts.get(name, 0) + 1
        found.append(name if counts[name] == 1 else f"{name}#{counts[name]}")
    return found

"""What verbs that need no MPI have in common: a workflow read and compiled here, on behalf of all ranks."""

from __future__ import annotations

import argparse

import msgspec

from mpiflow.catalog.catalog import merge_sources
from mpiflow.cli.arguments import overrides
from mpiflow.errors import DocumentError, Problem
from mpiflow.peer.reading import Local, read
from mpiflow.planning.lowering import lower
from mpiflow.planning.tasks import TaskGraph


def compiled(chosen: argparse.Namespace, size: int | None) -> tuple[Local, TaskGraph]:
    """Read and compile the chosen workflow as ``size`` ranks would: a file that is seen here is seen by all.

    Without a size there are as many ranks as its largest parallel operation needs.

    Raises:
        DocumentError: With every problem found.
    """
    local = read(chosen.workflow, overrides(chosen), rank=0)
    if size is None:
        steps = local.workflow.document.steps.values() if local.workflow else ()
        size = max((step.ranks or 1 for step in steps if not isinstance(step, str)), default=1)
    everyone = tuple(range(size))
    sources = merge_sources([msgspec.structs.replace(entry, holders=everyone) for entry in local.sources])
    if local.complaints:
        complaints = [Problem(c.file, c.line, c.column, c.message) for c in local.complaints]
        raise DocumentError([*complaints, *local.problems(local.complaints, sources)])
    return local, lower(local.workflow, local.registry, sources, size)

"""``check``: look for mistakes in a workflow, without MPI and without running anything."""

from __future__ import annotations

import argparse

from mpiflow.catalog.catalog import merge_sources
from mpiflow.cli.arguments import add_workflow, overrides
from mpiflow.errors import DocumentError, Problem
from mpiflow.peer.reading import read
from mpiflow.planning.lowering import lower
from mpiflow.report.console import say

HELP = "look for mistakes in a workflow, without running it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this verb."""
    add_workflow(parser)


def execute(chosen: argparse.Namespace) -> int:
    """Read and compile the workflow as one rank would."""
    local = read(chosen.workflow, overrides(chosen), rank=0)
    sources = merge_sources(local.sources)
    if local.complaints:
        complaints = [Problem(c.file, c.line, c.column, c.message) for c in local.complaints]
        raise DocumentError([*complaints, *local.problems(local.complaints, sources)])
    graph = lower(local.workflow, local.registry, sources, size=1)
    document = local.workflow.document
    say(f"{chosen.workflow}: right: {len(document.datasets)} datasets, {len(document.steps)} steps, {len(graph.tasks)} tasks")
    return 0

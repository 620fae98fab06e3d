"""``check``: look for mistakes in a workflow, without MPI and without running anything."""

from __future__ import annotations

import argparse

from mpiflow.cli.arguments import add_workflow
from mpiflow.cli.compiling import compiled
from mpiflow.report.console import say

HELP = "look for mistakes in a workflow, without running it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this verb."""
    add_workflow(parser)


def execute(chosen: argparse.Namespace) -> int:
    """Read and compile the workflow as one rank would."""
    local, graph = compiled(chosen, size=1)
    document = local.workflow.document
    say(f"{chosen.workflow}: right: {len(document.datasets)} datasets, {len(document.steps)} steps, {len(graph.tasks)} tasks")
    return 0

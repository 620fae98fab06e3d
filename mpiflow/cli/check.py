"""``check``: look for mistakes in a workflow, without MPI: in the document, and in what its operations declare."""

from __future__ import annotations

import argparse

from mpiflow.cli.arguments import add_workflow
from mpiflow.cli.compiling import compiled
from mpiflow.peer.samples import Tried, try_declarations
from mpiflow.planning.sources import source_blocks
from mpiflow.report.console import say

HELP = "look for mistakes in a workflow, without running it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this verb."""
    add_workflow(parser)
    parser.add_argument("--no-samples", dest="samples", action="store_false",
                        help="look at the document only; do not try on the first rows of the data what operations declare")


def execute(chosen: argparse.Namespace) -> int:
    """Read and compile the workflow as the least number of ranks would that can run it, and try its operations
    on samples.

    Raises:
        DocumentError: With every problem found.
    """
    local, graph = compiled(chosen, None)
    workflow = local.workflow
    document = workflow.document
    if chosen.samples:
        blocks = source_blocks(workflow, document.datasets, local.sources)
        tried = try_declarations(workflow, local.registry, blocks, graph.datasets)
        _report(tried)
        workflow.finish()
    say(f"{chosen.workflow}: right: {len(document.datasets)} datasets, {len(document.steps)} steps, {len(graph.tasks)} tasks")
    return 0


def _report(tried: Tried) -> None:
    for name, what in tried.held.items():
        say(f"tried on a sample: {name} ({', '.join(what)})")
    for name, reason in tried.untried.items():
        say(f"not tried: {name}: {reason}")
    for note in tried.notes:
        say(f"note: {note}")

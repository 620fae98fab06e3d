"""What verbs that need no MPI have in common: a workflow read and compiled here, on behalf of all ranks."""

from __future__ import annotations

import argparse

from mpiflow.api import planning
from mpiflow.cli.arguments import overrides
from mpiflow.peer.reading import Local
from mpiflow.planning.tasks import TaskGraph


def compiled(chosen: argparse.Namespace, size: int | None) -> tuple[Local, TaskGraph]:
    """Read and compile the chosen workflow; see ``api.planning.compiled``."""
    return planning.compiled(planning.Given(chosen.workflow, overrides(chosen), None, ()), size)

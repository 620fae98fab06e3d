"""Where the results of a run come from: documents, parameters, code, versions."""

from __future__ import annotations

import platform
import sys
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import mpiflow

if TYPE_CHECKING:
    from mpiflow.peer.outcome import Outcome

_PACKAGES = ("numpy", "h5py", "mpi4py")
_LONGEST = 200_000      # characters of one document


def provenance(outcome: Outcome) -> dict[str, Any]:
    """Give what one must know to get the same results again, as plain values.

    ``documents`` are the texts of the workflow and of what it was composed of; ``operations`` have the hash of their code, which
    is a part of all ids.
    """
    workflow, request = outcome.workflow, outcome.request
    used = {task.operation for task in outcome.plan.graph.tasks if task.operation}
    return {
        "digest": workflow.digest, "overrides": dict(request.overrides),
        "documents": {workflow.located.file: workflow.text[:_LONGEST]}
        | {name: data.decode("utf-8", "replace")[:_LONGEST] for name, data in sorted(workflow.files.items())},
        "operations": {name: outcome.registry[name].code for name in sorted(used) if name in outcome.registry},
        "versions": versions() | ({"MPI": outcome.library} if outcome.library else {}),
        "command": tuple(sys.argv[1:])}


@lru_cache(1)
def versions() -> dict[str, str]:
    """Give the versions of what runs here."""
    found = {"mpiflow": mpiflow.__version__, "Python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found | {"system": f"{platform.system()} {platform.release()}, {platform.machine()}"}

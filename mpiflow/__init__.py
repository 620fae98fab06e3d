"""mpiflow: scientific workflows on a cluster with no master. Importing it never initialises MPI."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mpiflow.operations.operation import Operation, operation

if TYPE_CHECKING:
    from mpiflow.api import builtin
    from mpiflow.api.building import Handle, Workflow, load
    from mpiflow.api.planning import Checked, Plan
    from mpiflow.api.running import Run, run
    from mpiflow.api.session import Session, session
    from mpiflow.errors import (
        DocumentError,
        LaunchError,
        MachineError,
        MpiflowError,
        OperationError,
        PlanningError,
        StepError,
        StoppedError,
    )
    from mpiflow.workflow.terms import variable as var

__version__ = "0.1.0"
__all__ = [
    "Checked", "DocumentError", "Handle", "LaunchError", "MachineError", "MpiflowError", "Operation", "OperationError", "Plan",
    "PlanningError", "Run", "Session", "StepError", "StoppedError", "Workflow", "__version__", "builtin", "load", "operation",
    "run", "session", "var"]

# Loaded when they are asked for (PEP 562): operation modules need only the decorator, on every rank.
_HOMES = {name: module for module, names in {
    "mpiflow.api.building": ("Handle", "Workflow", "load"),
    "mpiflow.api.planning": ("Checked", "Plan"),
    "mpiflow.api.running": ("Run", "run"),
    "mpiflow.api.session": ("Session", "session"),
    "mpiflow.errors": ("DocumentError", "LaunchError", "MachineError", "MpiflowError", "OperationError", "PlanningError",
                       "StepError", "StoppedError"),
}.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "builtin":
        return importlib.import_module("mpiflow.api.builtin")
    if name == "var":
        return importlib.import_module("mpiflow.workflow.terms").variable
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mpiflow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

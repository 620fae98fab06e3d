"""Small MPI jobs that verbs start to find something out; under a timeout, and with nothing left of them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpiflow.operations.commands import environment

_INSIDE = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK")     # launchers tell it to ranks only
_PATIENCE = 3.0         # seconds that a job has to end when it is told to


@dataclass(frozen=True)
class Ended:
    """How a job ended: its exit status, None if it took too long; and what it has written."""

    status: int | None
    out: str
    err: str

    def said(self) -> dict[str, Any] | None:
        """The JSON object that it has printed, on a line by itself."""
        for line in reversed(self.out.splitlines()):
            with contextlib.suppress(ValueError):
                found = json.loads(line)
                if isinstance(found, dict):
                    return found
        return None

    @property
    def why(self) -> str:
        """What it has said of its failure: the lines that tell most."""
        lines = [line.strip(" -*") for line in (self.err or self.out).splitlines()]
        lines = [line for line in lines if line]
        own = [line for line in lines if line.startswith("mpiflow: error:")]
        return own[0].removeprefix("mpiflow: error: ") if own else " ".join(lines)[:300]


def mpirun() -> str | None:
    """Give the launcher: that of the environment of this Python, or the first in the path."""
    own = Path(sys.executable).parent / "mpirun"
    return str(own) if own.is_file() else shutil.which("mpirun") or shutil.which("mpiexec")


def run_job(command: Sequence[str], timeout: float, folder: Path | None = None) -> Ended:
    """Run a command to its end, or end it with all that it has started. Local.

    Its environment is ours, but if we are a rank ourselves, without what belongs to the MPI job around us: what a user has set
    for MPI counts. A launcher has its temporary files for itself.
    """
    with tempfile.TemporaryDirectory(prefix="mpf") as scratch:
        inside = any(name in os.environ for name in _INSIDE)
        env = environment({"TMPDIR": scratch}, os.environ) if inside else os.environ | {"TMPDIR": scratch}
        try:
            process = subprocess.Popen(command, cwd=folder, env=env, text=True, errors="replace", start_new_session=True,
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        except OSError as error:
            return Ended(127, "", f"{command[0]}: {os.strerror(error.errno)}")
        try:
            out, err = process.communicate(timeout=timeout)
            return Ended(process.returncode, out, err)
        except subprocess.TimeoutExpired:
            return Ended(None, "", f"did not end within {timeout:g} s")
        finally:
            _end(process)


def _end(process: subprocess.Popen) -> None:
    """End the process group: launchers clean up when they are told in time."""
    for number, patience in ((signal.SIGTERM, _PATIENCE), (signal.SIGKILL, _PATIENCE)):
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=patience)

"""Starting mpiflow as a user does, in a process group of its own that never outlives the test."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str


@contextlib.contextmanager
def started(command: list[str], cwd: Path | None = None, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen]:
    """Start ``command``; whatever of its process group is left at the end is killed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
    process = subprocess.Popen(command, cwd=cwd, env=environment, text=True, start_new_session=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def launch(command: list[str], cwd: Path | None = None, timeout: float = 120, env: dict[str, str] | None = None) -> Ended:
    """Run ``command`` to its end, or kill it and fail."""
    with started(command, cwd, env) as process:
        out, err = process.communicate(timeout=timeout)
        return Ended(process.returncode, out, err)


def mpiflow(num_ranks: int | None, *arguments: object, **options) -> Ended:
    """Run ``mpirun -n num_ranks python -m mpiflow arguments``; without mpirun if there is no number."""
    prefix = [] if num_ranks is None else ["mpirun", "-n", str(num_ranks)]
    return launch([*prefix, sys.executable, "-m", "mpiflow", *map(str, arguments)], **options)


def ran_in(folder: Path, num_ranks: int, workflow: str, operations: str, record: str) -> Path:
    """Run a workflow that ends well in ``folder``, as ``w.yaml`` with ``ops.py``, and leave its record there; give the folder."""
    (folder / "w.yaml").write_text(workflow)
    (folder / "ops.py").write_text(operations)
    ended = mpiflow(num_ranks, "w.yaml", "--record", record, cwd=folder)
    assert ended.status == 0, ended.err
    return folder

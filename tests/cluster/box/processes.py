"""Commands of the system, and processes that never outlive the one that started them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# The kernel ends what we start when we end, however that comes about.
MORTAL = ("setpriv", "--pdeathsig", "KILL")
_PROGRAMS = {"ip": "iproute2", "tc": "iproute2", "nsenter": "util-linux", "unshare": "util-linux", "setpriv": "util-linux",
             "mount": "mount"}


class BoxError(Exception):
    """There can be no cluster in a box here, or the system refused something."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended.

    Attributes:
        status: Exit status; None if it had to be ended from outside when its time was over.
        out: What it wrote to standard output.
        err: What it wrote to standard error.
    """

    status: int | None
    out: str
    err: str


def require() -> None:
    """Check that this is root, on a machine with what is needed.

    Raises:
        BoxError: It is not; says what to do.
    """
    if os.geteuid() != 0:
        raise BoxError("a cluster in a box needs root: it makes network namespaces")
    missing = sorted({package for program, package in _PROGRAMS.items() if shutil.which(program) is None})
    if missing:
        raise BoxError(f"a cluster in a box needs what is not installed: apt-get install {' '.join(missing)}")


def system(*words: object) -> str:
    """Run a command of the system and give what it printed.

    Raises:
        BoxError: It failed.
    """
    command = list(map(str, words))
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BoxError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


@contextlib.contextmanager
def started(words: Sequence[object], cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen]:
    """Start a command in a process group of its own; whatever is left of the group at the end is killed."""
    command = list(map(str, (*MORTAL, *words)))
    process = subprocess.Popen(command, cwd=cwd, env={**os.environ, **(env or {})}, text=True, start_new_session=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        kill_group(process)
        process.communicate()


def kill_group(process: subprocess.Popen) -> None:
    """Kill what is left of the group of a process that ``started`` started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)

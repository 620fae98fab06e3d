"""Whether somebody looks on: what a rank writes goes to the launcher first, and it depends on that where it ends up."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

_LAUNCHERS = {"mpirun", "mpiexec", "mpiexec.hydra", "hydra_pmi_proxy", "hydra_bstrap_pr", "prterun", "prted", "orterun", "orted"}
_TERMINALS = ("/dev/pts/", "/dev/tty", "/dev/console")
_NARROW = 80            # columns of a terminal that does not say


def terminal(stream: int = 2, environment: Mapping[str, str] = os.environ, processes: Path = Path("/proc"),
             pid: int | None = None) -> str:
    """Give the terminal where this rank's standard error (2) or output (1) ends up, if it can show a line in place of another.

    Empty if there is none; a launcher on another node cannot be asked, and is taken to have none.
    """
    if environment.get("TERM", "dumb") in ("dumb", "unknown", ""):
        return ""
    found, process = "", processes / str(pid or os.getpid())
    with contextlib.suppress(OSError, ValueError, IndexError):
        while True:                             # Open MPI gives its ranks a terminal of their own, so the outermost one counts
            found = os.readlink(process / "fd" / str(stream))
            parent = (process / "stat").read_bytes().rpartition(b")")[2].split()[1].decode()
            process = processes / parent
            name = (process / "stat").read_bytes().partition(b"(")[2].rpartition(b")")[0].decode()
            if name not in _LAUNCHERS:
                break
    return found if found.startswith(_TERMINALS) else ""


def width(name: str) -> int:
    """Give the number of columns of a terminal, as it is now."""
    try:
        opened = os.open(name, os.O_RDONLY | os.O_NOCTTY)
        try:
            return os.get_terminal_size(opened).columns or _NARROW
        finally:
            os.close(opened)
    except OSError:
        return _NARROW

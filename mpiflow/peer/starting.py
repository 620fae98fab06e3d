"""The start of MPI, which nothing survives: who waits there for a rank that is dead ends the job, instead of waiting for ever.

Where ranks outlive others, the launcher lets a death pass, and those that are in MPI_Init wait for the dead one: they do not know
each other yet, so no message can tell them. But the processes of a node see each other. One that sees another vanish has the
launcher end the job, on all nodes.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

from mpiflow.errors import LaunchError, ranges
from mpiflow.peer.leaving import READ

_LOOK = 0.25            # seconds between two looks at the other ranks of a node,
_CROWD = 32             # and so many seconds more for this number of ranks
_SURE = 1.0             # seconds in which a start that a death has not disturbed comes to its end
_TURN = 0.5             # seconds that each rank leaves to the one before it, so that one speaks for all
_FORKED = 10.0          # seconds in which a launcher that has started one rank of a node has started all of them
_OBEYED = 3.0           # seconds that a launcher may take to end
_NUMBER = b"OMPI_COMM_WORLD_LOCAL_RANK="
_OWN = b"prterun"       # the launcher of one job; that of several, prte, is not for one of them to end
_LAUNCHERS = (b"prterun", b"prted", b"mpirun", b"mpiexec")


class Neighbours:
    """The ranks of a job on one node, as the launcher numbers them there, by their processes. Local."""

    def __init__(self, environment: Mapping[str, str], processes: Path = Path("/proc"), born: float = 0.0) -> None:
        """Prepare.

        Args:
            environment: What the launcher told this process.
            processes: Where the system shows them.
            born: When this process was started [s].
        """
        self._processes = processes
        self._job = f"PMIX_NAMESPACE={environment.get('PMIX_NAMESPACE', '')}".encode()
        number, size = (environment.get(f"OMPI_COMM_WORLD_LOCAL_{what}", "") for what in ("RANK", "SIZE"))
        known = number.isdigit() and size.isdigit() and "PMIX_NAMESPACE" in environment
        self.own = int(number) if known else 0
        self.size = int(size) if known else 0
        self._seen: set[int] = set()
        self._born = born

    def missing(self, now: float) -> list[int]:
        """Give the ranks that are not there any more, or should be there by the time ``now`` [s]."""
        if self.size < 2:
            return []
        there = self._there()
        self._seen |= there
        return sorted((set(range(self.size)) if now - self._born > _FORKED else self._seen) - there)

    def _there(self) -> set[int]:
        found = set()
        for process in sorted(self._processes.iterdir()):
            if process.name.isdigit():
                with contextlib.suppress(OSError):          # it may end meanwhile, or be another user's
                    words = (process / "environ").read_bytes().split(b"\0")
                    if self._job in words:
                        found |= {int(word.partition(b"=")[2]) for word in words if word.startswith(_NUMBER)}
        return found


def initialise(MPI: ModuleType, rank: int, mortal: bool, patience: float) -> None:
    """Initialise MPI, or end this process with a message. **Collective** over all that the launcher has started.

    Args:
        MPI: The module ``mpi4py.MPI``.
        rank: This process's number, as the launcher says.
        mortal: Whether ranks outlive others, so that the launcher ends nothing at a death.
        patience: How long the others may take [s]; 0 for ever.

    Raises:
        LaunchError: MPI cannot be initialised.
    """
    joined = threading.Event()
    arguments = joined, rank, mortal, patience or math.inf
    watching = threading.Thread(target=_watch, args=arguments, name="mpiflow-start", daemon=True)
    watching.start()
    status = _init(MPI)
    joined.set()
    watching.join()                             # it must not speak any more
    if status:
        raise LaunchError(f"MPI cannot be initialised: {MPI.Get_error_string(status)}")
    for comm in MPI.COMM_SELF, MPI.COMM_WORLD:  # as mpi4py does
        comm.Set_errhandler(MPI.ERRORS_RETURN)


def _init(MPI: ModuleType) -> int:
    """Call MPI's own function, whose status this gives: mpi4py keeps Python's lock in it, so that nothing else would run."""
    provided = ctypes.c_int()
    return ctypes.CDLL(MPI.__file__).MPI_Init_thread(None, None, MPI.THREAD_MULTIPLE, ctypes.byref(provided))


def _watch(joined: threading.Event, rank: int, mortal: bool, patience: float) -> None:
    """End the job if the others do not come."""
    began = time.perf_counter()
    there = Neighbours(os.environ if mortal else {}, born=began - _age())
    pause = _LOOK + there.size / _CROWD if there.size else patience
    while not joined.wait(min(pause, began + patience - time.perf_counter(), threading.TIMEOUT_MAX)):
        now = time.perf_counter()
        if now - began >= patience:
            _end(joined, f"rank {rank} has waited {patience:.0f} s for MPI to start: some rank has died, or was not started")
        elif (missing := there.missing(now)) and not joined.wait(_SURE + _TURN * _before(there.own, missing)):
            _end(joined, f"{len(missing)} of the {there.size} ranks on node {os.uname().nodename} died while MPI started, which "
                 f"no MPI survives (counted there from 0: {ranges(missing, ',')}). Nothing has been computed yet: start it again")


def _age() -> float:
    """Seconds since this process was started."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        ticks = int(Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return 0.0


def _before(own: int, missing: list[int]) -> int:
    """Number of ranks of a node that speak before this one."""
    return own - sum(number < own for number in missing)


def _end(joined: threading.Event, why: str) -> None:
    print(f"mpiflow: error: {why}", file=sys.__stderr__, flush=True)
    time.sleep(READ)
    launcher = _launcher()
    for _ in range(2 if launcher else 0):       # at the second time it does not wait for anybody
        with contextlib.suppress(OSError):
            os.kill(launcher, signal.SIGTERM)
        joined.wait(_OBEYED)
    os._exit(LaunchError.status)


def _launcher(processes: Path = Path("/proc"), parent: Callable[[], int] = os.getppid) -> int:
    """Give the pid of the launcher of this job, or of its part on this node; 0 if there is none for us to end."""
    if not os.environ.get("PMIX_NAMESPACE", "").startswith(_OWN.decode()):
        return 0
    pid = parent()
    with contextlib.suppress(OSError, ValueError, IndexError):
        while pid > 1:
            name, _, rest = (processes / str(pid) / "stat").read_bytes().partition(b"(")[2].rpartition(b")")
            if name in _LAUNCHERS:
                return pid
            pid = int(rest.split()[1])
    return 0

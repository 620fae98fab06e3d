"""The end of a process: at the same moment as the others', with its own status, whatever user code left behind."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import sys
import time
import traceback
from typing import NoReturn

from mpi4py import MPI

from mpiflow.errors import InternalError, MpiflowError

LIMIT = 5.0         # seconds to wait for ranks that know of the end as well
TOGETHER = 0.5     # seconds from the moment at which all are there to the moment at which all end
_guarded: dict[str, object] = {}


def leave(comm: MPI.Comm, status: int) -> NoReturn:
    """End this process with ``status``, when every rank has come here. **Collective**, but bounded in time.

    Launchers kill what still runs as soon as one process ends with a status other than zero, so all must end at once.
    Threads that user code left behind are not waited for.
    """
    _flush()
    request = comm.Ibarrier()
    limit = time.monotonic() + LIMIT
    while not request.Test():
        if time.monotonic() > limit:
            MPI.COMM_WORLD.Abort(status or 3)
        time.sleep(2e-4)
    moment = time.monotonic() + (TOGETHER if status else 0.0)
    MPI.Finalize()
    if status:
        _hold_pipes()
    time.sleep(max(moment - time.monotonic(), 0.0))
    os._exit(status)


def _hold_pipes() -> None:
    """Keep our end of the launcher's pipes open for as long as ranks may need to end.

    MPICH's launcher looks for processes that have ended when a pipe closes, and then kills the rest: a rank that is a
    few milliseconds late would end by SIGKILL instead of with its status.
    """
    with contextlib.suppress(OSError):
        os.posix_spawn("/bin/sleep", ["sleep", str(2 * TOGETHER)], {})


def _flush() -> None:
    """Do what the interpreter would do at its end, but wait for threads."""
    with contextlib.suppress(Exception):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def abort(error: BaseException) -> NoReturn:
    """End every rank at once: this one cannot go on, and the others would wait for it."""
    expected = isinstance(error, MpiflowError) and not isinstance(error, InternalError)
    if isinstance(error, KeyboardInterrupt):
        text, status = f"mpiflow: rank {MPI.COMM_WORLD.rank} was interrupted", 130
    elif expected:
        text, status = f"mpiflow: error: {error}", error.status
    else:
        text, status = "".join(traceback.format_exception(error)), 3
    with contextlib.suppress(OSError, ValueError, AttributeError):      # user code may have closed it
        print(text, file=sys.__stderr__, flush=True)
    MPI.COMM_WORLD.Abort(status)
    os._exit(status)                # MPICH comes back from Abort


def guard(running: bool) -> None:
    """Note whether user code runs: if it ends the process by C's ``exit`` (Fortran's STOP does), that is no success."""
    if not _guarded:
        callback = ctypes.CFUNCTYPE(None)(_ended_by_user_code)
        _guarded["callback"] = callback
        ctypes.CDLL(None)["__cxa_atexit"](callback, None, None)
    _guarded["pid"] = os.getpid() if running else None


def _ended_by_user_code() -> None:
    if _guarded["pid"] == os.getpid():
        os.write(2, b"mpiflow: error: an operation ended the process\n")
        os._exit(3)

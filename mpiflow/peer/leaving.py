"""The end of a process: with its own status, whatever user code left behind."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

from mpiflow.errors import InternalError, MpiflowError, SilenceError
from mpiflow.peer.stopping import ignore_all

if TYPE_CHECKING:
    from mpi4py import MPI

READ = 0.2              # seconds for the launcher to read what was printed: told of the end, that of MPICH reads no more

_watch: dict[str, object] = {}      # what ``watch_exit`` set up; C calls it at the very end, so it must live until then


def leave(status: int) -> NoReturn:
    """End this process with ``status``; threads that user code left behind are not waited for. **Collective**.

    It ends by C's ``exit``, since MPICH takes leave of its launcher there: the launcher would kill the other ranks of a
    process that ended by ``os._exit``.
    """
    ignore_all()
    with contextlib.suppress(Exception):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    MPI = sys.modules.get("mpi4py.MPI")         # verbs that need no MPI have not loaded it
    if MPI and MPI.Is_initialized() and not MPI.Is_finalized():
        with contextlib.suppress(MPI.Exception):        # a rank has died just now; all that counts is done
            MPI.Finalize()
    _watch["active"] = False
    ctypes.CDLL(None).exit(status)
    os._exit(status)


def abort(error: BaseException, comm: MPI.Comm | None = None, last: bool = False) -> NoReturn:
    """End every rank at once: this one cannot go on, and the others would wait for it.

    Where ranks outlive others, only this one ends. It kills itself, since the others would not notice any other end. But if none
    of them can go on either, it ends with the status of the error: a launcher that lets deaths pass says 0 when all have died.

    Args:
        error: What happened here.
        comm: The ranks that are alive, to meet them; None if they do not meet, or have met.
        last: Whether they have met, and none of them goes on.
    """
    from mpi4py import MPI

    from mpiflow.peer.survive import nobody_goes_on, survivable

    expected = isinstance(error, MpiflowError) and not isinstance(error, InternalError)
    if isinstance(error, KeyboardInterrupt):
        text, status = f"mpiflow: rank {MPI.COMM_WORLD.rank} was interrupted", 130
    elif expected:
        text, status = f"mpiflow: error: {error}", error.status
    else:
        text, status = "".join(traceback.format_exception(error)), 3
    with contextlib.suppress(OSError, ValueError, AttributeError):      # user code may have closed it
        print(text, file=sys.__stderr__, flush=True)
    if survivable(MPI.COMM_WORLD) and not isinstance(error, SilenceError):
        if last or (comm is not None and nobody_goes_on(comm)):
            leave(status)
        os.kill(os.getpid(), signal.SIGKILL)
    _end_job(status)


def desert(status: int) -> NoReturn:
    """End the job with ``status`` from a rank whose main thread does not come back from MPI, when all have reported.

    MPI cannot be finalized while a thread is in it. Where ranks outlive others this one just dies, and the others end well.
    """
    from mpi4py import MPI

    from mpiflow.peer.survive import survivable

    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    if survivable(MPI.COMM_WORLD):
        os.kill(os.getpid(), signal.SIGKILL)
    _end_job(status)


def _end_job(status: int) -> NoReturn:
    from mpi4py import MPI

    time.sleep(READ)
    MPI.COMM_WORLD.Abort(status)
    os._exit(status)                # MPICH comes back from Abort


def watch_exit() -> None:
    """From now on the process ends by ``leave`` or ``abort`` only.

    C's ``exit`` (Fortran's STOP calls it) in an operation would end the job with status 0, and is no success.
    """
    own = os.getpid()

    def ended_by_others() -> None:
        if _watch["active"] and os.getpid() == own:       # not the end that is meant, nor that of a child that user code forked
            os.write(2, f"mpiflow: error: {_watch['cause']}\n".encode("utf-8", "backslashreplace"))
            time.sleep(READ)
            os._exit(_watch["status"])

    callback = ctypes.CFUNCTYPE(None)(ended_by_others)
    ctypes.CDLL(None)["__cxa_atexit"](callback, None, None)
    _watch.update(callback=callback, active=True, cause="an operation ended the process", status=3)


@contextlib.contextmanager
def blaming(cause: str, status: int) -> Iterator[None]:
    """If C's ``exit`` is called in the block, it is for ``cause``, and the process ends with ``status``."""
    before = dict(_watch)
    _watch.update(cause=cause, status=status)
    yield
    _watch.update(cause=before.get("cause"), status=before.get("status"))

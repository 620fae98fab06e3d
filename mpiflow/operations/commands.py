"""Running one external program: no shell reads its arguments, and nothing of it is left when it is over."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from mpiflow.errors import MachineError, OperationError
from mpiflow.operations.folders import Folders, end_group
from mpiflow.operations.interrupts import Interrupts
from mpiflow.operations.printed import Printed

PATIENCE = 0.5          # seconds that a program has to end by itself
_SHOWN = 30             # lines of what a program has written that a report shows,
_TAIL = 8_000           # and bytes
_FOREVER = 2e6          # seconds: more cannot be asked of poll
_PAUSE = 0.01           # seconds between two looks, where the system has no pidfd
# What launchers tell the ranks of an MPI job, and nobody else: a program that finds it would take itself for a rank.
_LAUNCHERS = ("PMI_", "PMI2_", "PMIX_", "OMPI_", "ORTE_", "PRTE_", "PRRTE_", "OPAL_", "HYDRA_", "HYDI_", "MPI_LOCAL", "MPIEXEC_",
              "MPIR_", "MV2_COMM_WORLD_", "PALS_", "SLURM_STEP", "SLURM_SRUN_", "SLURM_PMI", "SLURM_CPU_BIND", "SLURM_MEM_BIND")
_STEP = {"SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_TASK_PID", "SLURM_GTIDS", "SLURM_MPI_TYPE", "SLURM_DISTRIBUTION",
         "SLURM_LAUNCH_NODE_IPADDR", "SLURM_UMASK", "GFORTRAN_UNBUFFERED_PRECONNECTED"}
# A program announces itself to the guard, then becomes what was asked for; the shell sees no more than "$@".
_ANNOUNCED = ["/bin/sh", "-c", 'echo $$ >&0; exec "$@" </dev/null', "mpiflow-program"]


def environment(given: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Give the environment of a program: ours, without what belongs to the MPI job around it, and with what is ``given``. Pure.

    Args:
        given: Variables that the document sets.
        own: The environment of this process.
    """
    kept = {name: value for name, value in own.items() if not name.startswith(_LAUNCHERS) and name not in _STEP}
    library = own.get("OMPI_LIBDIR_LOC")        # Open MPI's wheel puts its own libraries before all others
    if library and "LD_LIBRARY_PATH" in kept:
        kept["LD_LIBRARY_PATH"] = ":".join(part for part in kept["LD_LIBRARY_PATH"].split(":") if part != library)
    return kept | given


def run_command(program: str, arguments: Sequence[str], folder: Path, stdout: Path | None, env: Mapping[str, str],
                folders: Folders, interrupts: Interrupts, timeout: float | None,
                printed: Printed | None = None) -> None:
    """Run a program to its end; whatever of its process group is left then is killed. Local, for the main thread.

    Args:
        program: Its path.
        arguments: What it is told; the first names it in reports.
        folder: Where it runs; what it writes besides is left beside this folder.
        stdout: The file that takes its standard output; None if nobody wants it.
        env: Its environment.
        folders: Whose guard cares for it if this process is killed.
        interrupts: May only strike while it runs.
        timeout: How long it may take [s].
        printed: Keeps what it writes, but for a standard output that somebody wants.

    Raises:
        OperationError: It ended with another status than 0, or took too long; with the end of what it has written.
        MachineError: It cannot be started.
        Interrupted: This process wants it to end.
    """
    written = {"stderr": folder.parent / "stderr", "stdout": stdout or folder.parent / "stdout"}
    followed = {"err": written["stderr"]} if stdout else {"out": written["stdout"], "err": written["stderr"]}
    with interrupts.only(False), (printed or Printed()).following(followed):
        process = _started([*_ANNOUNCED, program, *arguments[1:]], folder, written, env, folders)
        patience = PATIENCE
        try:
            with _watched(process) as ended, interrupts.only(True):
                over = ended(timeout)
            if over:
                patience = 0.0
        finally:
            with _watched(process) as ended:
                end_group(process, patience, ended)
    if not over:
        raise OperationError(_report(arguments, f"took longer than {timeout:g} s and was ended", written))
    if process.returncode:
        raise OperationError(_report(arguments, _ending(process.returncode), written))


def _started(command: Sequence[str], folder: Path, written: Mapping[str, Path], env: Mapping[str, str],
             folders: Folders) -> subprocess.Popen:
    try:
        with open(written["stdout"], "wb") as stdout, open(written["stderr"], "wb") as stderr:
            return subprocess.Popen(command, cwd=folder, env=env, stdin=folders.tell, stdout=stdout, stderr=stderr,
                                    start_new_session=True)
    except (OSError, ValueError) as error:
        raise MachineError(f"cannot start {command[len(_ANNOUNCED)]}: {error}") from None


@contextlib.contextmanager
def _watched(process: subprocess.Popen) -> Iterator[Callable[[float | None], bool]]:
    """Give a function that waits for the end of a process, for so many seconds or for ever, and says whether it has come.

    The process is not waited for in the sense of the system: its number stays taken.
    """
    try:
        opened = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        yield lambda seconds: _looked(process, seconds)
        return
    poll = select.poll()
    poll.register(opened, select.POLLIN)
    try:
        yield lambda seconds: bool(poll.poll(None if seconds is None or seconds > _FOREVER else 1000 * seconds))
    finally:
        os.close(opened)


def _looked(process: subprocess.Popen, seconds: float | None) -> bool:
    until = None if seconds is None else time.monotonic() + seconds
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if until is not None and time.monotonic() > until:
            return False
        time.sleep(_PAUSE)
    return True


# Reports

def _ending(code: int) -> str:
    if code > 0:
        return f"ended with status {code}"
    try:
        return f"was killed by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"was killed by signal {-code}"


def _report(arguments: Sequence[str], what: str, written: Mapping[str, Path]) -> str:
    lines = [f"{arguments[0]} {what}", f"command: {subprocess.list2cmdline(arguments)}"]
    for name, file in written.items():
        tail = last_lines(file)
        lines += [f"{name}, last lines:" if tail else f"{name}: empty", *(f"  {line}" for line in tail)]
    return "\n".join(lines)


def last_lines(file: Path) -> list[str]:
    """Give the last lines of a file, those that a report shows; none if it cannot be read."""
    try:
        with open(file, "rb") as opened:
            size = opened.seek(0, os.SEEK_END)
            opened.seek(max(0, size - _TAIL))
            text = opened.read(_TAIL)
    except OSError:
        return []
    lines = text.decode("utf-8", "backslashreplace").replace("\0", "\\0").splitlines()
    return lines[-_SHOWN:] if size <= _TAIL or len(lines) <= 1 else lines[1:][-_SHOWN:]

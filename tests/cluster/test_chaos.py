"""Ranks are killed at random moments: on an MPI that survives it, and on one that does not."""

import subprocess
import sys
from pathlib import Path

import pytest
from chaos_launch import MAKE, STACKS

CHAOS = Path(__file__).with_name("chaos.py")
LIMIT = 600.0           # seconds; on a machine that is not busy it takes a fraction


@pytest.mark.parametrize("mpi, runs, seed", [("mpich", 8, 1000), ("ulfm", 12, 2000)])
def test_killed_ranks_neither_hang_a_run_nor_change_its_results(mpi, runs, seed, tmp_path):
    assert (STACKS[mpi].programs / "mpirun").exists(), f"the environment for this is missing: run '{MAKE[mpi]}'"
    command = [sys.executable, CHAOS, "--mpi", mpi, "--runs", str(runs), "--seed", str(seed), "--folder", tmp_path / "runs"]
    process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        out, _ = process.communicate(timeout=LIMIT)
    finally:
        process.terminate()             # it then ends what it has started
    assert process.returncode == 0, out
    assert "runs  " in out, out

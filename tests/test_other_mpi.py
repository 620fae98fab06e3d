"""The system's Open MPI instead of the environment's MPICH: the same package, the same results."""

import os
import shutil
import sys
import tempfile

import h5py
import pytest
from launching import EXAMPLES, launch, mpiflow

OPEN_MPI = shutil.which("mpirun.openmpi")
SCENARIO = EXAMPLES / "scenarios" / "2-linear-two.yaml"
ROOT_MAY = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}

needs_open_mpi = pytest.mark.skipif(
    OPEN_MPI is None and "CI" not in os.environ, reason="Debian's openmpi-bin is not installed; .ci/run installs it")


def open_mpi(num_ranks, *arguments, abi="openmpi"):
    with tempfile.TemporaryDirectory() as scratch:
        environment = {**ROOT_MAY, "TMPDIR": scratch} | ({"MPI4PY_MPIABI": abi} if abi else {})
        command = [OPEN_MPI or "mpirun.openmpi", "--oversubscribe", "-n", num_ranks, sys.executable, "-m", *arguments]
        return launch(list(map(str, command)), env=environment)


@needs_open_mpi
def test_open_mpi_gives_the_bits_that_mpich_gives(tmp_path):
    ended = open_mpi(4, "mpiflow", SCENARIO, "--results", tmp_path / "open")
    assert ended.status == 0, ended.err
    assert "on 4 ranks" in ended.out and "1 block, 8000 bytes" in ended.out
    assert mpiflow(4, SCENARIO, "--results", tmp_path / "mpich").status == 0
    answers = []
    for name in ("open", "mpich"):
        with h5py.File(tmp_path / name / "results" / "scenario-2.h5") as file:
            answers.append(file["answer"][...].tobytes())
    assert answers[0] == answers[1]


@needs_open_mpi
def test_a_program_with_the_mpi_of_its_rank_does_not_take_itself_for_one(tmp_path):
    """Debian's LAMMPS is built with this very Open MPI."""
    ended = open_mpi(2, "mpiflow", EXAMPLES / "lammps" / "workflow.yaml", "--results", tmp_path, "--no-save",
                     "--set", "cells=2", "--set", "steps=100")
    assert ended.status == 0, ended.err
    with h5py.File(tmp_path / "lammps" / "melt.h5") as file:
        assert file["averages"].shape == (12, 4)


@needs_open_mpi
def test_transfers_and_epochs_run_on_open_mpi():
    ended = open_mpi(3, "pytest", "-q", "-p", "no:cacheprovider", EXAMPLES.parent / "tests" / "mpi" / "test_transfers.py",
                     EXAMPLES.parent / "tests" / "mpi" / "test_epochs.py")
    assert ended.status == 0, ended.out


@needs_open_mpi
def test_the_mpirun_of_another_mpi_is_refused_with_the_remedy():
    ended = open_mpi(3, "mpiflow", SCENARIO, abi="")
    assert ended.status == 2
    assert ended.err.count("mpiflow: error:") == 1
    assert "mpirun and mpi4py belong to different MPIs" in ended.err

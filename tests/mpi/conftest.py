"""pytest under mpiexec: the ranks agree on the outcome of each phase of each test, and one of them prints.

A test that fails on one rank fails on all of them, with the tracebacks of the ranks on which it failed. A rank that
does not come to the end of a phase is waited for, then every rank's stacks are printed and the job ends with status 3.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import time

import pytest
from mpi4py import MPI

from mpiflow.peer.epochs import Epochs

LIMIT = float(os.environ.get("MPIFLOW_TEST_LIMIT", "100"))     # seconds that a rank may come later than another
_comm = MPI.COMM_WORLD.Dup()
_epochs = Epochs(_comm)


def exchange(data: bytes) -> list[bytes]:
    """Give every rank's bytes to every rank, or end the job if one does not come."""
    _epochs.post(data)
    began = time.monotonic()
    while (parts := _epochs.poll()) is None:
        if time.monotonic() - began > LIMIT:
            _give_up()
        time.sleep(0.0005)
    return parts


def _give_up() -> None:
    print(f"\nrank {_comm.rank}: another rank does not come; stacks of all ranks follow", file=sys.stderr, flush=True)
    faulthandler.dump_traceback()
    for pid in _pids:
        if pid != os.getpid():
            os.kill(pid, signal.SIGUSR2)
    time.sleep(2)
    MPI.COMM_WORLD.Abort(3)


faulthandler.register(signal.SIGUSR2, all_threads=True)
_pids = [int(part) for part in exchange(str(os.getpid()).encode())]


def pytest_configure(config: pytest.Config) -> None:
    """Let one rank print: the reporter, made after this, takes the standard output that it finds."""
    if _comm.rank:
        sys.stdout = open(os.devnull, "w")      # noqa: SIM115


@pytest.hookimpl(hookwrapper=True, trylast=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """Make the outcome of a phase the worst of all ranks' outcomes."""
    outcome = yield
    report = outcome.get_result()
    text = f"{report.longrepr}" if report.failed else ""
    parts = [part.decode() for part in exchange(f"{report.outcome}\n{text}".encode())]
    failed = [(rank, part.partition("\n")[2]) for rank, part in enumerate(parts) if part.startswith("failed")]
    if failed:
        report.outcome = "failed"
        report.longrepr = "\n".join(f"--- rank {rank} of {_comm.size}\n{text}" for rank, text in failed)


@pytest.fixture
def comm():
    """A communicator of all ranks, freed after the test."""
    duplicate = MPI.COMM_WORLD.Dup()
    yield duplicate
    duplicate.Free()


@pytest.fixture
def together():
    """Gather a text of each rank on every rank, so that all can assert the whole list."""
    return lambda text: [part.decode() for part in exchange(str(text).encode())]


@pytest.fixture
def shared_tmp(tmp_path_factory, together):
    """One fresh directory that all ranks see."""
    own = tmp_path_factory.mktemp("shared") if _comm.rank == 0 else ""
    return type(tmp_path_factory.getbasetemp())(together(own)[0])

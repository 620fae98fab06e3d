"""Ranks that die at moments that chance hardly finds: while others are in long operations, and when the run is over."""

import json
import os
import signal
import time

import numpy as np
import pytest
from chaos_launch import MAKE, MARK, STACKS, launched

from mpiflow.storage.generate import generate
from mpiflow.workflow.model import Random

LIMIT = 150.0           # seconds; on a machine that is not busy a test takes a few
OPERATIONS = """
import hashlib, os, sys, time
from mpiflow import operation

os.environ["HOME"] = "home-" + os.environ["OMPI_COMM_WORLD_RANK"]       # as on nodes with disks of their own

def first(mark):
    # Whether this is the first time; the mark tells the test.
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
        return True
    except FileExistsError:
        return False

@operation
def asleep(x, mark):
    if first(mark):
        time.sleep(1000)
    return x + 1

@operation
def stuck(x, mark):
    # One C call of many minutes, that no signal handler of Python interrupts.
    if first(mark):
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)
    return x + 1

@operation
def astray(x):
    # What this rank knows is another thing from now on.
    frame = sys._getframe()
    while not hasattr(frame.f_locals.get("self"), "_state"):
        frame = frame.f_back
    frame.f_locals["self"]._state.catalog.digest ^= 1
    return x + 1
"""
DOCUMENT = """
mpiflow: 1
name: deaths
operations: [ops.py]
datasets:
  x: {arange: {stop: 10}, rank: 0}
  y: {arange: {stop: 11}, rank: 1}
steps: STEPS
results: {a: a.npy}
"""


@pytest.fixture
def start(tmp_path):
    """Start four ranks on a workflow."""
    stack = STACKS["ulfm"]
    assert (stack.programs / "mpirun").exists(), f"the environment for this is missing: run '{MAKE['ulfm']}'"
    (tmp_path / "ops.py").write_text(OPERATIONS + MARK)

    def starting(steps, document=DOCUMENT, *options):
        (tmp_path / "workflow.yaml").write_text(document.replace("STEPS", steps))
        return launched(stack, 4, ["workflow.yaml", "--record", "record.json", *options], tmp_path, "log")
    return starting


def until(fact):
    end = time.monotonic() + LIMIT
    while not (found := fact()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


@pytest.mark.parametrize("operation, num_left", [("asleep", 3), ("stuck", 2)])
def test_an_operation_does_not_keep_the_others_waiting_for_ever(start, tmp_path, operation, num_left):
    with start("{a: '" + operation + "(x, mark=\"mark\")'}") as launch:
        ranks = until(lambda: launch.joined(4))
        until((tmp_path / "mark").exists)
        os.kill(ranks[3], signal.SIGKILL)
        until(lambda: not launch.running())
    log = (tmp_path / "log").read_text()
    assert launch.process.returncode == 0, log
    assert len(json.loads((tmp_path / "record.json").read_text())["hosts"]) == num_left and (tmp_path / "a.npy").exists()
    assert "rank 3 on" in log and ("keeps this one from meeting the others" in log) == (operation == "stuck")


@pytest.mark.parametrize("victim", [0, 2])
def test_a_death_while_the_end_is_reported_loses_neither_the_report_nor_what_was_made(start, tmp_path, victim):
    os.mkfifo(tmp_path / "record.json")         # who writes the record waits here for a reader
    with start("{a: sum(x) + sum(y)}") as launch:
        ranks = until(lambda: launch.joined(4))
        until(lambda: "done in" in (tmp_path / "log").read_text())
        os.kill(ranks[victim], signal.SIGKILL)
        read = json.loads((tmp_path / "record.json").read_text()) if victim else json.loads(second_record(tmp_path))
        until(lambda: not launch.running())
    log = (tmp_path / "log").read_text()
    assert launch.process.returncode == 0, log
    assert len(read["rounds"]) == 1 and read["status"] == 0
    assert log.count("done in") == (1 if victim else 2)


def test_a_death_while_mpi_starts_ends_the_job_soon_and_not_with_status_0(start, tmp_path):
    with start("{a: sum(x) + sum(y)}") as launch:
        ranks = until(lambda: found if len(found := launch.ranks()) == 4 else None)
        os.kill(ranks[3], signal.SIGKILL)
        until(lambda: not launch.running())
    log = (tmp_path / "log").read_text()
    assert launch.process.returncode != 0 and "1 of the 4 ranks on node" in log and "died while MPI started" in log, log
    assert not (tmp_path / "record.json").exists() and not (tmp_path / "a.npy").exists()


def test_ranks_that_do_not_agree_never_end_with_status_0_and_without_results(start, tmp_path):
    with start("{a: astray(x)}") as launch:
        until(lambda: not launch.running())
    log, status = (tmp_path / "log").read_text(), launch.process.returncode
    assert "ranks disagree on plan or catalog" in log
    assert status == 3 or (status == 0 and (tmp_path / "a.npy").exists()), log


def second_record(folder):
    """What the next one writes, when the first one that would have written the record is dead."""
    until(lambda: (folder / "log").read_text().count("done in") == 2)
    return (folder / "record.json").read_text()


# The victim has made g and is the only one to see x. Blocks are so small that those who hold them have them before t.
REPLICATED = """
mpiflow: 1
name: replicated
operations: [ops.py]
datasets:
  x: {file: ~/x.npy, blocks: 8, replicas: NUM}
  g: {random: {shape: [4000], seed: 1}, blocks: 8, rank: 0, replicas: NUM}
  y: {arange: {stop: 2_000_000}, rank: 1}
steps:
  t: sum(x + g)
  a: asleep(y + t, mark="mark")
  z: sum(x * max(a))
  w: sum(g * max(a))
results: {z: z.npy, w: w.npy}
"""


@pytest.mark.parametrize("num, again", [(1, {"g": 8}), (2, {})])
def test_of_a_replicated_dataset_nothing_is_made_again_when_its_rank_dies(start, tmp_path, num, again):
    (tmp_path / "home-0").mkdir()
    np.save(tmp_path / "home-0" / "x.npy", np.arange(4000.0))
    with start("", REPLICATED.replace("NUM", str(num)), "--no-save") as launch:
        ranks = until(lambda: launch.joined(4))
        until((tmp_path / "mark").exists)
        os.kill(ranks[0], signal.SIGKILL)
        until(lambda: not launch.running())
    log, read = (tmp_path / "log").read_text(), json.loads((tmp_path / "record.json").read_text())
    made = [task["step"] for task in read["tasks"] if task["state"] == "done" and task["kind"] not in ("kept", "restore")]
    assert len(read["rounds"]) == 2 and {step: made.count(step) for step in "xgty" if step in made} == again, log
    assert read["status"] == (1 if num == 1 else 0) and (tmp_path / "w.npy").exists()
    if num == 1:
        assert "x.npy was only to be seen by a rank that has died" in log
    else:
        assert np.load(tmp_path / "z.npy") == pytest.approx(np.arange(4000.0).sum() * np.load(tmp_path / "w.npy")
                                                            / generate(Random(shape=[4000], seed=1), 0, 4000).sum())

"""What goes wrong ends everywhere, in time, with one message: through mpirun, as a user sees it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launching import launch, mpiflow, started

OPS = """
import hashlib, os, resource, time
import numpy as np
from mpiflow import operation

@operation
def bad(x, after=0.0):
    time.sleep(after)
    raise ValueError("no good")

@operation
def c_exit(x):
    import ctypes
    ctypes.CDLL(None).exit(0)

@operation
def forked(x):
    if os.fork() == 0:
        raise SystemExit(0)
    return x

@operation
def leave(x):
    raise SystemExit("gone")

@operation
def sleep(x, seconds, mark=""):
    if mark:
        open(f"{mark}-{os.getpid()}", "w").close()
    time.sleep(seconds)
    return x

@operation
def compute(x, seconds):
    a, began = np.random.default_rng(1).random((300, 300)), time.perf_counter()
    while time.perf_counter() - began < seconds:
        a = a @ a
        a /= a.max()
    return x

@operation
def stubborn(x, seconds):
    # One C call of many seconds, that no signal handler of Python interrupts.
    began = time.perf_counter()
    hashlib.pbkdf2_hmac("sha256", b"a", b"b", 100_000)
    hashlib.pbkdf2_hmac("sha256", b"a", b"b", int(100_000 * seconds / (time.perf_counter() - began)))
    return x

@operation
def swallow(x, seconds):
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        try:
            time.sleep(0.1)
        except Exception:
            pass
    return x

@operation
def nothing(x):
    pass

@operation
def fill_disk(x):
    # From now on this process can write no more than a megabyte to a file.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
    return x
"""
FAILING = """
mpiflow: 1
name: failing
params: {meanwhile: "sleep(y, 10)", wrong: bad}
operations: [ops.py]
datasets:
  x: {arange: {stop: 10}, rank: 3}
  y: {arange: {stop: 11}, rank: 0}
  z: {arange: {stop: 12}, rank: 5}
steps:
  wrong: $wrong(x)
  after: sum(wrong)
  meanwhile: $meanwhile
  more: sleep(z, 3)
results: {after: after.h5}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "ops.py").write_text(OPS)
    return tmp_path


def write(folder: Path, text: str) -> Path:
    (folder / "workflow.yaml").write_text(text)
    return folder / "workflow.yaml"


@pytest.mark.parametrize("meanwhile", [
    "sum(y)", "sleep(y, 10)", "compute(y, 10)", "swallow(y, 10)", "stubborn(y, 14)"])
def test_an_operation_that_raises_ends_all_ranks_in_time_with_one_report(folder, meanwhile):
    file = write(folder, FAILING.replace("sleep(y, 10)", meanwhile))
    ended = mpiflow(8, file, "--record", folder / "run.json", cwd=folder, timeout=60)
    record = json.loads((folder / "run.json").read_text())
    assert ended.status == 1
    assert ended.err.count("mpiflow: error:") == 1 and ended.err.count("Traceback") == 1
    assert re.search(r"step 'wrong' failed on rank 3 \(node \S+\), task \d+: operation bad", ended.err)
    assert 'ops.py", line 9, in bad' in ended.err and "ValueError: no good" in ended.err
    assert "TERMINATION" not in ended.out + ended.err
    assert record["seconds"] < 10
    assert {task["step"]: task["state"] for task in record["tasks"]}["after"] == "cancelled"
    assert not (folder / "after.h5").exists()


@pytest.mark.parametrize(("wrong", "message"), [
    ("leave", "SystemExit: gone"), ("nothing", "returned None; it must return an array")])
def test_an_operation_may_do_anything_wrong(folder, wrong, message):
    ended = mpiflow(4, write(folder, FAILING), "--set", f"wrong={wrong}", cwd=folder, timeout=60)
    assert ended.status == 1
    assert message in ended.err and ended.err.count("mpiflow: error:") == 1


def test_an_operation_that_ends_the_process_does_not_end_the_job_as_a_success(folder):
    ended = mpiflow(2, write(folder, FAILING), "--set", "wrong=c_exit", cwd=folder, timeout=60)
    assert ended.status != 0
    assert "an operation ended the process" in ended.err


def test_a_process_keeps_its_status_when_a_rank_dies_while_mpi_comes_to_its_end():
    text = ("from mpi4py import MPI\nfrom mpiflow.peer import leaving\n\ndef failing(): raise MPI.Exception(MPI.ERR_OTHER)\n\n"
            "MPI.Finalize = failing\nleaving.watch_exit()\nleaving.leave(75)\n")
    ended = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (75, "")


def test_a_child_that_an_operation_forked_does_not_go_on_as_a_second_rank(folder):
    ended = mpiflow(2, write(folder, FAILING), "--set", "wrong=forked", "--set", "meanwhile=sum(y)", cwd=folder, timeout=60)
    assert (ended.status, ended.err) == (0, "")


@pytest.mark.parametrize(("declared", "what"), [("nbytes", "size"), ("seconds", "run time")])
def test_what_an_operation_declares_otherwise_on_each_rank_is_refused_before_anything_runs(folder, declared, what):
    (folder / "ops.py").write_text(
        f"import os\nfrom mpiflow import operation\n@operation({declared}=lambda x: os.getpid())\ndef fickle(x): return x\n")
    file = write(folder, "mpiflow: 1\nname: fickle\noperations: [ops.py]\ndatasets: {x: {arange: {stop: 8}}}\n"
                 "steps: {y: sum(x), z: fickle(x + y), more: sum(z)}\nresults: {more: more.npy}\n")
    ended = mpiflow(4, file, cwd=folder, timeout=60)
    assert ended.status == 2 and "Traceback" not in ended.err
    assert ended.err.count("mpiflow: error:") == 1
    assert f"step 'z': ranks expect another {what} of the same block, from " in ended.err
    assert "operation 'fickle'" in ended.err and not (folder / "more.npy").exists()


def test_a_result_is_a_success_whether_anybody_reads_the_summary_or_not(folder):
    write(folder, LONG.replace('sleep(x, 20, mark="MARK")', "sum(x)"))
    run = f"{sys.executable} -m mpiflow workflow.yaml"
    assert launch(["bash", "-c", f"{run} >&-; echo $?; {run} > /dev/full; echo $?"], cwd=folder).out == "0\n0\n"


def test_every_rank_ends_with_the_status_of_the_failure(folder):
    write(folder, FAILING)
    script = f"{sys.executable} -m mpiflow workflow.yaml --set 'meanwhile=sleep(y, 10)'; echo status $?"
    ended = launch(["mpirun", "-n", "8", "bash", "-c", script], cwd=folder, timeout=60)
    assert ended.out.count("status 1") == 8


def test_keep_going_finishes_what_does_not_depend_on_the_failure(folder):
    file = write(folder, FAILING.replace("results: {after: after.h5}", "results: {meanwhile: m.npy}"))
    ended = mpiflow(4, file, "--keep-going", "--set", "meanwhile=sleep(y, 1)", cwd=folder, timeout=60)
    assert ended.status == 1
    assert (folder / "m.npy").exists()
    assert "meanwhile" in ended.out and "m.npy (meanwhile), written by rank" in ended.out


def pids(folder: Path, num: int) -> list[int]:
    """The processes that have begun to sleep."""
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        found = [int(file.name.rpartition("-")[2]) for file in folder.glob("mark-*")]
        if len(found) == num:
            return found
        time.sleep(0.05)
    raise AssertionError("the run did not come to its middle")


ASLEEP = """
mpiflow: 1
name: asleep
operations: [ops.py]
datasets:
  x: {arange: {stop: 10}, rank: 0}
  y: {arange: {stop: 11}, rank: 1}
  z: {arange: {stop: 12}, rank: 2}
steps:
  a: sleep(x, 100, mark="MARK-0")
  b: sleep(y, 100, mark="MARK-1")
  c: sleep(z, 100, mark="MARK-2")
results: {a: a.npy}
"""


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_killing_any_rank_ends_the_job_promptly(folder, victim):
    file = write(folder, ASLEEP.replace("MARK", str(folder / "mark")))
    with started(["mpirun", "-n", "4", sys.executable, "-m", "mpiflow", str(file)], cwd=folder) as process:
        running = pids(folder, 3)
        chosen = next(int(file.name.rpartition("-")[2]) for file in folder.glob(f"mark-{victim}-*"))
        os.kill(chosen, signal.SIGKILL)
        began = time.monotonic()
        process.wait(timeout=15)
        assert process.returncode != 0
        assert time.monotonic() - began < 15
        time.sleep(0.2)
        assert [pid for pid in running if Path(f"/proc/{pid}").exists() and zombie(pid) is False] == []
    assert not (folder / "a.npy").exists()


def zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


LONG = """
mpiflow: 1
name: long
operations: [ops.py]
datasets:
  x: {arange: {stop: 10}, rank: 3}
steps:
  slow: sleep(x, 20, mark="MARK")
results: {slow: slow.npy}
"""


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_ranks_that_wait_for_a_long_operation_hardly_use_their_cores(folder):
    file = write(folder, LONG.replace("MARK", str(folder / "mark")))
    with started(["mpirun", "-n", "8", sys.executable, "-m", "mpiflow", str(file)], cwd=folder) as process:
        busy, = pids(folder, 1)
        children = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and is_rank(int(path.name), file)]
        waiting = [pid for pid in children if pid != busy]
        before = {pid: cpu_seconds(pid) for pid in waiting}
        began = time.monotonic()
        time.sleep(15)
        shares = [(cpu_seconds(pid) - before[pid]) / (time.monotonic() - began) for pid in waiting]
        assert process.wait(timeout=60) == 0
    assert len(shares) == 7
    assert max(shares) < 0.05, shares


def is_rank(pid: int, file: Path) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"mpiflow" in words and str(file).encode() in words and b"mpirun" not in words[0] and b"-n" not in words


@pytest.mark.parametrize("variable", ["SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"])
def test_ranks_that_do_not_find_each_other_are_refused_with_the_remedy(folder, variable):
    ended = mpiflow(None, write(folder, LONG), env={variable: "8"})
    assert ended.status == 2
    assert "started 8 processes" in ended.err
    assert ("srun --mpi=pmi2" if "SLURM" in variable else "mpirun of the environment") in ended.err


def test_only_one_of_several_lost_ranks_speaks(folder):
    ended = mpiflow(None, write(folder, LONG), env={"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "3"})
    assert (ended.status, ended.err) == (2, "")


def test_a_result_that_cannot_be_written_is_a_failed_step(folder):
    text = LONG.replace('sleep(x, 20, mark="MARK")', "sum(x)").replace("slow.npy", "there/slow.npy")
    (folder / "there").write_text("a file where a directory must be")
    ended = mpiflow(2, write(folder, text), "--results", folder, cwd=folder, timeout=60)
    assert ended.status == 1
    assert "step 'there/slow.npy' failed" in ended.err and "cannot write" in ended.err
    assert (folder / "there").read_text() == "a file where a directory must be"


def test_a_full_disk_is_a_failed_step_and_leaves_nothing_half_written(folder):
    text = LONG.replace('sleep(x, 20, mark="MARK")', "fill_disk(x)").replace("stop: 10", "stop: 10_000_000")
    ended = mpiflow(None, write(folder, text), "--no-save", cwd=folder)
    assert ended.status == 1
    assert "cannot write" in ended.err and "File too large" in ended.err
    assert sorted(path.name for path in folder.iterdir()) == [".mpiflow", "ops.py", "workflow.yaml"]
    assert {path.name for path in folder.rglob(".mpiflow/runs/*/*")} <= {"record.json"}

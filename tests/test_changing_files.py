"""Files that are cut, locked or replaced, documents and modules that change: one clear error, or none and the right result."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from launching import Ended, mpiflow, started

from mpiflow.errors import MachineError
from mpiflow.planning.sources import source_blocks
from mpiflow.planning.tasks import Block
from mpiflow.storage import sources
from mpiflow.storage.sources import discover, load
from mpiflow.workflow.reading import read_workflow

ROWS = np.arange(600, dtype=np.float64).reshape(100, 6)
FILES = ["x.h5", "x.npy", "f.npy"]


def write(file: Path, rows: np.ndarray) -> None:
    if file.suffix == ".npy":
        np.save(file, np.asfortranarray(rows) if file.name == "f.npy" else rows)
    else:
        with h5py.File(file, "w") as opened:
            opened.create_dataset("x", data=rows, chunks=(10, 6))


def workflow_of(name: str):
    dataset = {"file": name, "blocks": 4} | ({"path": "x"} if name == "x.h5" else {})
    document = {"mpiflow": 1, "name": "t", "datasets": {"d": dataset}, "steps": {"s": "sum(d)"}}
    return read_workflow(yaml.safe_dump(document, sort_keys=False), "w.yaml")


def planned(folder: Path, name: str):
    """Give the workflow, and its blocks as they are now."""
    write(folder / name, ROWS)
    workflow = workflow_of(name)
    return workflow, [Block("d", block.start, block.stop, block.file, block.stamp)
                      for block in source_blocks(workflow, ["d"], discover(workflow, folder, 0)[0])["d"]]


OPENED = "import h5py; opened = h5py.File({!r}, 'r+')"       # as a simulation does; changes the time of modification
LOCKED = "import fcntl; opened = open({!r}); fcntl.flock(opened, fcntl.LOCK_EX)"


@contextlib.contextmanager
def locked(file: Path, how: str = LOCKED):
    """Another process has locked ``file``."""
    code = f"{how.format(str(file))}; print('locked', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "locked\n"
        try:
            yield
        finally:
            other.communicate("\n")


# Before the run

@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_anywhere_is_complained_about(tmp_path, name):
    write(tmp_path / name, ROWS)
    data = (tmp_path / name).read_bytes()
    for size in range(0, len(data), 97):
        (tmp_path / name).write_bytes(data[:size])
        entries, (complaint,) = discover(workflow_of(name), tmp_path, 0)
        assert entries == () and complaint.message.startswith(f"cannot read {tmp_path / name}: ")


@pytest.mark.parametrize("how", [OPENED, LOCKED])
def test_a_locked_file_is_complained_about_in_words(tmp_path, how):
    write(tmp_path / "x.h5", ROWS)
    with locked(tmp_path / "x.h5", how):
        _, (complaint,) = discover(workflow_of("x.h5"), tmp_path, 0)
    assert complaint.message == f"cannot read {tmp_path / 'x.h5'}: it is locked: another process has it open for writing"
    assert discover(workflow_of("x.h5"), tmp_path, 0)[1] == ()


# Between the plan and the reading

def cut(file):
    os.truncate(file, file.stat().st_size - 100)


def replaced(file):
    write(file.with_name("new-" + file.name), ROWS + 1)
    os.replace(file.with_name("new-" + file.name), file)


def overwritten(file):
    time.sleep(0.01)                                        # the clock of the file system is coarse
    write(file, -ROWS)


@pytest.mark.parametrize("change", [cut, replaced, overwritten])
@pytest.mark.parametrize("name", FILES)
def test_no_block_of_a_file_is_read_that_has_changed(tmp_path, name, change):
    workflow, blocks = planned(tmp_path, name)
    load(workflow, blocks[0])
    change(tmp_path / name)
    for block in blocks:
        with pytest.raises(MachineError, match="has changed since the run was planned"):
            load(workflow, block)


def test_a_file_that_is_locked_after_the_plan_is_an_error_and_good_again_afterwards(tmp_path):
    workflow, blocks = planned(tmp_path, "x.h5")
    with locked(tmp_path / "x.h5"), pytest.raises(MachineError, match="it is locked: another process has it open for writing"):
        load(workflow, blocks[0])
    assert np.array_equal(load(workflow, blocks[0]), ROWS[:blocks[0].stop])


# During the reading, which another process interrupts between the opening and the first byte

@pytest.mark.parametrize("change", [cut, overwritten])
@pytest.mark.parametrize("name", ["x.npy", "f.npy"])
def test_an_array_that_changes_while_it_is_read_is_an_error(tmp_path, monkeypatch, name, change):
    workflow, blocks = planned(tmp_path, name)

    def open_and_change(*arguments):
        opened = open(*arguments)               # noqa: SIM115
        change(tmp_path / name)
        return opened

    monkeypatch.setattr(sources, "open", open_and_change, raising=False)
    with pytest.raises(MachineError, match=r"shorter than its header says|has changed since the run was planned"):
        load(workflow, blocks[-1])


def test_an_hdf5_file_that_changes_while_it_is_read_is_an_error(tmp_path, monkeypatch):
    workflow, blocks = planned(tmp_path, "x.h5")
    real = h5py.File

    def open_and_change(*arguments, **options):
        opened = real(*arguments, **options)
        monkeypatch.setattr(sources.h5py, "File", real)
        replaced(tmp_path / "x.h5")
        return opened

    monkeypatch.setattr(sources.h5py, "File", open_and_change)
    with pytest.raises(MachineError, match="has changed since the run was planned"):
        load(workflow, blocks[-1])


# In the middle of a real run: both ranks are in a long operation, and the file is read afterwards

OPS = """
import os, time
from mpiflow import operation

@operation(seconds=lambda *inputs: 1000.0)
def wait(x):
    open(f"mark-{os.getpid()}", "w").close()
    while not os.path.exists("go"):
        time.sleep(0.01)
    import late
    return x * late.FACTOR
"""
WORKFLOW = """
mpiflow: 1
name: changing
operations: [ops.py]
datasets:
  x: {file: x.h5, path: x}
  y: {arange: {stop: 10}, rank: 0}
  z: {arange: {stop: 11}, rank: 1}
steps:
  one: wait(y)
  two: wait(z)
  all: sum(one) + sum(two) + sum(x)
results: {all: all.npy}
"""
RIGHT = ROWS.sum() + 3 * (45 + 55)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "x.h5", ROWS)
    (tmp_path / "ops.py").write_text(OPS)
    (tmp_path / "late.py").write_text("FACTOR = 3\n")
    (tmp_path / "workflow.yaml").write_text(WORKFLOW)
    return tmp_path


@contextlib.contextmanager
def in_the_middle(folder: Path):
    """Start the workflow on two ranks and wait until both are in the operation; gives a function that ends the run."""
    command = ["mpirun", "-n", "2", sys.executable, "-m", "mpiflow", "workflow.yaml"]
    with started(command, cwd=folder) as process:
        limit = time.monotonic() + 60
        while len(list(folder.glob("mark-*"))) < 2:
            assert time.monotonic() < limit and process.poll() is None
            time.sleep(0.02)

        def end() -> Ended:
            (folder / "go").touch()
            out, err = process.communicate(timeout=60)
            return Ended(process.returncode, out, err)

        yield end


@pytest.mark.parametrize(("change", "message"), [
    (cut, "has changed since the run was planned"), (replaced, "has changed since the run was planned"),
    (Path.unlink, "cannot read {}: No such file or directory")])
def test_a_file_that_changes_during_the_run_is_a_failed_step(folder, change, message):
    with in_the_middle(folder) as end:
        change(folder / "x.h5")
        ended = end()
    assert ended.status == 1 and ended.err.count("mpiflow: error:") == 1
    assert "step 'x' failed" in ended.err and message.format(folder / "x.h5") in ended.err
    assert not (folder / "all.npy").exists()


def test_a_file_that_is_locked_during_the_run_is_a_failed_step_and_nothing_else_is_lost(folder):
    with in_the_middle(folder) as end, locked(folder / "x.h5"):
        ended = end()
    assert ended.status == 1 and "it is locked: another process has it open for writing" in ended.err
    marks = sorted(folder.glob("mark-*"))
    again = mpiflow(2, "workflow.yaml", "--resume", cwd=folder)
    assert (again.status, again.err) == (0, "")
    assert np.load(folder / "all.npy") == RIGHT and sorted(folder.glob("mark-*")) == marks


def test_a_document_that_changes_during_the_run_changes_nothing(folder):
    with in_the_middle(folder) as end:
        (folder / "workflow.yaml").write_text("no workflow: [")
        ended = end()
    assert (ended.status, ended.err) == (0, "") and np.load(folder / "all.npy") == RIGHT


def test_modules_that_change_during_the_run_change_nothing_but_the_next_run(folder):
    with in_the_middle(folder) as end:
        (folder / "late.py").write_text("FACTOR = 4\n")
        (folder / "ops.py").write_text("nonsense\n")
        ended = end()
    assert (ended.status, ended.err) == (0, "") and np.load(folder / "all.npy") == RIGHT
    (folder / "ops.py").write_text(OPS)
    again = mpiflow(2, "workflow.yaml", "--resume", cwd=folder)
    assert again.status == 0 and np.load(folder / "all.npy") == ROWS.sum() + 4 * (45 + 55)

"""A workflow that only some ranks can see reaches the others, and nobody else's files are touched."""

import shutil
import sys

import numpy as np
import pytest
from launching import launch

OPS = """
import near
from mpiflow import operation

@operation
def twice(x):
    return near.FACTOR * x
"""
WORKFLOW = """
mpiflow: 1
name: seen by some
operations: [lib/ops.py]
datasets:
  a: {random: {shape: [1000], seed: 1}, blocks: 6}
  mine: {file: "FOLDER/*/part.npy"}
steps:
  t: twice(a)
  s: sum(t) + sum(mine) + sum(p.y)
  p: {for: {i: [1, 2, 3]}, run: [./own, $i], out: {y: text}}
results: {s: out/s.npy}
"""


@pytest.fixture
def folders(tmp_path):
    """Of these, only "seeing" has the workflow; each has a part of the data."""
    for name in ("seeing", "blind", "blind too"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "part.npy", np.arange(10.0))
    (tmp_path / "seeing" / "lib").mkdir()
    (tmp_path / "seeing/w.yaml").write_text(WORKFLOW.replace("FOLDER", str(tmp_path)))
    (tmp_path / "seeing/lib/ops.py").write_text(OPS)
    (tmp_path / "seeing/lib/near.py").write_text("FACTOR = 2\n")
    (tmp_path / "seeing/own").write_text("#!/bin/sh\necho $1 > y.txt\n")
    (tmp_path / "seeing/own").chmod(0o755)
    return tmp_path


def run(folders, names, *options):
    """One rank in each of the folders ``names``."""
    parts = [["-n", "1", "-wdir", str(folders / name), sys.executable, "-m", "mpiflow", "w.yaml", *options] for name in names]
    return launch(["mpirun", *[word for part in parts for word in (":", *part)][1:]], folders)


@pytest.mark.parametrize("names", [("seeing", "blind", "blind too"), ("blind", "blind too", "seeing")])
def test_a_workflow_that_one_rank_sees_runs_on_all(folders, names):
    whole = run(folders, ["seeing"])
    assert whole.status == 0, whole.err
    expected = (folders / "seeing/out/s.npy").read_bytes()
    (folders / "seeing/out/s.npy").unlink()
    ended = run(folders, names)
    assert (ended.status, ended.err) == (0, "")
    assert "on 3 ranks" in ended.out
    assert (folders / "seeing/out/s.npy").read_bytes() == expected, "results are written where the workflow is"
    assert not list(folders.glob("blind*/out"))


def test_a_workflow_that_nobody_sees_is_one_message(folders):
    ended = run(folders, ["blind", "blind too"])
    assert (ended.status, ended.err.strip()) == (2, "mpiflow: error: w.yaml: cannot read the workflow: No such file or directory")


def test_a_mistake_in_a_workflow_that_one_rank_sees_is_one_message(folders):
    (folders / "seeing/w.yaml").write_text(WORKFLOW.replace("twice(a)", "twize(a)"))
    ended = run(folders, ["blind", "seeing"])
    assert ended.status == 2
    assert ended.err.count("twize") == 1 and "did you mean 'twice'" in ended.err and "w.yaml:9" in ended.err


def test_another_workflow_of_that_name_is_refused(folders):
    shutil.copytree(folders / "seeing/lib", folders / "blind/lib")
    shutil.copy(folders / "seeing/own", folders / "blind")
    (folders / "blind/w.yaml").write_text(WORKFLOW.replace("sum(t)", "mean(t)"))
    ended = run(folders, ["seeing", "blind", "blind too"])
    assert ended.status == 2 and "ranks see different contents of w.yaml" in ended.err


def test_nothing_is_left_behind(folders, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    assert run(folders, ["seeing", "blind"]).status == 0
    assert not list(scratch.glob("mpiflow-*"))

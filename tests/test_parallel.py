"""Parallel operations as users run them: on real ranks, side by side, many times; and what becomes of those that fail."""

import json

import h5py
import numpy as np
import pytest
from launching import EXAMPLES, mpiflow

from mpiflow.storage.generate import generate
from mpiflow.workflow import model

HEAD = """mpiflow: 1
name: together
operations: [ops.py]
datasets:
  a: {random: {shape: [24, 10], seed: 1}, blocks: 4}
  b: {random: {shape: [24, 10], seed: 2}, blocks: 3}
steps:
"""
OPERATIONS = (EXAMPLES / "parallel" / "ops.py").read_text() + """

@operation(parallel=True)
def shifted(x, comm, by):
    return fft2.function(x + by, comm)


@operation(parallel=True)
def seen(x, comm):
    return np.array([[comm.rank, comm.size, len(x)]])


@operation(parallel=True)
def told(x, comm, how):
    if how == "raise" and comm.rank == 1:
        raise ValueError("no good")
    if how == "none":
        return None
    comm.Recv(np.empty(1), (comm.rank + 1) % comm.size)


@operation
def late(x):
    raise ValueError("too bad")
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "ops.py").write_text(OPERATIONS)
    return tmp_path


def write(folder, steps):
    (folder / "workflow.yaml").write_text(HEAD + steps)


def test_two_hundred_run_two_by_two_and_give_what_one_process_would(folder):
    write(folder, """
  s: {for: {i: 'range(100)'}, run: shifted, in: {x: a}, with: {by: $i}, ranks: 2}
  t: {for: {i: 'range(100)'}, run: shifted, in: {x: b}, with: {by: $i}, ranks: 2}
  energy: {run: total, in: {spectrum: s}, ranks: 3}
results: {s: all.h5, t: all.h5, energy: all.h5}
""")
    ended = mpiflow(4, "workflow.yaml", "--silence", "60", cwd=folder)
    assert ended.status == 0, ended.err
    with h5py.File(folder / "all.h5") as opened:
        got = {name: opened[name][()] for name in opened}
    for name, seed in [("s", 1), ("t", 2)]:
        x = generate(model.Random(shape=[24, 10], seed=seed), 0, 24)
        np.testing.assert_allclose(got[name], np.concatenate([np.fft.fft2(x + i) for i in range(100)]), atol=1e-9)
    np.testing.assert_allclose(got["energy"], np.sum(np.abs(got["s"]) ** 2))


def test_the_example_has_two_side_by_side_and_goes_on_from_what_was_saved(tmp_path):
    for options in ((), ("--resume",), ("--resume", "--force", "fa")):
        ended = mpiflow(4, EXAMPLES / "parallel" / "workflow.yaml", *options, cwd=tmp_path)
        assert ended.status == 0, ended.err
        with h5py.File(tmp_path / "spectra.h5") as opened:
            assert abs(opened["parseval"][()]) < 1e-6 and abs(opened["parseval_b"][()]) < 1e-6
    assert mpiflow(None, "check", EXAMPLES / "parallel" / "workflow.yaml").status == 0
    refused = mpiflow(1, EXAMPLES / "parallel" / "workflow.yaml", cwd=tmp_path)
    assert refused.status == 2 and "step 'fa' needs 2 ranks at once, and there is only 1" in refused.err


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_holders_run_it_on_what_they_hold_and_nothing_moves_before(folder, size):
    write(folder, """
  bound: {run: seen, in: {x: 'concatenate(c, square(d))'}, ranks: holders}
  twice: 2 * e
  spread: {run: seen, in: {x: twice}, ranks: holders}
  spectrum: {run: fft2, in: {field: twice}, ranks: holders}
  energy: {run: total, in: {spectrum: spectrum}, ranks: holders}
results: {bound: all.h5, spread: all.h5, spectrum: all.h5, energy: all.h5}
""")
    text = (folder / "workflow.yaml").read_text().replace("steps:", """\
  c: {random: {shape: [8], seed: 3}, blocks: 2, rank: 1}
  d: {random: {shape: [3], seed: 4}, rank: 0}
  e: {random: {shape: [24, 10], seed: 5}, blocks: 8}
steps:""")
    (folder / "workflow.yaml").write_text(text)
    ended = mpiflow(size, "workflow.yaml", "--record", "run.json", cwd=folder)
    assert ended.status == 0, ended.err
    with h5py.File(folder / "all.h5") as opened:
        got = {name: opened[name][()] for name in opened}
    assert got["spread"].tolist() == [[rank, size, 24 // size] for rank in range(size)]
    assert got["bound"].tolist() == ([[0, 1, 11]] if size == 1 else [[0, 2, 8], [1, 2, 3]])
    np.testing.assert_allclose(got["spectrum"], np.fft.fft2(2 * generate(model.Random(shape=[24, 10], seed=5), 0, 24)), atol=1e-9)
    np.testing.assert_allclose(got["energy"], np.sum(np.abs(got["spectrum"]) ** 2))
    record = json.loads((folder / "run.json").read_text())
    steps = {record["tasks"][task]["step"] for task, *_ in record["transfers"]}
    assert bool(steps) == (size > 1) and steps <= {"bound", "spread", "spectrum", "energy"}, "results only"
    assert {task["rank"] for task in record["tasks"] if task["step"] == "bound"} == ({0, 1} if size > 1 else {0})


@pytest.mark.parametrize(("steps", "message"), [
    ("s: {run: told, in: {x: a}, with: {how: raise}, ranks: 2}", "ValueError: no good"),
    ("s: {run: told, in: {x: a}, with: {how: wait}, ranks: 2, timeout: 0.5}", "took longer than 0.5 s, and does not come back"),
    ("s: {run: told, in: {x: a}, with: {how: none}, ranks: 2}", "returned None on one of its ranks"),
])
def test_a_part_that_fails_or_waits_for_ever_ends_the_run_with_a_report(folder, steps, message):
    write(folder, f"  {steps}\n")
    ended = mpiflow(3, "workflow.yaml", "--keep-going", cwd=folder)
    assert ended.status == 1 and message in ended.err, ended.err


def test_a_part_whose_partner_never_comes_gives_up_and_what_is_independent_goes_on(folder):
    """The first rank has its blocks and waits; the second one's are not made."""
    write(folder, """
  l: late(b)
  s: {run: shifted, in: {x: "concatenate(b, l)"}, with: {by: 1}, ranks: 2}
  t: {run: shifted, in: {x: a}, with: {by: 1}, ranks: 2}
results: {t: t.npy, s: s.npy}
""")
    ended = mpiflow(2, "workflow.yaml", "--keep-going", cwd=folder)
    assert ended.status == 1 and "ValueError: too bad" in ended.err, ended.err
    assert np.load(folder / "t.npy").shape == (24, 10) and not (folder / "s.npy").exists()

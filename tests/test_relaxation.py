"""Turns and choices on real ranks: as many, and the same bits, however many ranks there are."""

import json

import h5py
import numpy as np
import pytest
from launching import EXAMPLES, mpiflow

WORKFLOW = EXAMPLES / "relaxation" / "workflow.yaml"


def solved(num=12, charge=0.1):
    """The potential that no sweep changes: u - (its neighbours' mean) = charge / 4."""
    size = num * num
    matrix, numbers = np.eye(size) * 4, np.arange(size).reshape(num, num)
    for one, other in ((numbers[:-1], numbers[1:]), (numbers[:, :-1], numbers[:, 1:])):
        matrix[one.ravel(), other.ravel()] = matrix[other.ravel(), one.ravel()] = -1
    return np.linalg.solve(matrix, np.full(size, charge)).reshape(num, num)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """By number of ranks: what was said, the record and the results."""
    found = {}
    for num in (1, 2, 3, 4, 8):
        folder = tmp_path_factory.mktemp(f"ranks{num}")
        ended = mpiflow(num, WORKFLOW, "--results", folder, "--record", folder / "record.json", "--no-save", cwd=folder)
        assert ended.status == 0, ended.err
        with h5py.File(folder / "results" / "plate.h5") as file:
            found[num] = ended, json.loads((folder / "record.json").read_text()), {name: file[name][...] for name in file}
    return found


def test_it_takes_the_same_number_of_turns_on_any_number_of_ranks(ran):
    (turns,) = {record["turns"]["plate"] for _, record, _ in ran.values()}
    assert 20 < turns < 80
    assert all(f"turns: plate {turns} of at most 80" in ended.out for ended, _, _ in ran.values())


def test_the_result_is_the_solution_and_has_the_same_bits_on_any_number_of_ranks(ran):
    results = [found for _, _, found in ran.values()]
    assert np.abs(results[0]["plate.relaxed"] - solved()).max() < 1e-4
    assert all(one.keys() == results[0].keys() for one in results)
    assert all(np.array_equal(one[name], value) for one in results for name, value in results[0].items())


def test_one_of_two_steps_has_run_and_the_other_is_said_not_to_be_written(ran):
    for ended, record, results in ran.values():
        assert results.keys() == {"plate.relaxed", "highest", "steep"} and results["highest"] > 0.5
        assert "not written to" in ended.out and "because it was skipped: flat" in ended.out
        states = {task["state"] for task in record["tasks"] if task["step"] == "flat" and task["operation"] == "subtract"}
        assert states == {"skipped"}


def test_turns_after_the_last_one_are_skipped_in_few_epochs(ran):
    for _, record, _ in ran.values():
        assert {task["state"] for task in record["tasks"]} == {"done", "skipped"}
        operations = [task for task in record["tasks"] if task["operation"].endswith("swept") and task["state"] == "done"]
        assert len(operations) == 4 * record["turns"]["plate"]


def test_when_all_is_kept_nothing_is_said_of_turns(tmp_path):
    for how in ([], ["--resume"]):
        ended = mpiflow(None, WORKFLOW, *how, cwd=tmp_path)
        assert ended.status == 0, ended.err
    assert "turns:" not in ended.out and ended.out.count(", kept") == ended.out.count("result: results/plate.h5, kept") == 1


OPS = """
import os, signal, time
from mpiflow import operation

@operation
def picky(x, how):
    if how == "raise":
        raise ValueError("no good")
    if how == "sleep":
        with open("attempts", "a") as opened:
            opened.write("x")
        time.sleep(30)
    return x

@operation
def grown(x):
    return 2 * x
"""
STEPS = """mpiflow: 1
name: skips
operations: [ops.py]
datasets: {a: {arange: {stop: 4, start: 1}}}
steps:
  sweep: {for: {how: [well, raise, good]}, run: picky, in: {x: a}, with: {how: $how}, on-error: skip}
  slow: {run: picky, in: {x: a}, with: {how: sleep}, timeout: 0.3, retries: 1, on-error: skip}
  program:
    for: {how: [0, TERM]}
    run: [sh, -c, 'echo "told $how" >&2; [ $how = 0 ] || kill -$how $$$$; echo 7 > n.txt']
    out: {n: n.txt}
    on-error: skip
  after: slow + 1
  total: sum(sweep) + sum(program.n)
results: {total: r.h5, after: r.h5, sweep.*: r.h5}
"""


def test_failures_that_are_skipped_are_told_and_others_do_without(tmp_path):
    (tmp_path / "ops.py").write_text(OPS)
    (tmp_path / "workflow.yaml").write_text(STEPS)
    ended = mpiflow(2, "workflow.yaml", "--record", "run.json", cwd=tmp_path)
    assert ended.status == 0, ended.err
    with h5py.File(tmp_path / "r.h5") as file:
        assert file["total"][()] == 2 * 6 + 7 and set(file) == {"total", "sweep"}
        assert set(file["sweep"]) == {"how=well", "how=good"}
    assert "skipped: sweep[how=raise] has failed on rank" in ended.out and "no good" in ended.out
    assert "skipped: slow has failed on rank" in ended.out and "took longer than 0.3 s" in ended.out
    assert (tmp_path / "attempts").read_text() == "xx"
    tasks = json.loads((tmp_path / "run.json").read_text())["tasks"]
    (killed,) = [task for task in tasks if task["instance"] == "how=TERM" and task["kind"] == "apply" and task["error"]]
    assert killed["state"] == "skipped" and "SIGTERM" in killed["error"] and "told TERM" in killed["error"]
    ended = mpiflow(None, "export", "wfformat", "run.json", "-o", "ran.json", cwd=tmp_path)
    assert ended.status == 0, ended.err


def test_a_limit_that_is_reached_is_one_failure_that_says_so(tmp_path):
    (tmp_path / "ops.py").write_text(OPS)
    (tmp_path / "workflow.yaml").write_text("""mpiflow: 1
name: endless
operations: [ops.py]
datasets: {a: {arange: {stop: 4, start: 1}}}
steps:
  more: {run: grown, in: {x: a}, repeat: {feed: {x: more}, until: max(more) < 0, at-most: 5}}
results: {more: more.npy}
""")
    ended = mpiflow(2, "workflow.yaml", cwd=tmp_path)
    assert ended.status == 1 and "step 'more': 'until' did not hold after 5 turns" in ended.err
    assert "also failed" not in ended.err and not (tmp_path / "more.npy").exists()
    ended = mpiflow(None, "check", "workflow.yaml", cwd=tmp_path)
    assert ended.status == 0, ended.err

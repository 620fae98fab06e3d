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

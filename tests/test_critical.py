"""The critical path: along what each task waited for last."""

import pytest
from made_up import made_up

from mpiflow.report.critical import critical_path


def task(number, rank, start, seconds, needs=(), state="done"):
    return {"task": number, "rank": rank, "start": start, "seconds": seconds, "needs": list(needs), "state": state}


def path(*tasks, transfers=()):
    return [(part["task"], part["why"]) for part in critical_path({"tasks": list(tasks), "transfers": list(transfers)})]


def test_a_task_that_waited_for_its_input_comes_after_the_one_that_made_it():
    assert path(task(0, 0, 0, 3), task(1, 1, 0, 1), task(2, 1, 3, 1, [0, 1])) == [(0, "start"), (2, "data")]


def test_a_task_that_waited_for_its_rank_comes_after_the_one_before_there():
    assert path(task(0, 0, 0, 1), task(1, 1, 0, 5), task(2, 1, 5, 1, [0])) == [(1, "start"), (2, "rank")]


def test_what_counts_is_when_a_block_was_there_not_when_it_was_made():
    tasks = task(0, 0, 0, 1), task(1, 1, 0, 2), task(2, 1, 4, 1, [0])
    assert path(*tasks) == [(1, "start"), (2, "rank")]
    assert path(*tasks, transfers=[[0, 0, 1, 1.0, 3.9]]) == [(0, "start"), (2, "data")]


def test_gaps_are_the_time_between_two_tasks():
    parts = critical_path({"tasks": [task(0, 0, 0.5, 1), task(1, 1, 2, 1, [0])]})
    assert [part["gap"] for part in parts] == [0.5, 0.5]


def test_tasks_that_never_ran_are_not_on_it_and_without_any_it_is_empty():
    assert path(task(0, 0, 0, 1), task(1, -1, 0, 0, [0], "cancelled")) == [(0, "start")]
    assert path(task(0, -1, 0, 0, state="planned")) == []


def test_tasks_that_take_no_time_make_no_circle():
    assert path(task(0, 0, 1, 0), task(1, 0, 1, 0), task(2, 0, 1, 0))[-1][0] == 2


@pytest.mark.parametrize("seed", range(5))
def test_times_along_it_add_up_to_the_end_of_the_run(seed):
    record = made_up(size=6, blocks=12, temperatures=3, seeds=4, seed=seed)
    parts, tasks = critical_path(record), record["tasks"]
    assert sum(part["gap"] + tasks[part["task"]]["seconds"] for part in parts) == pytest.approx(record["seconds"] - 0.01)

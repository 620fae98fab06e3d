"""What one rank saves while a run goes on, and what it finds of earlier work."""

import dataclasses
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from mpiflow.operations.operation import operation
from mpiflow.operations.values import as_value
from mpiflow.peer.keeping import LEAST, MOST_SPARE, RATE, Keeper, find
from mpiflow.planning.reuse import Reason
from mpiflow.planning.tasks import Kind, Task, TaskGraph, recipe_id
from mpiflow.storage.results import stamp
from mpiflow.storage.saving import INLINE
from mpiflow.storage.store import read_store

SMALL, LARGE = as_value(np.zeros(2)), as_value(np.zeros(INLINE))


def registry(**codes):
    """Operations f and g with these codes."""
    made = operation(lambda x: x, name="made")
    return {name: dataclasses.replace(made, name=name, code=codes.get(name, "1")) for name in ("f", "g")}


def task(number, step="step", kind=Kind.APPLY, operation="f", **more):
    return Task(recipe_id(number), kind, step, operation, **more)


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def keeper(store):
    made = Keeper("workflow", registry(), store, "run", 0, "host")
    yield made
    made.close()


def saved(keeper, store):
    """Numbers of the tasks whose blocks are on the disk."""
    assert keeper.writer.flush(60)
    found = read_store(store).made
    return [number for number in range(20) if recipe_id(number) in found]


def test_short_tasks_are_saved_once_they_have_taken_long_enough_together(keeper, store):
    for number in range(7):
        keeper.offer(task(number), SMALL, LEAST * 0.4)
    assert saved(keeper, store) == [2, 5]


def test_a_large_block_must_have_taken_longer(keeper, store):
    keeper.offer(task(0), LARGE, LEAST + LARGE.nbytes / RATE * 0.9)
    keeper.offer(task(1), LARGE, LEAST + LARGE.nbytes / RATE)
    assert saved(keeper, store) == [1]


def test_that_a_file_of_results_was_written_is_always_saved(keeper, store):
    keeper.offer(task(0, kind=Kind.WRITE, operation=""), SMALL, 0.0)
    assert saved(keeper, store) == [0]


@pytest.mark.parametrize("kind", [Kind.LOAD, Kind.RESTORE, Kind.KEPT])
def test_what_was_not_made_here_is_not_saved_but_its_time_counts(keeper, store, kind):
    keeper.offer(task(0, kind=kind, operation=""), SMALL, 2 * LEAST)
    keeper.offer(task(1), SMALL, 0.0)
    assert saved(keeper, store) == [1]


@pytest.mark.parametrize(("total", "free", "kept"), [
    (1e9, 1.1e8 + LARGE.nbytes, True), (1e9, 0.9e8 + LARGE.nbytes, False),
    (1e16, 1.1 * MOST_SPARE, True), (1e16, 0.9 * MOST_SPARE, False)])
def test_large_blocks_leave_room_for_others_and_the_user_is_told(keeper, store, monkeypatch, total, free, kept):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(total=total, free=free))
    keeper.offer(task(0), LARGE, 1.0)
    keeper.offer(task(1), SMALL, 1.0)
    assert saved(keeper, store) == ([0, 1] if kept else [1])
    assert keeper.close() == ("" if kept else f"did not save all blocks: the disk of {store} is nearly full")


def look(store, tasks, results, workflow="workflow", **codes):
    """What is found of ``tasks``: numbers of blocks, of lost ones, and what has changed."""
    holding, places = find(TaskGraph(tasks), workflow, registry(**codes), store, results, 0)
    assert sorted(places) == [number for number, _ in holding.blocks]
    return sorted(places), list(holding.lost), dict(holding.changed)


def keep(store, tasks, value=SMALL, run="run", **codes):
    keeper = Keeper("workflow", registry(**codes), store, run, 0, "host")
    for one in tasks:
        keeper.offer(one, value, 1.0)
    assert keeper.close() == ""


def test_what_was_saved_is_found_under_the_number_that_its_task_has_now(store, tmp_path):
    keep(store, [task(7), task(8)])
    assert look(store, [task(5), task(8), task(7)], tmp_path) == ([1, 2], [], {})


def test_a_large_block_without_its_file_is_lost(store, tmp_path):
    keep(store, [task(0), task(1)], LARGE)
    (store / "blocks" / recipe_id(0)[:2] / recipe_id(0)).unlink()
    assert look(store, [task(0), task(1)], tmp_path)[:2] == ([1], [0])


def test_a_file_of_results_counts_as_long_as_it_is_as_it_was_written_the_last_time(store, tmp_path):
    file, write = tmp_path / "a.npy", task(0, "a.npy", Kind.WRITE, "", parameters=(("file", "a.npy"),))
    for run, text in (("1", "first"), ("2", "second one")):
        file.write_text(text)
        keep(store, [write], as_value(stamp(file)), run)
    assert look(store, [write], tmp_path)[:2] == ([0], [])
    file.write_text("by hand")
    assert look(store, [write], tmp_path)[:2] == ([], [0])
    file.unlink()
    assert look(store, [write], tmp_path)[:2] == ([], [0])


@pytest.mark.parametrize(("before", "now", "reason"), [
    ([{"f": "1"}], {"f": "2"}, Reason.CODE_CHANGED),
    ([{"f": "1"}], {"f": "1"}, Reason.INPUT_CHANGED),
    ([{"f": "1"}, {"f": "2"}], {"f": "2"}, Reason.INPUT_CHANGED),
    ([{"f": "1", "g": "7"}], {"f": "2", "g": "7"}, Reason.CODE_CHANGED),
    ([{"f": "1"}], {"f": "1", "g": "7"}, Reason.INPUT_CHANGED)], ids=["code", "input", "second code", "one of two", "not saved"])
def test_a_step_that_was_made_in_another_way_says_which(store, tmp_path, before, now, reason):
    number = 10
    for run, codes in enumerate(before):
        keep(store, [task(number + i, operation=name) for i, name in enumerate(codes)], run=str(run), **codes)
        number += len(codes)
    tasks = [task(i, operation=name) for i, name in enumerate(now)]
    assert look(store, tasks, tmp_path, **now) == ([], [], {"step": reason})
    assert look(store, tasks, tmp_path, "another", **now) == ([], [], {}), "the steps of other workflows are others"


def test_a_store_that_cannot_be_read_is_a_damage_and_holds_nothing(store, tmp_path):
    store.mkdir()
    (store / "journals").write_text("a file where a folder must be")
    holding, places = find(TaskGraph([task(0)]), "workflow", registry(), store, tmp_path, 3)
    assert (holding.rank, holding.blocks, places) == (3, (), {})
    assert holding.damages == (f"cannot read the store {store}: Not a directory",)

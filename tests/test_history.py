"""What earlier runs have shown: kept by operation and size, used where nothing is declared."""

import dataclasses

import pytest

from mpiflow.catalog.entries import Seen, TaskEntry
from mpiflow.catalog.states import State
from mpiflow.operations.operation import operation
from mpiflow.operations.registry import builtin_operations
from mpiflow.planning.history import SIZES, concerning, expectations, learned, merge
from mpiflow.planning.tasks import Input, Kind, Task, TaskGraph, recipe_id
from mpiflow.storage.history import FILE, read_history, write_history

LINKS = ((1e-4, 1.5e-4), (2e9, 1e9))


def registry(**declared):
    def f(x):
        return x

    found = builtin_operations()
    found["f"] = dataclasses.replace(operation(f, **declared), code="code of f")
    return found


def graph(size=1000):
    return TaskGraph([
        Task(recipe_id(0), Kind.LOAD, "d", nbytes=size, seconds=1e-3),
        Task(recipe_id(1), Kind.APPLY, "s", "f", (Input("x", (0,)),), nbytes=size, seconds=1e-3)])


def seen(size=1000, seconds=2.0, nbytes=500, code="code of f"):
    return Seen("apply", "f", code, size, seconds, nbytes)


def test_what_nobody_declares_is_expected_as_it_was_seen():
    assert expectations(graph(), registry(), [seen()]) == ([1e-3, 2.0], [1000, 500])


def test_what_is_declared_goes_before_what_was_seen():
    assert expectations(graph(), registry(seconds=5, nbytes=7), [seen()]) == ([1e-3, 1e-3], [1000, 1000])


def test_a_near_size_is_scaled():
    assert expectations(graph(2000), registry(), [seen()]) == ([1e-3, 4.0], [2000, 1000])


def test_a_far_size_tells_nothing():
    assert expectations(graph(100_000), registry(), [seen()]) == ([1e-3, 1e-3], [100_000, 100_000])


def test_the_nearest_size_counts():
    seconds, _ = expectations(graph(), registry(), [seen(400, 1.0), seen(900, 1.8), seen(3000, 9.0)])
    assert seconds[1] == pytest.approx(2.0)


def test_without_a_history_tasks_speak_for_themselves():
    assert expectations(graph(), registry(), []) is None


def test_other_code_of_the_same_name_is_another_operation():
    assert concerning([seen(code="old"), seen()], registry()) == (seen(),)


def done(*seconds):
    return [TaskEntry(number, state=State.DONE, rank=0, seconds=each, nbytes=1000) for number, each in enumerate(seconds)]


def test_a_run_is_learned_by_the_real_size_of_its_inputs():
    assert learned([], graph(5), registry(), done(0.0, 3.0)) == (seen(1000, 3.0, 1000),)


def test_old_and_new_run_times_of_a_size_count_alike():
    assert learned([seen(1000, 1.0)], graph(), registry(), done(0.0, 3.0)) == (seen(1000, 2.0, 1000),)


def test_nothing_is_learned_of_a_task_that_failed():
    entries = [*done(0.0), TaskEntry(1, state=State.FAILED, rank=0, seconds=9.0)]
    assert learned([], graph(), registry(), entries) == ()


def test_a_history_does_not_grow_for_ever():
    history = [seen(size) for size in range(1, 10 * SIZES)]
    assert len(learned(history, graph(), registry(), done(0.0, 3.0))) == SIZES


def test_the_histories_of_ranks_are_joined_alike_on_all():
    one, other = [seen(1, 1.0), seen(2, 2.0)], [seen(2, 9.0), seen(3, 3.0)]
    assert merge([one, other]) == (seen(1, 1.0), seen(2, 2.0), seen(3, 3.0))


def test_a_history_survives_its_file(tmp_path):
    write_history(tmp_path / "store", (seen(),), LINKS)
    assert read_history(tmp_path / "store") == ((seen(),), LINKS)


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"mpiflow_history": 1, "operations": [[1]]}', "\xff\xfe"])
def test_a_file_that_is_none_counts_as_no_history(tmp_path, text):
    if text is not None:
        (tmp_path / FILE).write_text(text, "latin-1")
    assert read_history(tmp_path) == ((), None)


def test_a_history_that_cannot_be_written_leaves_the_old_one(tmp_path):
    (tmp_path / FILE).mkdir()
    with pytest.raises(OSError):
        write_history(tmp_path, (seen(),), LINKS)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]

"""Drift from the plan: when it is noticed, and what a new plan is told."""

import random

import numpy as np
import pytest

from mpiflow.catalog.entries import RECORD, TaskEntry
from mpiflow.catalog.states import State
from mpiflow.planning.learning import EVIDENCE, LEAST_GAIN, Learning
from mpiflow.planning.machine import Machine
from mpiflow.planning.plan import make_plan
from mpiflow.planning.simulation import simulate
from mpiflow.planning.tasks import Kind, Task, TaskGraph, recipe_id

MACHINE = Machine((0, 0))


def plan_of(num, seconds=0.1, operations=("f",)):
    """Independent tasks, dealt to two ranks in turn by pinning them."""
    return make_plan(TaskGraph([
        Task(recipe_id(n), Kind.APPLY, "s", operations[n % len(operations)], seconds=seconds, nbytes=8, ranks=(n % 2,))
        for n in range(num)]), MACHINE)


def done(task, seconds, rank=None):
    return TaskEntry(task, state=State.DONE, rank=task % 2 if rank is None else rank, seconds=seconds, nbytes=8)


def test_a_run_as_planned_is_left_alone():
    learning = Learning(plan_of(40), MACHINE)
    learning.learn([done(task, 0.1) for task in range(20)])
    assert not learning.due({})


def test_ranks_that_are_late_alike_are_left_alone():
    learning = Learning(plan_of(40), MACHINE)
    learning.learn([done(task, 0.5) for task in range(20)])
    assert not learning.due({})


def test_a_rank_that_is_late_alone_is_noticed():
    learning = Learning(plan_of(40), MACHINE)
    learning.learn([done(task, 0.5 if task % 2 else 0.1) for task in range(20)])
    assert learning.due({})


def test_a_little_is_not_worth_a_plan():
    learning = Learning(plan_of(40), MACHINE)
    learning.learn([done(1, 0.1 + LEAST_GAIN)])
    assert not learning.due({})


def test_a_task_that_runs_far_over_its_time_is_noticed():
    learning = Learning(plan_of(40), MACHINE)
    assert learning.due({1: 5.0}) and not learning.due({1: 0.05})


def test_what_is_known_of_a_kind_is_expected_of_the_rest():
    plan = plan_of(40, operations=("f", "g"))
    learning = Learning(plan, MACHINE)
    learning.learn([done(task, 0.5 if task % 2 else 0.1) for task in range(2 * EVIDENCE)])
    progress = learning.progress([task % 2 if task < 6 else -1 for task in range(40)], {}, {})
    assert progress.seconds[10] == pytest.approx(0.1) and progress.seconds[11] == pytest.approx(0.5)


def test_too_few_tasks_are_no_evidence():
    learning = Learning(plan_of(40), MACHINE)
    learning.learn([done(task, 9.0) for task in range(EVIDENCE - 1)])
    assert learning.progress([-1] * 40, {}, {}).seconds[20] == pytest.approx(0.1)


def test_after_a_new_plan_drift_is_counted_from_it():
    learning = Learning(plan_of(40), MACHINE)
    learning.learn([done(task, 0.5 if task % 2 else 0.1) for task in range(20)])
    claimed = [task % 2 if task < 20 else -1 for task in range(40)]
    progress = learning.progress(claimed, {}, {})
    free = TaskGraph([Task(recipe_id(n), Kind.APPLY, "s", "f", seconds=0.1, nbytes=8) for n in range(40)])
    learning.follow(make_plan(free, MACHINE, progress), claimed)
    assert not learning.due({})


def test_many_tasks_at_once_teach_what_they_teach_one_by_one():
    plan, chance = plan_of(60, operations=("f", "g", "h")), random.Random(7)
    entries = [done(task, chance.uniform(0.05, 0.6)) for task in chance.sample(range(60), 50)]
    claimed = [task % 2 if task in {entry.task for entry in entries} else -1 for task in range(60)]
    progress = []
    for at_once in (False, True):
        learning = Learning(plan, MACHINE)
        for part in (entries[:30], entries[30:]):
            records = np.array([(entry.task, 0, 0.0, entry.seconds, entry.nbytes) for entry in part], RECORD)
            learning.learn(*([[], records] if at_once else [part]))
            progress.append((learning.due({59: 0.1}), learning.progress(claimed, {59: 0.1}, {})))
            learning.follow(plan, claimed)              # what runs there already may still end
    for one_by_one, (due, all_at_once) in zip(progress[:2], progress[2:], strict=True):
        assert (one_by_one[0], one_by_one[1].nbytes) == (due, all_at_once.nbytes)
        assert all_at_once.seconds == pytest.approx(one_by_one[1].seconds)


def test_a_task_over_its_time_is_expected_to_take_as_long_again():
    learning = Learning(plan_of(40), MACHINE)
    assert learning.progress([0] + [-1] * 39, {0: 3.0}, {}).ends[0] == pytest.approx(3.0)
    assert learning.progress([0] + [-1] * 39, {0: 0.04}, {}).ends[0] == pytest.approx(0.06)


def test_with_what_was_learned_the_rest_is_nearly_as_fast_as_if_all_had_been_known():
    """A third of the tasks, one operation, takes five times longer; a sixth of all is done when ranks plan again."""
    num = 60
    real = [0.5 if n % 3 == 0 else 0.1 for n in range(num)]

    def graph(seconds):
        return TaskGraph([Task(recipe_id(n), Kind.APPLY, "s", "g" if n % 3 == 0 else "f", seconds=seconds[n], nbytes=8)
                          for n in range(num)])

    knowing = simulate(make_plan(graph(real), MACHINE), MACHINE).seconds
    first = make_plan(graph([0.1] * num), MACHINE)
    claimed = [-1] * num
    for task in [task for rank in range(2) for task in [t for t in first.order if first.ranks[t] == rank][:5]]:
        claimed[task] = first.ranks[task]
    learning = Learning(first, MACHINE)
    learning.learn([TaskEntry(t, state=State.DONE, rank=rank, seconds=real[t], nbytes=8)
                    for t, rank in enumerate(claimed) if rank >= 0])
    second = make_plan(graph(real), MACHINE, learning.progress(claimed, {}, {}))
    loads = [sum(real[t] for t in range(num) if second.ranks[t] == rank) for rank in range(2)]
    assert max(loads) <= 1.25 * knowing

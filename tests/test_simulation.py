"""Simulation: what a plan would do, by hand on small cases, by law on all."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiflow.planning.bounds import lower_bounds
from mpiflow.planning.machine import Machine
from mpiflow.planning.plan import make_plan
from mpiflow.planning.routes import make_routes
from mpiflow.planning.simulation import simulate
from mpiflow.planning.tasks import Input, Kind, Task, TaskGraph, recipe_id
from mpiflow.planning.timeline import memory_peaks, run
from mpiflow.planning.workload import workload

law = settings(derandomize=True, deadline=None)
SLOW = {"latency": (1.0, 10.0), "bandwidth": (100.0, 10.0)}


def task(number, *needs, nbytes=100, seconds=1.0, ranks=None):
    inputs = tuple(Input("", (needed,)) for needed in needs)
    return Task(recipe_id(number), Kind.APPLY, f"s{number}", "f", inputs, nbytes=nbytes, seconds=seconds, ranks=ranks)


def timed(tasks, ranks, nodes, order=None):
    work = workload(TaskGraph(tasks), Machine(nodes, **SLOW))
    return work, run(work, ranks, order or range(len(tasks)), make_routes(work, ranks))


@st.composite
def plans(draw):
    size = draw(st.integers(1, 6))
    tasks = [task(number, *(draw(st.lists(st.integers(0, number - 1), max_size=3, unique=True)) if number else []),
                  nbytes=draw(st.sampled_from([0, 100, 1000])), seconds=draw(st.sampled_from([0.001, 0.5, 3.0])),
                  ranks=draw(st.sampled_from([None, None, (0,), (size - 1,)]))) for number in range(draw(st.integers(1, 12)))]
    machine = Machine(tuple(rank // 2 for rank in range(size)), **SLOW)
    return make_plan(TaskGraph(tasks), machine), machine


# Laws

@law
@given(plans())
def test_the_plan_predicts_what_its_simulation_takes(case):
    plan, machine = case
    found = simulate(plan, machine)
    assert plan.seconds == pytest.approx(found.seconds) and plan.starts == pytest.approx(found.starts)


@law
@given(plans())
def test_no_simulation_is_faster_than_the_lower_bound(case):
    plan, machine = case
    assert simulate(plan, machine).seconds >= lower_bounds(workload(plan.graph, machine)).seconds * (1 - 1e-12)


@law
@given(plans())
def test_every_task_is_run_once_by_its_rank(case):
    plan, machine = case
    found = simulate(plan, machine)
    assert sum(found.busy) == pytest.approx(sum(plan.estimates.seconds))
    assert [event.task for event in sorted(found.events(), key=lambda e: e.task) if event.what == "start"] == sorted(plan.order)


@law
@given(plans())
def test_what_moves_is_what_the_plan_says(case):
    plan, machine = case
    moved = {}
    for item in simulate(plan, machine).transfers:
        blocks, nbytes = moved.get((item.source, item.destination), (0, 0))
        moved[item.source, item.destination] = blocks + 1, nbytes + plan.estimates.nbytes[item.block]
    assert moved == plan.links


@law
@given(plans())
def test_events_come_in_order_of_time(case):
    plan, machine = case
    times = [event.seconds for event in simulate(plan, machine).events()]
    assert times == sorted(times)


# Times

def test_a_block_arrives_after_latency_and_transfer():
    assert timed([task(0), task(1, 0)], [0, 1], (0, 0))[1].starts == [0.0, 1.0 + 100 / 100 + 1.0]
    assert timed([task(0), task(1, 0)], [0, 1], (0, 1))[1].starts == [0.0, 1.0 + 100 / 10 + 10.0]


def test_a_rank_sends_one_block_at_a_time():
    starts = timed([task(0), task(1, 0), task(2, 0)], [0, 1, 2], (0, 0, 0))[1].starts
    assert starts[1:] == [3.0, 4.0]


def test_a_rank_receives_one_block_at_a_time():
    starts = timed([task(0), task(1), task(2, 0), task(3, 1)], [0, 1, 2, 2], (0, 0, 0))[1].starts
    assert starts[2:] == [3.0, 4.0]


def test_a_rank_runs_the_ready_task_of_lowest_position():
    tasks = [task(0), task(1), task(2)]
    assert timed(tasks, [0, 0, 0], (0,), order=[2, 0, 1])[1].starts == [1.0, 2.0, 0.0]


def test_a_rank_does_not_wait_for_a_task_that_is_not_ready():
    tasks = [task(0, seconds=5.0), task(1, 0), task(2)]
    assert timed(tasks, [0, 1, 1], (0, 0), order=[0, 1, 2])[1].starts[2] == 0.0


def test_moving_keeps_nobody_from_running():
    tasks = [task(0), task(1, 0), task(2, 0)]
    assert timed(tasks, [0, 0, 1], (0, 0))[1].starts[1] == 1.0


# Memory

def test_a_block_takes_memory_until_its_last_use():
    work, timeline = timed([task(0), task(1, 0, nbytes=10), task(2, 1, nbytes=0)], [0, 0, 0], (0,))
    assert memory_peaks(work, [0, 0, 0], timeline) == (110,)


def test_a_block_takes_memory_on_each_rank_that_has_it():
    work, timeline = timed([task(0), task(1, 0, nbytes=7), task(2, 0, nbytes=0)], [0, 1, 0], (0, 0))
    assert memory_peaks(work, [0, 1, 0], timeline) == (100, 107)


def test_blocks_one_after_the_other_take_the_memory_of_one():
    tasks = [item for n in range(5) for item in (task(2 * n), task(2 * n + 1, 2 * n, nbytes=0))]
    work, timeline = timed(tasks, [0] * 10, (0,))
    assert memory_peaks(work, [0] * 10, timeline) == (100,)


# Bounds

def bounds_of(tasks, size):
    return lower_bounds(workload(TaskGraph(tasks), Machine((0,) * size)))


def test_the_critical_path_is_the_longest_chain():
    bounds = bounds_of([task(0, seconds=1), task(1, seconds=5), task(2, 0, 1, seconds=2), task(3, 0, seconds=1)], 8)
    assert (bounds.path, bounds.critical, bounds.seconds) == ((1, 2), 7, 7)


def test_the_work_is_shared_by_all_ranks():
    assert bounds_of([task(n, seconds=2.0) for n in range(8)], 4).seconds == 4.0


def test_work_that_few_ranks_may_do_is_shared_by_them():
    tasks = [task(n, ranks=(0, 1)) for n in range(4)] + [task(4 + n, ranks=(1,)) for n in range(2)] + [task(6)]
    bounds = bounds_of(tasks, 8)
    assert (bounds.seconds, bounds.group) == (3.0, (0, 1))


def test_a_long_task_in_the_middle_waits_for_all_before_it_and_holds_up_all_after():
    tasks = [task(n) for n in range(4)] + [task(4, 0, 1, 2, 3, seconds=5.0)] + [task(5 + n, 4) for n in range(4)]
    assert bounds_of(tasks, 2).seconds == 2 + 5 + 2


def test_nothing_to_do_takes_no_time():
    assert bounds_of([], 2).seconds == 0.0

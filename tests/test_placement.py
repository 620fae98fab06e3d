"""Placement: data and load decide, chance does not."""

import itertools
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiflow.errors import PlanningError
from mpiflow.planning.machine import Machine, machine_of
from mpiflow.planning.placement import place
from mpiflow.planning.tasks import Input, Kind, Task, TaskGraph, recipe_id
from mpiflow.planning.workload import workload

law = settings(derandomize=True, deadline=None)
MB = 1_000_000


def task(number, *needs, kind=Kind.APPLY, nbytes=0, seconds=1e-3, ranks=None):
    inputs = tuple(Input("", (needed,)) for needed in needs)
    return Task(recipe_id(number), kind, f"s{number}", "f", inputs, nbytes=nbytes, seconds=seconds, ranks=ranks)


def load(number, rank, nbytes):
    return task(number, kind=Kind.LOAD, nbytes=nbytes, seconds=nbytes / 1e9, ranks=(rank,))


def placed(tasks, size):
    graph = TaskGraph(tasks)
    return place(workload(graph, Machine((0,) * size)))


pins = st.sampled_from([None, None, (0,), (1,), (0, 1)])


@st.composite
def graphs(draw):
    tasks = []
    for number in range(draw(st.integers(1, 15))):
        needs = draw(st.lists(st.integers(0, number - 1), max_size=4, unique=True)) if number else []
        combines = len(needs) == 2 and draw(st.booleans())
        tasks.append(task(
            number, *needs, kind=Kind.COMBINE if combines else Kind.APPLY, nbytes=draw(st.sampled_from([0, 8, 1000, 10 * MB])),
            seconds=draw(st.sampled_from([0.0, 1e-5, 1e-3, 1.0])), ranks=None if combines else draw(pins)))
    return tasks


def test_many_short_tasks_on_one_small_block_use_all_ranks_although_more_tries_are_not_worth_it():
    tasks = [load(0, 0, 32), *(task(number, 0, nbytes=8, seconds=1e-5) for number in range(1, 10_001))]
    found = placed(tasks, 2)
    assert min(Counter(found.ranks).values()) > 4000 and found.nbytes == 32


def test_a_long_grid_of_short_tasks_uses_all_ranks_although_few_tries_are_made():
    rows = 4_000
    tasks = [task(2 * row + column, *([2 * row - 2, 2 * row - 1] if row else []), nbytes=16)
             for row in range(rows) for column in range(2)]
    assert placed(tasks, 2).seconds < 1.2 * rows * 1e-3


# Laws

@law
@given(graphs(), st.integers(2, 6))
def test_every_task_has_a_rank_that_it_may_run_on(tasks, size):
    for item, rank in zip(tasks, placed(tasks, size).ranks, strict=True):
        assert rank in (item.ranks or range(size))


@law
@given(graphs(), st.integers(2, 6))
def test_no_task_starts_before_those_that_it_needs_have_ended(tasks, size):
    placement = placed(tasks, size)
    for number, item in enumerate(tasks):
        for needed in item.needs:
            assert placement.starts[number] >= placement.starts[needed] + tasks[needed].seconds


@law
@given(graphs(), st.integers(2, 6))
def test_a_rank_runs_one_task_at_a_time(tasks, size):
    placement = placed(tasks, size)
    spans: dict = {}
    for item, rank, start in zip(tasks, placement.ranks, placement.starts, strict=True):
        spans.setdefault(rank, []).append((start, start + item.seconds))
    assert all(end <= start for own in spans.values() for (_, end), (start, _) in itertools.pairwise(sorted(own)))


@law
@given(graphs(), st.integers(2, 6))
def test_the_predicted_bytes_are_those_of_each_block_once_for_each_rank_that_needs_it(tasks, size):
    placement = placed(tasks, size)
    moves = {(needed, placement.ranks[n]) for n, item in enumerate(tasks) for needed in item.needs
             if placement.ranks[needed] != placement.ranks[n]}
    assert placement.nbytes == sum(tasks[needed].nbytes for needed, _ in moves)


@law
@given(graphs(), st.integers(2, 6))
def test_the_same_arguments_give_the_same_placement(tasks, size):
    assert placed(tasks, size) == placed(list(tasks), size)


@law
@given(graphs())
def test_one_rank_runs_everything_and_moves_nothing(tasks):
    placement = placed([Task(item.id, item.kind, item.step, item.operation, item.inputs, nbytes=item.nbytes, seconds=item.seconds)
                        for item in tasks], 1)
    assert set(placement.ranks) == {0} and placement.nbytes == 0


# Data

def test_operations_run_where_their_blocks_lie():
    tasks = [load(n, n, 100 * MB) for n in range(8)] + [task(8 + n, n, nbytes=8, seconds=0.1) for n in range(8)]
    assert placed(tasks, 8).ranks[8:] == tuple(range(8))


def test_an_operation_on_two_datasets_runs_where_the_larger_one_lies():
    tasks = [load(0, 1, 10 * MB), load(1, 2, 200 * MB), task(2, 0, 1)]
    assert placed(tasks, 4).ranks[2] == 2


def test_a_chain_stays_on_one_rank():
    tasks = [load(0, 3, 10 * MB)] + [task(n, n - 1, nbytes=10 * MB, seconds=0.01) for n in range(1, 20)]
    assert set(placed(tasks, 8).ranks) == {3}


def test_chains_of_free_origin_stay_on_a_rank_each():
    tasks = [task(n, *([n - 4] if n >= 4 else []), nbytes=10 * MB, seconds=0.01) for n in range(40)]
    ranks = placed(tasks, 4).ranks
    assert all(len({ranks[n] for n in range(chain, 40, 4)}) == 1 for chain in range(4)) and set(ranks) == {0, 1, 2, 3}


@pytest.mark.parametrize("larger", [0, 1])
def test_the_smaller_partial_result_travels_to_the_larger(larger):
    sizes = [10 * MB, MB] if larger == 0 else [MB, 10 * MB]
    tasks = [load(0, 1, sizes[0]), load(1, 2, sizes[1]), task(2, 0, 1, kind=Kind.COMBINE)]
    assert placed(tasks, 4).ranks[2] == (1, 2)[larger]


def test_the_larger_partial_result_stays_even_if_its_rank_is_a_little_busy():
    busy, tail = task(2, 0, seconds=0.05, ranks=(1,)), task(4, 3, seconds=10.0)
    tasks = [load(0, 1, 10 * MB), load(1, 2, MB), busy, task(3, 0, 1, kind=Kind.COMBINE), tail]
    assert placed(tasks, 4).ranks[3] == 1


def test_the_larger_partial_result_travels_when_its_rank_is_busy_for_long():
    busy = task(2, 0, seconds=10.0, ranks=(1,))
    tasks = [load(0, 1, 10 * MB), load(1, 2, MB), busy, task(3, 0, 1, kind=Kind.COMBINE, seconds=3.0)]
    assert placed(tasks, 4).ranks[3] != 1


def test_partial_results_of_one_size_are_combined_on_one_of_their_ranks():
    tasks = [load(0, 3, 800), load(1, 2, 800), task(2, 0, 1, kind=Kind.COMBINE)]
    assert placed(tasks, 4).ranks[2] in (2, 3)


def test_a_small_dataset_that_all_need_is_brought_to_the_large_ones():
    tasks = [load(n, n, 100 * MB) for n in range(4)] + [load(4, 0, 8000)] + [task(5 + n, n, 4, seconds=0.1) for n in range(4)]
    assert placed(tasks, 4).ranks[5:] == (0, 1, 2, 3)


def test_data_goes_to_an_idle_rank_when_waiting_costs_more_than_moving():
    tasks = [load(0, 0, MB)] + [task(n, 0, seconds=1.0) for n in range(1, 5)]
    assert sorted(placed(tasks, 4).ranks[1:]) == [0, 1, 2, 3]


def test_data_stays_when_moving_costs_more_than_waiting():
    tasks = [load(0, 0, 1000 * MB)] + [task(n, 0, seconds=0.01) for n in range(1, 5)]
    assert set(placed(tasks, 4).ranks) == {0}


# Load

def test_independent_equal_tasks_are_spread_evenly():
    counts = Counter(placed([task(n) for n in range(100)], 4).ranks)
    assert set(counts.values()) == {25}


def test_independent_equal_tasks_are_spread_evenly_over_the_ranks_they_may_run_on():
    counts = Counter(placed([task(n, ranks=(1, 3, 4)) for n in range(100)], 6).ranks)
    assert set(counts) == {1, 3, 4} and max(counts.values()) - min(counts.values()) <= 1


def test_long_tasks_are_placed_first():
    tasks = [task(n, seconds=1.0) for n in range(4)] + [task(4, seconds=4.0)]
    assert placed(tasks, 2).seconds == 4.0


def test_tasks_without_inputs_are_placed_alike_with_and_without_a_pin_somewhere():
    tasks = [task(n, seconds=0.1 * (n % 7 + 1)) for n in range(50)]
    pinned = placed([*tasks, task(50, ranks=(0,), seconds=0.0)], 4)
    assert placed(tasks, 4).seconds == pytest.approx(pinned.seconds, rel=0.05)


def test_a_block_that_all_need_reaches_them_along_a_tree():
    tasks = [load(0, 0, 1000 * MB)] + [task(1 + n, 0, seconds=100.0, ranks=(n,)) for n in range(16)]
    placement = placed(tasks, 16)
    transfer = Machine((0,) * 16).seconds(1000 * MB, 0, 1)
    assert max(placement.starts) == pytest.approx(tasks[0].seconds + 4 * transfer, rel=0.01)


def test_no_tasks_have_a_placement():
    assert placed([], 4).ranks == ()


def test_ten_thousand_tasks_on_64_ranks_are_placed_in_seconds():
    tasks = [load(n, n % 64, MB) for n in range(5000)] + [task(5000 + n, n, nbytes=8000) for n in range(2500)]
    tasks += [task(7500 + n, 5000 + n, 5000 + (n + 1) % 2500, kind=Kind.COMBINE, nbytes=8000) for n in range(2500)]
    start = time.process_time()
    placed(tasks, 64)
    assert time.process_time() - start < 5


# The machine

def test_ranks_with_one_host_are_on_one_node():
    assert machine_of(["a", "b", "a", "c"]).nodes == (0, 1, 0, 2)


def test_moving_costs_nothing_on_a_rank_and_more_between_nodes_than_within():
    machine = Machine((0, 0, 1))
    assert machine.seconds(MB, 1, 1) == 0 < machine.seconds(MB, 0, 1) < machine.seconds(MB, 0, 2)


@pytest.mark.parametrize(("nodes", "seconds"), [
    ((0,), 0), ((0, 0, 0, 0), 3 / 4 * (1 + 1e6 / 10)), ((0, 1), 1 / 2 * (2 + 1e6 / 5))])
def test_the_mean_cost_is_that_of_the_slowest_link_unless_a_rank_moves_to_itself(nodes, seconds):
    assert Machine(nodes, latency=(1, 2), bandwidth=(10, 5)).mean_seconds(MB) == pytest.approx(seconds)


# Memory

def limited(tasks, size, memory):
    return place(workload(TaskGraph(tasks), Machine((0,) * size, memory=(memory,) * size)))


def test_a_rank_without_room_is_no_candidate():
    tasks = [load(0, 0, 60 * MB), load(1, 0, 30 * MB), task(2, 1, nbytes=30 * MB), task(3, 0, 2)]
    assert limited(tasks, 2, 100 * MB).ranks[2] == 1


def test_blocks_go_when_all_that_need_them_are_placed():
    tasks = [item for n in range(20) for item in (load(2 * n, 0, 60 * MB), task(2 * n + 1, 2 * n))]
    placement = limited(tasks, 1, 100 * MB)
    assert placement.fits and set(placement.ranks) == {0}


def test_what_needs_more_than_any_rank_has_is_an_error_that_names_the_step():
    with pytest.raises(PlanningError, match=r"step 's2': a task needs 120000000 bytes .* 100000000 bytes"):
        limited([load(0, 0, 60 * MB), load(1, 1, 60 * MB), task(2, 0, 1)], 2, 100 * MB)


def test_what_fits_without_others_is_placed_for_these_can_make_room():
    tasks = [load(0, 0, 60 * MB), load(1, 0, 60 * MB), task(2, 0), task(3, 1)]
    placement = limited(tasks, 1, 100 * MB)
    assert set(placement.ranks) == {0}


def test_ample_memory_changes_nothing():
    tasks = [load(n, n % 3, MB) for n in range(9)] + [task(9 + n, n, (n + 1) % 9, seconds=0.1) for n in range(9)]
    assert limited(tasks, 3, 1000 * MB).ranks == placed(tasks, 3).ranks

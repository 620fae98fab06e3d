"""New plans in the middle of a run: what is claimed stays, the rest is placed, blocks come from where they are."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiflow.planning.machine import Machine
from mpiflow.planning.plan import make_plan
from mpiflow.planning.progress import UNCLAIMED, Progress
from mpiflow.planning.simulation import simulate
from mpiflow.planning.tasks import Input, Kind, Task, TaskGraph, recipe_id

law = settings(derandomize=True, deadline=None)
MB = 1_000_000


def task(number, *needs, nbytes=MB, seconds=1.0, ranks=None):
    inputs = tuple(Input("", (needed,)) for needed in needs)
    return Task(recipe_id(number), Kind.APPLY, f"s{number}", "f", inputs, nbytes=nbytes, seconds=seconds, ranks=ranks)


def progress_of(tasks, claimed, ends=None, copies=None):
    return Progress(tuple(claimed), tuple(ends or [0.0] * len(tasks)), copies or {},
                    tuple(item.seconds for item in tasks), tuple(item.nbytes for item in tasks))


@st.composite
def cases(draw):
    """A graph, a machine, and a progress such as a run may reach."""
    size = draw(st.integers(1, 6))
    tasks, claimed, ends, copies, states = [], [], [], {}, []
    for number in range(draw(st.integers(1, 14))):
        needs = draw(st.lists(st.integers(0, number - 1), max_size=3, unique=True)) if number else []
        tasks.append(task(number, *needs, nbytes=draw(st.sampled_from([0, 1000, 10 * MB])),
                          seconds=draw(st.sampled_from([0.0, 1e-4, 0.5])),
                          ranks=draw(st.sampled_from([None, None, (0,), (0, size - 1)]))))
        before = [states[needed] for needed in needs]
        if "lost" in before:
            state = "lost"
        elif set(before) <= {"done"}:
            state = draw(st.sampled_from(["open", "running", "done", "done", "lost"]))
        else:
            state = "open"
        states.append(state)
        claimed.append(UNCLAIMED if state == "open" else draw(st.integers(0, size - 1)))
        ends.append(draw(st.sampled_from([0.1, 1.0])) if state == "running" else 0.0)
        if state == "done":
            copies[number] = tuple(draw(st.lists(st.integers(0, size - 1), min_size=1, unique=True)))
    nodes = tuple(rank // draw(st.sampled_from([1, 2, 6])) for rank in range(size))
    return TaskGraph(tasks), Machine(nodes), progress_of(tasks, claimed, ends, copies)


@law
@given(cases())
def test_every_progress_gives_a_complete_plan(case):
    graph, machine, progress = case
    plan = make_plan(graph, machine, progress)
    assert sorted(plan.order) == list(range(len(graph.tasks)))
    assert all(rank in (task.ranks or range(machine.size)) for task, rank, claimed in
               zip(graph.tasks, plan.ranks, progress.ranks, strict=True) if claimed == UNCLAIMED)


@law
@given(cases())
def test_claimed_tasks_keep_their_rank(case):
    graph, machine, progress = case
    plan = make_plan(graph, machine, progress)
    assert all(claimed in (UNCLAIMED, rank) for claimed, rank in zip(progress.ranks, plan.ranks, strict=True))


@law
@given(cases())
def test_blocks_move_from_where_they_are_to_open_tasks_elsewhere_and_nowhere_else(case):
    graph, machine, progress = case
    plan = make_plan(graph, machine, progress)
    for block, route in enumerate(plan.routes):
        users = {plan.ranks[number] for number in graph.consumers[block] if progress.ranks[number] == UNCLAIMED}
        having = set(progress.copies.get(block, (plan.ranks[block],)))
        assert sorted(rank for _, rank in route) == sorted(users - having)
        for source, rank in route:
            assert source in having
            having.add(rank)


@law
@given(cases())
def test_all_open_tasks_run_in_the_simulation_after_what_they_need(case):
    graph, machine, progress = case
    plan = make_plan(graph, machine, progress)
    found = simulate(plan, machine, progress)
    assert found.seconds == pytest.approx(plan.seconds) and found.seconds >= max(progress.ends)
    for number, item in enumerate(graph.tasks):
        if progress.ranks[number] == UNCLAIMED:
            assert all(found.starts[number] >= found.ends[needed] for needed in item.needs)


@law
@given(cases())
def test_equal_progress_gives_equal_plans(case):
    assert make_plan(*case) == make_plan(*case)


def test_a_rank_is_busy_until_its_claimed_task_ends():
    tasks = [task(n) for n in range(4)]
    plan = make_plan(TaskGraph(tasks), Machine((0, 0)), progress_of(tasks, [0, -1, -1, -1], [10.0, 0, 0, 0]))
    assert plan.ranks == (0, 1, 1, 1) and plan.seconds == 10.0


def test_a_block_comes_from_the_rank_that_kept_it_and_not_from_its_producer():
    tasks = [task(0), task(1, 0, ranks=(2,))]
    plan = make_plan(TaskGraph(tasks), Machine((0, 0, 0)), progress_of(tasks, [0, -1], copies={0: (1,)}))
    assert plan.routes[0] == ((1, 2),)


def test_a_task_goes_to_a_copy():
    tasks = [task(0, nbytes=1000 * MB), task(1, 0)]
    plan = make_plan(TaskGraph(tasks), Machine((0, 0, 0)), progress_of(tasks, [0, -1], copies={0: (2,)}))
    assert plan.ranks == (0, 2) and plan.nbytes == 0


def test_the_estimates_of_a_progress_are_in_force():
    tasks = [task(n) for n in range(4)]
    progress = Progress((-1,) * 4, (0.0,) * 4, {}, (3.0, 1.0, 1.0, 1.0), (5,) * 4)
    plan = make_plan(TaskGraph(tasks), Machine((0, 0)), progress)
    assert plan.seconds == 3.0 and plan.estimates == ((3.0, 1.0, 1.0, 1.0), (5,) * 4)


def test_given_estimates_replace_those_of_the_tasks():
    tasks = [task(n) for n in range(4)]
    plan = make_plan(TaskGraph(tasks), Machine((0, 0)), seconds=[4.0, 1.0, 1.0, 1.0])
    assert plan.seconds == 4.0 and plan.estimates.nbytes == (MB,) * 4


@pytest.mark.parametrize("changes", [{"seconds": [2.0]}, {"nbytes": [2]}])
def test_the_digest_changes_with_the_estimates(changes):
    graph = TaskGraph([task(0)])
    assert make_plan(graph, Machine((0,)), **changes).digest != make_plan(graph, Machine((0,))).digest

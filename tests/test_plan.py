"""The plan: the same on every rank, and different if anything is."""

import dataclasses
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiflow.operations.registry import builtin_operations
from mpiflow.planning.lowering import lower
from mpiflow.planning.machine import Machine
from mpiflow.planning.plan import make_plan
from mpiflow.planning.tasks import Block, Input, Kind, Task, TaskGraph, recipe_id
from mpiflow.workflow.reading import read_workflow

law = settings(derandomize=True, deadline=None)
DOCUMENT = {
    "mpiflow": 1, "name": "t",
    "datasets": {f"d{n}": {"random": {"shape": [1000, 10], "seed": n}, "blocks": 3, "rank": n} for n in range(6)},
    "steps": {"z": "x - mean(x)", "x": "d0 * d1", "m": "moments(d2 + d3 + d4, axis=0)", "w": "z - m.mean", "q": "sort(d5) + w"},
    "results": {"w": "a.h5", "z": "a.h5", "q": "q.npy"},
}


def graph_of(size=4, **changes):
    return lower(read_workflow(yaml.safe_dump(DOCUMENT | changes), "w.yaml"), builtin_operations(), (), size)


def planned(size=4, **changes):
    return make_plan(graph_of(size, **changes), Machine((0,) * size))


def test_equal_arguments_give_equal_plans():
    assert planned() == planned()


PROGRAM = """
import sys, yaml
from mpiflow.operations.registry import builtin_operations
from mpiflow.planning.lowering import lower
from mpiflow.planning.machine import machine_of
from mpiflow.planning.plan import make_plan
from mpiflow.workflow.reading import read_workflow
workflow = read_workflow(sys.stdin.read(), "w.yaml")
plan = make_plan(lower(workflow, builtin_operations(), (), 5), machine_of(["b", "a", "b", "c", "a"]))
print(plan.digest, plan.ranks, plan.order, plan.destinations, [task.id for task in plan.graph.tasks])
"""


def test_the_plan_does_not_depend_on_how_a_process_orders_its_sets():
    def plan(seed):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[1])}
        return subprocess.run([sys.executable, "-c", PROGRAM], input=yaml.safe_dump(DOCUMENT), env=environment,
                              capture_output=True, text=True, check=True, timeout=60).stdout

    assert plan("0") == plan("1") == plan("2026") != ""


@law
@given(st.integers(1, 12))
def test_a_block_is_sent_once_to_each_rank_that_needs_it_and_to_no_other(size):
    plan = planned(size)
    for number, destinations in enumerate(plan.destinations):
        users = {plan.ranks[consumer] for consumer in plan.graph.consumers[number]}
        assert list(destinations) == sorted(users - {plan.ranks[number]})


@law
@given(st.integers(1, 12))
def test_pinned_datasets_are_made_by_their_ranks(size):
    plan = planned(size)
    for task, rank in zip(plan.graph.tasks, plan.ranks, strict=True):
        assert task.kind is not Kind.LOAD or rank == int(task.step[1:]) % size


def test_the_order_is_that_of_starts_and_holds_every_task_once():
    plan = planned()
    assert sorted(plan.order) == list(range(len(plan.graph.tasks)))
    place = {task: position for position, task in enumerate(plan.order)}
    assert all(place[needed] < place[number] for number, task in enumerate(plan.graph.tasks) for needed in task.needs)


def test_a_plan_on_one_rank_moves_nothing():
    plan = planned(1)
    assert plan.nbytes == 0 and not any(plan.destinations)


@pytest.mark.parametrize("changes", [
    {"steps": DOCUMENT["steps"] | {"q": "sort(d5) - w"}},
    {"steps": DOCUMENT["steps"] | {"q": {"run": "sort(d5) + w", "unit": "nm"}}},
    {"steps": DOCUMENT["steps"] | {"q": {"run": "sort(d5) + w", "tags": ["x"]}}},
    {"datasets": DOCUMENT["datasets"] | {"d0": {"random": {"shape": [1000, 10], "seed": 99}, "blocks": 3, "rank": 0}}},
    {"datasets": DOCUMENT["datasets"] | {"d0": DOCUMENT["datasets"]["d0"] | {"rank": 1}}},
    {"datasets": DOCUMENT["datasets"] | {"d0": DOCUMENT["datasets"]["d0"] | {"blocks": 2}}},
    {"results": {"w": "b.h5", "z": "a.h5", "q": "q.npy"}},
    {"results": {"w": "a.h5", "z": "a.h5"}},
])
def test_the_digest_changes_with_the_document(changes):
    assert planned(**changes).digest != planned().digest


def test_the_digest_changes_with_the_code_of_an_operation():
    registry = builtin_operations()
    registry["sort"] = dataclasses.replace(registry["sort"], code="changed")
    other = lower(read_workflow(yaml.safe_dump(DOCUMENT), "w.yaml"), registry, (), 4)
    assert make_plan(other, Machine((0,) * 4)).digest != planned().digest


@pytest.mark.parametrize("machine", [
    Machine((0,) * 5), Machine((0, 0, 1, 1)), Machine((0,) * 4, latency=(1e-6, 1e-5)),
    Machine((0,) * 4, bandwidth=(3e9, 1e9))], ids=str)
def test_the_digest_changes_with_the_machine(machine):
    assert make_plan(graph_of(), machine).digest != planned().digest


TASKS = (
    Task(recipe_id(0), Kind.LOAD, "d", block=Block("d", 0, 3), nbytes=24, seconds=1e-3, ranks=(0,)),
    Task(recipe_id(1), Kind.APPLY, "s", "f", (Input("x", (0,)),), nbytes=8, seconds=1e-3))


@pytest.mark.parametrize("changed", [{"id": recipe_id(2)}, {"nbytes": 9}, {"seconds": 2e-3}, {"ranks": (0, 1)}], ids=str)
def test_the_digest_changes_with_what_is_expected_of_a_task(changed):
    other = TaskGraph([TASKS[0], msgspec.structs.replace(TASKS[1], **changed)])
    machine = Machine((0, 0))
    assert make_plan(other, machine).digest != make_plan(TaskGraph(list(TASKS)), machine).digest


def test_descendants_are_all_that_need_a_task_directly_or_not():
    graph = TaskGraph([Task(recipe_id(number), Kind.APPLY, "s", "f", tuple(Input("", (needed,)) for needed in needs))
                       for number, needs in enumerate([(), (0,), (), (1, 2), (2,), (3,)])])
    assert graph.descendants({1}) == {3, 5} and graph.descendants({5}) == set()


def test_a_task_needs_each_block_once_however_often_it_reads_it():
    assert Task(recipe_id(0), Kind.APPLY, "s", "f", (Input("x", (4, 2)), Input("y", (2,)))).needs == (2, 4)


def test_a_plan_of_ten_thousand_tasks_is_made_in_seconds():
    document = {"mpiflow": 1, "name": "t", "steps": {f"s{n}": f"mean(sqrt(d * {n}))" for n in range(1, 40)},
                "datasets": {"d": {"random": {"shape": [100_000]}, "blocks": 64}}}
    graph = lower(read_workflow(yaml.safe_dump(document), "w.yaml"), builtin_operations(), (), 64)
    plan = make_plan(graph, Machine((0,) * 64))
    assert len(plan.ranks) > 9_900 and set(plan.ranks) == set(range(64))


def test_ten_thousand_tasks_without_inputs_are_planned_in_well_under_a_second():
    graph = TaskGraph([Task(recipe_id(number), Kind.APPLY, "s", "f", nbytes=8, seconds=1e-3) for number in range(10_000)])
    start = time.process_time()
    make_plan(graph, Machine((0, 0)))
    assert time.process_time() - start < 0.5


def test_the_effort_grows_no_faster_than_the_graph():
    def seconds(num):
        chance = random.Random(num)
        graph = TaskGraph([Task(
            recipe_id(number), Kind.APPLY, "s", "f",
            tuple(Input("", (needed,)) for needed in chance.sample(range(number), 2)) if number > 1 else (),
            nbytes=10**6, seconds=0.01) for number in range(num)])
        start = time.process_time()
        make_plan(graph, Machine(tuple(rank // 32 for rank in range(1024))))
        return time.process_time() - start

    assert seconds(40_000) < 4 * 4 * max(seconds(10_000), 0.1)

"""Parallel operations: which ranks run them on which blocks, and that no two ever wait for each other, whatever happens when."""

import random

import pytest
from fake_network import FakeNetwork
from test_interleavings import expected, failing, machine_of_size, number_of

from mpiflow.catalog.states import State
from mpiflow.planning.plan import make_plan
from mpiflow.planning.tasks import Input, Kind, Part, Task, TaskGraph, recipe_id
from mpiflow.planning.teams import side_by_side

SEEDS = range(150)


def random_plan(seed, size):
    """A random graph with many parallel operations, in some only at the beginning, planned for ``size`` ranks."""
    chance, tasks = random.Random(seed), []
    num = chance.randint(5, 50)
    while len(tasks) < num:
        before, ranks = len(tasks), (None,)
        if chance.random() < 0.5 and (before < 9 or seed % 3):
            ranks = tuple(chance.sample(range(size), chance.randint(1, size)))
        for number, rank in enumerate(ranks):
            needs = chance.sample(range(before), min(before, chance.choice([0, 1, 1, 2, 3])))
            pinned = (rank,) if rank is not None else (chance.randrange(size),) if chance.random() < 0.5 else None
            part = None if rank is None else Part(recipe_id("team", before), number, ranks)
            inputs = tuple(Input("", (need,)) for need in needs)
            tasks.append(Task(recipe_id(len(tasks)), Kind.APPLY, f"step{before}", "f", inputs, ranks=pinned, part=part,
                              nbytes=chance.choice([8, 10**6]), seconds=chance.choice([1e-4, 1e-2])))
    return make_plan(TaskGraph(tasks), machine_of_size(size))


def check_that_all_know_the_same(network):
    """Give the state of each task."""
    catalogs = [peer.catalog for peer in network.peers]
    assert len({(catalog.version, catalog.digest, tuple(catalog.failed)) for catalog in catalogs}) == 1
    assert all(not values for values in network.values), "every block is freed in the end"
    return [entry.state for entry in catalogs[0].tasks]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_interleaving_ends_although_parts_wait_for_each_other(seed):
    size = 1 + seed % 8
    plan = random_plan(seed, size)
    network = FakeNetwork(plan, machine_of_size(size), seed, number_of, drift=seed % 2 == 1)
    network.run()
    assert network.produced == expected(plan)
    assert sorted(network.ran) == list(range(len(plan.graph.tasks)))
    assert set(check_that_all_know_the_same(network)) == {State.DONE}


def test_parts_of_these_did_run_side_by_side_and_new_plans_were_made():
    teams, plans = [], []
    for seed in range(0, 60, 2):
        size = 2 + seed % 7
        plan = random_plan(seed, size)

        def watch(network, plan=plan):
            teams.append(len({plan.graph.tasks[task].part.team for task in network.running.values()
                              if task in plan.graph.teams}))

        network = FakeNetwork(plan, machine_of_size(size), seed, number_of, drift=True, watch=watch)
        network.run()
        plans.append(network.peers[0].num_plans)
    assert max(teams) > 2 and max(plans) > 1


@pytest.mark.parametrize("keep_going", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_failures_and_stops_end_every_interleaving(seed, keep_going):
    """Whatever fails, a part, or what a part waits for: those that wait inside the operation are told."""
    size = 1 + seed % 8
    plan = random_plan(seed, size)
    broken = set(random.Random(seed).sample(range(len(plan.graph.tasks)), 1 + seed % 3))
    network = FakeNetwork(plan, machine_of_size(size), seed, failing(broken), keep_going, seed % 2 == 1, seed // 2 % 2)
    network.run()
    states = check_that_all_know_the_same(network)
    failed = set(network.peers[0].catalog.failed)
    assert failed <= broken and (failed or network.peers[0].stopped_by)
    for task in failed:
        assert all(states[part] is not State.PLANNED for part in plan.graph.teams.get(task, ()))
    if keep_going and not network.peers[0].stopped_by and failed.isdisjoint(plan.graph.teams):
        lost = plan.graph.descendants(broken)
        assert all(state is State.DONE for task, state in enumerate(states) if task not in lost | broken), "the rest goes on"


@pytest.mark.parametrize("seed", range(100))
def test_parts_stand_side_by_side_and_every_task_after_those_that_it_needs(seed):
    plan = random_plan(seed, 1 + seed % 8)
    place = {task: at for at, task in enumerate(plan.order)}
    assert sorted(plan.order) == list(range(len(plan.graph.tasks)))
    assert all(place[need] < place[task] for task, needs in enumerate(plan.graph.needs) for need in needs)
    for team in plan.graph.teams.values():
        assert [place[part] for part in team] == list(range(place[team[0]], place[team[0]] + len(team)))
        assert len({plan.ranks[part] for part in team}) == len(team)


def test_an_order_without_parallel_operations_stays_as_it_is():
    tasks = [Task(recipe_id(number), Kind.APPLY, "s", "f") for number in range(4)]
    assert side_by_side([2, 0, 3, 1], TaskGraph(tasks)) == [2, 0, 3, 1]

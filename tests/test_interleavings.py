"""Whole runs on a fake network, with hundreds of interleavings: every one ends, rightly, on every rank at once."""

import random

import pytest
from fake_network import FakeNetwork

from mpiflow.catalog.catalog import Catalog
from mpiflow.catalog.states import State
from mpiflow.errors import InternalError
from mpiflow.peer.state import Arrived, EpochDone, EpochDue, Exchange, Finished, Interrupt, PeerState, Raised, Run, Sent
from mpiflow.planning.machine import Machine
from mpiflow.planning.plan import make_plan
from mpiflow.planning.tasks import Input, Kind, Task, TaskGraph, recipe_id

SEEDS = range(300)


def random_plan(seed, size):
    """A random graph of up to 40 tasks, some pinned to ranks, planned for ``size`` ranks."""
    chance = random.Random(seed)
    tasks = []
    for number in range(chance.randint(1, 40)):
        needs = chance.sample(range(number), min(number, chance.choice([0, 1, 1, 2, 3])))
        pinned = (chance.randrange(size),) if chance.random() < 0.5 else None
        tasks.append(Task(
            recipe_id(number), Kind.APPLY, f"step{number}", "f", tuple(Input("", (need,)) for need in needs),
            ranks=pinned, nbytes=chance.choice([8, 10**6]), seconds=chance.choice([1e-4, 1e-2])))
    return make_plan(TaskGraph(tasks), machine_of_size(size))


def machine_of_size(size):
    """Ranks on two nodes."""
    return Machine(tuple(rank // 3 % 2 for rank in range(size)))


def number_of(task, values):
    """A value that tells whether a task got the right inputs."""
    return hash((task, *sorted(values.items())))


def expected(plan):
    values = {}
    for number, task in enumerate(plan.graph.tasks):
        values[number] = number_of(number, {need: values[need] for need in task.needs})
    return values


@pytest.mark.parametrize("seed", SEEDS)
def test_every_interleaving_computes_every_task_once(seed):
    size = 1 + seed % 8
    plan = random_plan(seed, size)
    network = FakeNetwork(plan, machine_of_size(size), seed, number_of)
    network.run()
    assert network.produced == expected(plan)
    assert sorted(network.ran) == list(range(len(plan.graph.tasks)))
    assert len(set(network.transfers)) == len(network.transfers), "a block goes to a rank once"
    assert all(not values for values in network.values), "every block is freed in the end"
    for peer in network.peers:
        assert all(entry.state is State.DONE for entry in peer.catalog.tasks)
        assert [entry.rank for entry in peer.catalog.tasks] == list(plan.ranks)
    assert len({(peer.catalog.version, peer.catalog.digest) for peer in network.peers}) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_new_plans_neither_lose_nor_repeat_a_task(seed):
    size = 2 + seed % 7
    plan = random_plan(seed, size)
    network = FakeNetwork(plan, machine_of_size(size), seed, number_of, drift=True)
    network.run()
    assert network.produced == expected(plan)
    assert sorted(network.ran) == list(range(len(plan.graph.tasks)))
    assert all(not values for values in network.values), "every block is freed in the end"
    assert len({(peer.catalog.digest, peer.num_plans, peer.plan.digest) for peer in network.peers}) == 1
    for peer in network.peers:
        assert [entry.rank for entry in peer.catalog.tasks] == list(peer.plan.ranks)


def test_some_of_these_runs_had_several_new_plans_that_moved_tasks():
    plans, moved = [], 0
    for seed in range(40):
        size = 2 + seed % 7
        plan = random_plan(seed, size)
        network = FakeNetwork(plan, machine_of_size(size), seed, number_of, drift=True)
        network.run()
        plans.append(network.peers[0].num_plans)
        moved += network.peers[0].plan.ranks != plan.ranks
    assert max(plans) > 3 and moved > 10


@pytest.mark.parametrize("drift", [False, True])
@pytest.mark.parametrize("keep_going", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_failures_end_every_interleaving_alike_on_all_ranks(seed, keep_going, drift):
    size = 1 + seed % 8
    plan = random_plan(seed, size)
    broken = set(random.Random(seed).sample(range(len(plan.graph.tasks)), 1 + seed % min(3, len(plan.graph.tasks))))

    def compute(task, values):
        if task in broken:
            raise ValueError(f"task {task} is broken")
        return number_of(task, values)

    network = FakeNetwork(plan, machine_of_size(size), seed, compute, keep_going, drift)
    network.run()
    catalogs = [peer.catalog for peer in network.peers]
    assert len({(catalog.version, catalog.digest, tuple(catalog.failed)) for catalog in catalogs}) == 1
    states = [entry.state for entry in catalogs[0].tasks]
    failed = set(catalogs[0].failed)
    assert failed and failed <= broken
    assert all(not values for values in network.values), "every block is freed in the end"
    doomed = plan.graph.descendants(failed)
    assert all(states[task] is State.CANCELLED for task in doomed)
    if keep_going:
        lost = plan.graph.descendants(broken) | broken
        assert failed == {task for task in broken if not plan.graph.descendants(broken) & {task}}
        assert all(states[task] is State.DONE for task in range(len(states)) if task not in lost)
    assert all(entry.error for entry in catalogs[0].tasks if entry.state is State.FAILED)


def chain():
    tasks = [Task(recipe_id(0), Kind.APPLY, "a", "f", ranks=(0,)),
             Task(recipe_id(1), Kind.APPLY, "b", "f", (Input("", (0,)),), ranks=(1,))]
    return make_plan(TaskGraph(tasks), Machine((0, 0)))


def peer(rank):
    plan = chain()
    return PeerState(rank, plan, Catalog(2, 2, plan.digest), Machine((0, 0)))


def test_the_end_of_a_task_that_does_not_run_is_refused():
    machine = peer(1)
    with pytest.raises(InternalError, match="task 0 ended"):
        machine.handle(Finished(0, 0.0, 0.0, 8))


def test_a_block_that_nobody_asked_for_is_refused():
    machine = peer(0)
    machine.begin()
    with pytest.raises(InternalError, match="uncalled for"):
        machine.handle(Arrived(1))


def test_a_block_is_refused_the_second_time():
    machine = peer(1)
    machine.begin()
    assert Run(1) in machine.handle(Arrived(0))
    with pytest.raises(InternalError, match="uncalled for"):
        machine.handle(Arrived(0))


def test_a_block_stays_until_it_is_sent():
    machine = peer(0)
    machine.begin()
    actions = machine.handle(Finished(0, 0.0, 0.0, 8))
    assert [type(action).__name__ for action in actions] == ["Send"]
    assert [type(action).__name__ for action in machine.handle(Sent(0, 1, 8))] == ["Free", "Exchange"]


def test_ranks_with_another_plan_are_found_in_the_first_epoch():
    machine = peer(0)
    exchange = machine.begin() and machine.handle(Finished(0, 0.0, 0.0, 8)) and machine.handle(Sent(0, 1, 8))[-1]
    other = exchange.delta.__class__(1, exchange.delta.digest ^ 1)
    with pytest.raises(InternalError, match="disagree"):
        machine.handle(EpochDone([exchange.delta, other]))


def two_apart():
    """Rank 0 has two tasks, rank 1 has one; none needs another."""
    tasks = [Task(recipe_id(i), Kind.APPLY, f"s{i}", "f", ranks=(rank,)) for i, rank in enumerate([0, 0, 1])]
    plan = make_plan(TaskGraph(tasks), Machine((0, 0)))
    return [PeerState(rank, plan, Catalog(3, 2, plan.digest), Machine((0, 0))) for rank in (0, 1)]


def test_after_a_failure_of_its_own_a_rank_starts_nothing_and_tells_the_others_at_once():
    failing, _ = two_apart()
    assert failing.begin() == [Run(0)]
    actions = failing.handle(Raised(0, 0.0, 0.0, "no good"))
    assert [type(action) for action in actions] == [Exchange]
    assert actions[0].delta.tasks[0].state is State.FAILED


def test_a_rank_that_hears_of_a_failure_interrupts_what_it_runs():
    failing, other = two_apart()
    failing.begin()
    deltas = [failing.handle(Raised(0, 0.0, 0.0, "no good"))[-1].delta]
    assert other.begin() == [Run(2)]
    deltas.append(other.handle(EpochDue())[-1].delta)
    assert other.handle(EpochDone(deltas)) == [Interrupt(2)]


def test_a_rank_without_tasks_reports_at_once_that_it_is_settled():
    plan = make_plan(TaskGraph([Task(recipe_id(0), Kind.APPLY, "a", "f", ranks=(0,))]), Machine((0, 0)))
    machine = PeerState(1, plan, Catalog(1, 2, plan.digest), Machine((0, 0)))
    assert machine.begin()[0].delta.settled

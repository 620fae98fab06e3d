"""Tasks that are skipped: what goes with them and what does without, in hundreds of interleavings."""

import random

import pytest
from fake_network import FakeNetwork
from test_interleavings import SEEDS, machine_of_size, number_of

from mpiflow.catalog.states import State
from mpiflow.operations.skipping import Skipped
from mpiflow.planning.plan import make_plan
from mpiflow.planning.tasks import Input, Kind, Task, TaskGraph, recipe_id, without


def conditional_plan(seed, size):
    """A random graph of up to 40 tasks with guards, some of them optional for those who join them."""
    chance = random.Random(seed)
    tasks = []
    for number in range(chance.randint(2, 40)):
        inputs = []
        for place in range(chance.choice([0, 1, 1, 2]) if number else 0):
            needs = tuple(chance.sample(range(number), min(number, chance.choice([1, 1, 2, 4]))))
            inputs.append(Input(chance.choice(["", f"x{place}"]), needs))
        guard = (chance.randrange(number), chance.random() < 0.5) if number and chance.random() < 0.3 else None
        pinned = (chance.randrange(size),) if chance.random() < 0.5 else None
        kind = Kind.WRITE if chance.random() < 0.1 else Kind.APPLY
        tasks.append(Task(recipe_id(number), kind, f"step{number}", "f", tuple(inputs), ranks=pinned,
                          nbytes=chance.choice([8, 10**6]), seconds=chance.choice([1e-4, 1e-2]), guard=guard,
                          optional=chance.random() < 0.5))
    return make_plan(TaskGraph(tasks), machine_of_size(size))


def deciding(plan, unwanted):
    """Compute, but skip what its guard does not want; ``unwanted`` tasks fail, and others do without them."""
    def compute(task, values):
        guard = plan.graph.tasks[task].guard
        if guard and (values[guard[0]] % 2 == 0) != guard[1]:
            raise Skipped
        if task in unwanted:
            raise Skipped("no good")
        return number_of(task, values)

    return compute


def expected(plan, compute):
    """What each task makes if all run one after the other."""
    values, gone = {}, set()
    for number, task in enumerate(plan.graph.tasks):
        try:
            if without(plan.graph.tasks, number, gone):
                raise Skipped
            values[number] = compute(number, {need: values[need] for need in task.needs if need not in gone})
        except Skipped:
            gone.add(number)
    return values, gone


def ran(seed, **how):
    """A run of a random graph: the network, what it must have made, and what it must have skipped."""
    size = 1 + seed % 8
    plan = conditional_plan(seed, size)
    unwanted = set(random.Random(seed).sample(range(len(plan.ranks)), seed % 3 % len(plan.ranks)))
    compute = deciding(plan, unwanted)
    network = FakeNetwork(plan, machine_of_size(size), seed, compute, **how)
    network.run()
    return network, *expected(plan, compute)


@pytest.mark.parametrize("drift", [False, True])
@pytest.mark.parametrize("seed", SEEDS[::2])
def test_every_interleaving_skips_the_same_tasks_and_makes_the_others(seed, drift):
    network, values, gone = ran(seed, drift=drift)
    assert network.produced == values
    assert len(network.ran) == len(set(network.ran))
    assert all(not held for held in network.values), "every block is freed in the end"
    for peer in network.peers:
        states = [entry.state for entry in peer.catalog.tasks]
        assert {task for task, state in enumerate(states) if state is State.SKIPPED} == gone
        assert all(state is State.DONE for task, state in enumerate(states) if task not in gone)
    assert len({(peer.catalog.digest, peer.plan.digest) for peer in network.peers}) == 1


@pytest.mark.parametrize("seed", SEEDS[1::4])
def test_a_stop_amid_skipped_tasks_ends_every_interleaving_alike(seed):
    network, values, gone = ran(seed, drift=seed % 8 == 1, stops=1)
    states = [entry.state for entry in network.peers[0].catalog.tasks]
    assert len({peer.catalog.digest for peer in network.peers}) == 1
    assert all(state.final for state in states)
    assert {task for task, state in enumerate(states) if state is State.SKIPPED} <= gone
    assert network.produced == {task: values[task] for task, state in enumerate(states) if state is State.DONE}
    assert all(not held for held in network.values), "every block is freed in the end"


def test_some_of_these_runs_skipped_on_other_ranks_and_joined_what_was_left():
    skipped = joined = apart = 0
    for seed in range(60):
        network, values, gone = ran(seed)
        graph, ranks = network.plan.graph, network.plan.ranks
        skipped += len(gone) > 2
        joined += any(not gone.isdisjoint(graph.needs[task]) for task in values)
        apart += any(ranks[need] != ranks[task] for task in gone for need in graph.needs[task] if need in gone)
    assert skipped > 20 and joined > 10 and apart > 10

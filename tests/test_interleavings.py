"""Whole runs on a fake network, with hundreds of interleavings: every one ends, rightly, on every rank at once."""

import random

import pytest
from fake_network import FakeNetwork

from mpiflow.catalog.catalog import Catalog
from mpiflow.catalog.states import State
from mpiflow.errors import InternalError
from mpiflow.peer.state import PeerState
from mpiflow.peer.waiting import Work
from mpiflow.planning.machine import Machine
from mpiflow.planning.plan import make_plan
from mpiflow.planning.tasks import Input, Kind, Task, TaskGraph, recipe_id

SEEDS = range(200)


def random_plan(seed, size, replicas=(1,)):
    """A random graph of up to 40 tasks, some pinned to ranks, some with ``replicas``, planned for ``size`` ranks."""
    chance = random.Random(seed)
    tasks = []
    for number in range(chance.randint(1, 40)):
        needs = chance.sample(range(number), min(number, chance.choice([0, 1, 1, 2, 3])))
        pinned = (chance.randrange(size),) if chance.random() < 0.5 else None
        held = replicas[number * seed % len(replicas)]
        tasks.append(Task(
            recipe_id(number), Kind.APPLY, f"step{number}", "f", tuple(Input("", (need,)) for need in needs),
            ranks=pinned, nbytes=chance.choice([8, 10**6]), seconds=chance.choice([1e-4, 1e-2]), replicas=held))
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


def some_of(plan, seed):
    """One to three tasks."""
    num = len(plan.graph.tasks)
    return set(random.Random(seed).sample(range(num), 1 + seed % min(3, num)))


def failing(broken):
    """Compute, but ``broken`` tasks fail."""
    def compute(task, values):
        if task in broken:
            raise ValueError(f"task {task} is broken")
        return number_of(task, values)

    return compute


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
    for seed in range(60):
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
    broken = some_of(plan, seed)
    network = FakeNetwork(plan, machine_of_size(size), seed, failing(broken), keep_going, drift)
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


def check_that_all_know_the_same(network, plan):
    """What every end has in common; gives the states of all tasks."""
    catalogs = [peer.catalog for peer in network.peers]
    assert len({(catalog.version, catalog.digest, tuple(catalog.failed)) for catalog in catalogs}) == 1
    assert len({tuple(peer.stopped_by) for peer in network.peers}) == 1
    states = [entry.state for entry in catalogs[0].tasks]
    done = {task for task, state in enumerate(states) if state is State.DONE}
    values = expected(plan)
    assert all(state.final for state in states)
    assert network.produced == {task: values[task] for task in done}, "what has run is in the catalog, with the right bits"
    assert sorted(network.ran) == sorted(set(network.ran)), "nothing runs twice"
    assert all(not values for values in network.values), "every block is freed in the end"
    return states


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stop_ends_every_interleaving_alike_on_all_ranks(seed):
    size, drift = 1 + seed % 8, seed // 8 % 2 == 1
    plan = random_plan(seed, size)
    network = FakeNetwork(plan, machine_of_size(size), seed, number_of, drift=drift, stops=1 + seed % 3)
    network.run()
    states = check_that_all_know_the_same(network, plan)
    stopped_by = network.peers[0].stopped_by
    assert set(stopped_by) <= network.asked
    assert set(states) <= {State.DONE, State.CANCELLED}
    assert stopped_by or set(states) == {State.DONE}, "a stop that nobody heard of has no effect"
    assert not network.num_interrupts, "what is running comes to its end"


def test_some_of_these_runs_were_stopped_in_their_middle_and_some_while_a_new_plan_was_made():
    middle = several = plans = 0
    for seed in range(200):
        size = 2 + seed % 7
        network = FakeNetwork(random_plan(seed, size), machine_of_size(size), seed, number_of, drift=True, stops=2)
        network.run()
        states = {entry.state for entry in network.peers[0].catalog.tasks}
        stopped = states == {State.DONE, State.CANCELLED}
        middle += stopped
        several += len(network.peers[0].stopped_by) > 1
        plans += stopped and network.peers[0].num_plans > 1
    assert middle > 30 and several > 5 and plans > 5


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stop_and_failures_at_once_end_every_interleaving_alike(seed):
    size, drift, keep_going = 1 + seed % 8, seed // 8 % 2 == 1, seed // 16 % 2 == 1
    plan = random_plan(seed, size)
    broken = some_of(plan, seed)
    network = FakeNetwork(plan, machine_of_size(size), seed, failing(broken), keep_going, drift, stops=1 + seed % 2)
    network.run()
    states = check_that_all_know_the_same(network, plan)
    failed = set(network.peers[0].catalog.failed)
    assert failed <= broken
    assert all(states[task] is State.CANCELLED for task in plan.graph.descendants(failed))
    assert network.peers[0].stopped_by or failed


@pytest.mark.parametrize("seed", SEEDS)
def test_a_block_that_cannot_be_brought_in_takes_along_only_what_depends_on_it(seed):
    size, drift, stops = 1 + seed % 8, seed // 8 % 2 == 1, seed // 16 % 2
    plan = random_plan(seed, size)
    first = [number for number, task in enumerate(plan.graph.tasks) if not task.needs]
    lost = set(random.Random(seed).sample(first, 1 + seed % len(first)))
    network = FakeNetwork(plan, machine_of_size(size), seed, failing(lost), drift=drift, stops=stops, restored=frozenset(first))
    network.run()
    states = check_that_all_know_the_same(network, plan)
    failed, doomed = set(network.peers[0].catalog.failed), plan.graph.descendants(lost)
    assert all(states[task] is State.CANCELLED for task in plan.graph.descendants(failed))
    if not network.peers[0].stopped_by:
        assert failed == lost, "one does not keep the others from being tried"
        assert all(state is State.DONE for task, state in enumerate(states) if task not in lost | doomed)


@pytest.mark.parametrize("seed", SEEDS[::3])
def test_a_real_failure_beside_a_block_that_cannot_be_brought_in_ends_the_run(seed):
    size = 1 + seed % 8
    plan = random_plan(seed, size)
    first = [number for number, task in enumerate(plan.graph.tasks) if not task.needs]
    restored = frozenset(first[::2])
    broken = some_of(plan, seed) | {first[0]}
    network = FakeNetwork(plan, machine_of_size(size), seed, failing(broken), restored=restored)
    network.run()
    states = check_that_all_know_the_same(network, plan)
    failed = set(network.peers[0].catalog.failed)
    assert failed and failed <= broken
    if failed <= restored:
        assert all(states[task] is State.DONE for task in set(range(len(states))) - failed - plan.graph.descendants(failed))


def chain():
    tasks = [Task(recipe_id(0), Kind.APPLY, "a", "f", ranks=(0,)),
             Task(recipe_id(1), Kind.APPLY, "b", "f", (Input("", (0,)),), ranks=(1,))]
    return make_plan(TaskGraph(tasks), Machine((0, 0)))


class Noting:
    """A shell that does nothing but note what it was asked for; what it sends has left at once if ``quick``."""

    def __init__(self, quick=False):
        self.quick = quick
        self.asked = []

    def __getattr__(self, name):
        return lambda *what: self.asked.append((name, *what))

    def send(self, block, rank):
        self.asked.append(("send", block, rank))
        return 8 if self.quick else None

    def take(self):
        """Give what it was asked for since the last time."""
        asked, self.asked = self.asked, []
        return asked


def peer(rank, plan=None, **how):
    """One rank of ``chain``, or of another plan, that has begun; and its shell."""
    plan = plan or chain()
    machine, shell = PeerState(rank, plan, Catalog(len(plan.graph.tasks), 2, plan.digest)), Noting(**how)
    machine.begin(shell)
    return machine, shell


def test_the_end_of_a_task_that_does_not_run_is_refused():
    machine, _ = peer(1)
    for tell, how in [(machine.finished, (0.0, 0.0, 8)), (machine.raised, (0.0, 0.0, "no")), (machine.stopped, ())]:
        with pytest.raises(InternalError, match="task 0 ended"):
            tell(0, *how)


def test_a_block_that_nobody_asked_for_is_refused():
    machine, _ = peer(0)
    with pytest.raises(InternalError, match="uncalled for"):
        machine.arrived(1)


def test_a_block_is_refused_the_second_time():
    machine, shell = peer(1)
    machine.arrived(0)
    assert ("start", 1) in shell.take()
    with pytest.raises(InternalError, match="uncalled for"):
        machine.arrived(0)


def test_a_block_stays_until_it_is_sent():
    machine, shell = peer(0)
    assert shell.take() == [("start", 0)]
    machine.finished(0, 0.0, 0.0, 8)
    assert shell.take() == [("send", 0, 1)]
    machine.sent(0, 1, 8)
    assert [name for name, *_ in shell.take()] == ["free", "exchange"]
    with pytest.raises(InternalError, match="was not being sent"):
        machine.sent(0, 1, 8)


def test_a_block_that_leaves_at_once_is_forgotten_at_once():
    machine, shell = peer(0, quick=True)
    machine.finished(0, 0.0, 0.0, 8)
    assert [name for name, *_ in shell.take()] == ["start", "send", "free", "exchange"]


def test_an_epoch_that_nobody_posted_is_refused():
    machine, _ = peer(1)
    with pytest.raises(InternalError, match="not posted"):
        machine.epoch_done([])


def test_ranks_with_another_plan_are_found_in_the_first_epoch():
    machine, shell = peer(0, quick=True)
    machine.finished(0, 0.0, 0.0, 8)
    delta = shell.take()[-1][1]
    other = delta.__class__(1, delta.digest ^ 1)
    with pytest.raises(InternalError, match="disagree"):
        machine.epoch_done([delta, other])


def two_apart():
    """Rank 0 has two tasks, rank 1 has one; none needs another."""
    tasks = [Task(recipe_id(i), Kind.APPLY, f"s{i}", "f", ranks=(rank,)) for i, rank in enumerate([0, 0, 1])]
    plan = make_plan(TaskGraph(tasks), Machine((0, 0)))
    return [peer(rank, plan) for rank in (0, 1)]


def test_after_a_failure_of_its_own_a_rank_starts_nothing_and_tells_the_others_at_once():
    (failing, shell), _ = two_apart()
    failing.raised(0, 0.0, 0.0, "no good")
    begun, (name, delta) = shell.take()
    assert (begun, name) == (("start", 0), "exchange")
    assert delta.tasks[0].state is State.FAILED


def test_a_rank_that_hears_of_a_failure_interrupts_what_it_runs():
    (failing, shell), (other, shell_of_other) = two_apart()
    failing.raised(0, 0.0, 0.0, "no good")
    other.epoch_due()
    deltas = [shell.take()[-1][1], shell_of_other.take()[-1][1]]
    other.epoch_done(deltas)
    assert shell_of_other.take() == [("interrupt", 2)]


def test_a_rank_without_tasks_reports_at_once_that_it_is_settled():
    plan = make_plan(TaskGraph([Task(recipe_id(0), Kind.APPLY, "a", "f", ranks=(0,))]), Machine((0, 0)))
    _, shell = peer(1, plan)
    assert shell.take()[0][1].settled


class Still:
    """No block is under way."""

    num_left, coming, leaving = 0, [], []


def test_a_rank_that_has_nothing_to_do_and_to_wait_for_says_why_the_run_is_not_over():
    machine, _ = peer(0, quick=True)
    machine.finished(0, 0.0, 0.0, 8)
    assert Work(machine, Still()).lines(0.0, False) == [
        "runs nothing",
        "2 tasks are open, as all know: task 0 (step 'a', operation f) on rank 0, task 1 (step 'b', operation f) on rank 1",
        "rank 0-1 has something to run or to send, as all know"]

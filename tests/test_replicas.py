"""Replicas: who holds a block, how it gets there, and that nothing of it is made again as long as one holder lives."""

import json
import random

import pytest
from fake_network import FakeNetwork
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from test_interleavings import SEEDS, check_that_all_know_the_same, expected, failing, machine_of_size, number_of, random_plan

from mpiflow.catalog.entries import Holding
from mpiflow.catalog.states import State
from mpiflow.errors import PlanningError
from mpiflow.operations.registry import builtin_operations
from mpiflow.planning.forecast import forecast
from mpiflow.planning.lowering import lower
from mpiflow.planning.machine import Machine
from mpiflow.planning.plan import make_plan
from mpiflow.planning.reuse import reuse
from mpiflow.planning.simulation import simulate
from mpiflow.planning.tasks import Input, Kind, Task, TaskGraph, recipe_id
from mpiflow.report.planned import as_json, text
from mpiflow.workflow.reading import read_workflow

law = settings(derandomize=True, deadline=None, max_examples=40, phases=[Phase.explicit, Phase.generate])
SOME = (2, 1, 3, 2, 1, 1, 2)


def task(number, *needs, nbytes=100, ranks=None, replicas=1, kind=Kind.APPLY):
    inputs = tuple(Input("", (needed,)) for needed in needs)
    return Task(recipe_id(number), kind, f"s{number}", "f", inputs, nbytes=nbytes, seconds=1e-3, ranks=ranks, replicas=replicas)


def planned(tasks, nodes, **machine):
    return make_plan(TaskGraph(tasks), Machine(nodes, **machine))


# Who holds a block

def test_the_second_holder_is_on_another_node_where_there_is_one():
    assert planned([task(0, ranks=(1,), replicas=2)], (0, 0, 1, 1)).holders == {0: (1, 3)}


def test_on_one_node_the_next_ranks_hold_a_block():
    assert planned([task(0, ranks=(2,), replicas=3)], (0, 0, 0, 0)).holders == {0: (0, 2, 3)}


def test_a_rank_that_reads_the_block_in_any_case_is_preferred_and_nothing_more_moves():
    plan = planned([task(0, ranks=(0,), replicas=2), task(1, 0, ranks=(3,))], (0, 0, 0, 0))
    assert plan.holders == {0: (0, 3)} and plan.routes[0] == ((0, 3),) and plan.replicas == (0, 0)


def test_a_reader_on_the_same_node_is_no_second_node():
    plan = planned([task(0, ranks=(0,), replicas=2), task(1, 0, ranks=(1,))], (0, 0, 1, 1))
    assert plan.holders == {0: (0, 2)} and plan.routes[0] == ((0, 1), (0, 2)) and plan.replicas == (1, 100)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_more_replicas_than_ranks_are_one_on_each_rank(size):
    plan = planned([task(0, replicas=9)], (0,) * size)
    assert plan.holders == ({0: tuple(range(size))} if size > 1 else {}) and len(plan.routes[0]) == size - 1


def test_holders_are_spread_over_the_ranks_of_other_nodes():
    plan = planned([task(n, ranks=(n,), replicas=2) for n in range(8)], (0, 0, 0, 0, 1, 1, 1, 1))
    assert sorted(rank for ranks in plan.holders.values() for rank in ranks) == sorted([*range(8), *range(8)])


def test_who_reads_a_block_gets_it_before_those_who_only_hold_it():
    plan = planned([task(0, ranks=(0,), replicas=4), *(task(n, 0, ranks=(n,)) for n in (4, 5))], (0, 0, 1, 1, 2, 2))
    assert [rank for _, rank in plan.routes[0]][:2] == [4, 5] and plan.holders[0] == (0, 2, 4, 5)


def test_what_was_brought_in_again_counts_those_that_can_do_so_as_holders():
    plan = planned([task(0, ranks=(1, 2), replicas=3, kind=Kind.RESTORE)], (0, 0, 0, 0))
    assert plan.holders[0][:2] == tuple(sorted(plan.holders[0]))[:2] and {1, 2} < set(plan.holders[0])
    assert len(plan.holders[0]) == 3 and len(plan.routes[0]) == 1
    assert planned([task(0, replicas=3, kind=Kind.RESTORE)], (0,) * 4).routes[0] == (), "all can bring it in"


@st.composite
def cases(draw):
    size = draw(st.integers(2, 7))
    tasks = [task(number, *(draw(st.lists(st.integers(0, number - 1), max_size=3, unique=True)) if number else []),
                  nbytes=draw(st.sampled_from([8, 1000])), replicas=draw(st.sampled_from([1, 2, 3, 9])),
                  ranks=draw(st.sampled_from([None, None, (0,), (size - 1,)]))) for number in range(draw(st.integers(1, 12)))]
    nodes = tuple(rank // draw(st.sampled_from([1, 2, 7])) for rank in range(size))
    return tasks, nodes


@law
@given(cases())
def test_as_many_ranks_as_asked_hold_each_block_on_as_many_nodes_as_there_are(case):
    tasks, nodes = case
    plan = planned(tasks, nodes)
    assert set(plan.holders) == {number for number, item in enumerate(tasks) if item.replicas > 1}
    for block, ranks in plan.holders.items():
        num = min(tasks[block].replicas, len(nodes))
        assert len(set(ranks)) == num and plan.ranks[block] in ranks
        assert len({nodes[rank] for rank in ranks}) == min(num, len(set(nodes)))


@law
@given(cases())
def test_each_rank_that_reads_or_holds_a_block_gets_it_once(case):
    tasks, nodes = case
    plan = planned(tasks, nodes)
    for block, route in enumerate(plan.routes):
        wanted = {plan.ranks[number] for number in plan.graph.consumers[block]} | set(plan.holders.get(block, ()))
        assert sorted(rank for _, rank in route) == sorted(wanted - {plan.ranks[block]})
        having = {plan.ranks[block]}
        for source, rank in route:
            assert source in having
            having.add(rank)


@law
@given(cases())
def test_replicas_change_no_id_and_the_plan_predicts_its_simulation(case):
    tasks, nodes = case
    plan = planned(tasks, nodes)
    found = simulate(plan, Machine(nodes))
    assert plan.seconds == pytest.approx(found.seconds) and plan.starts == pytest.approx(found.starts)
    assert sum(plan.estimates.nbytes[item.block] for item in found.transfers) == plan.nbytes


def test_replicas_are_part_of_the_digest():
    one, two = (planned([task(0, ranks=(0,), replicas=num), task(1, 0, ranks=(1,))], (0, 0)) for num in (1, 2))
    assert one.routes == two.routes and one.digest != two.digest


# Memory

def test_a_replica_takes_memory_to_the_end_or_until_all_that_is_made_of_it_is_held_there():
    chain = [task(0, ranks=(0,), replicas=2), task(1, 0, ranks=(0,)), task(2, 1, ranks=(0,)), task(3, 2, ranks=(0,))]
    assert simulate(planned(chain, (0, 0)), Machine((0, 0))).memory == (300, 100)
    held = [task(n, *([n - 1] if n else []), ranks=(0,), replicas=2) for n in range(8)]
    assert max(simulate(planned(held, (0, 0)), Machine((0, 0))).memory) <= 300, "not 800"


def test_replicas_are_given_up_where_memory_is_short_and_nothing_else_is():
    tasks = [task(0, ranks=(0,), replicas=2), task(1, 0, ranks=(0,)), *(task(n, ranks=(1,)) for n in (2, 3))]
    tasks.append(task(4, 2, 3, ranks=(1,), nbytes=0))
    assert planned(tasks, (0, 0), memory=(300, 300)).holders == {0: (0, 1)}
    short = planned(tasks, (0, 0), memory=(300, 250))
    assert short.holders == {0: ()} and short.routes[0] == ()
    assert planned(tasks, (0, 0, 0), memory=(300, 250, 100)).holders == {0: (0, 2)}


@law
@given(cases(), st.integers(0, 8))
def test_replicas_never_make_a_plan_exceed_memory(case, much):
    tasks, nodes = case
    plain = [task(number, *item.needs, nbytes=item.nbytes, ranks=item.ranks) for number, item in enumerate(tasks)]
    limit = max(simulate(planned(plain, nodes), Machine(nodes)).memory) + much * 250
    machine = Machine(nodes, memory=(limit,) * len(nodes))
    try:
        fits = max(simulate(make_plan(TaskGraph(plain), machine), machine).memory) <= limit
    except PlanningError:
        return
    plan = make_plan(TaskGraph(tasks), machine)
    assert not fits or max(simulate(plan, machine).memory) <= limit
    assert all(0 <= len(ranks) <= tasks[block].replicas for block, ranks in plan.holders.items())


# From the document, and to the user

def graph_of(written, size=3):
    return lower(read_workflow("mpiflow: 1\nname: t\n" + written, "w.yaml"), builtin_operations(), (), size)


def test_datasets_and_steps_may_have_replicas_and_their_ids_stay():
    written = """
datasets:
  x: {random: {shape: [10]}, blocks: 2, replicas: 2}
steps:
  y: {run: x * 2, replicas: 3}
  z: sum(y)
  zz: x * 2
results: {z: z.npy, zz: zz.npy}
"""
    graph, plain = graph_of(written), graph_of(written.replace(", replicas: 2", "").replace(", replicas: 3", ""))
    assert [task.replicas for task in graph.tasks if task.step in "xy"] == [2, 2, 3, 3]
    assert graph.datasets["zz"].tasks == graph.datasets["y"].tasks
    assert [task.id for task in graph.tasks] == [task.id for task in plain.tasks] and graph.datasets == plain.datasets
    assert all(task.replicas == 1 for task in graph.tasks if task.step not in "xy") and not plain.replicated


def test_a_plan_says_what_replicas_move_and_hold():
    tasks = [task(0, ranks=(0,), replicas=2), task(1, 0, ranks=(0,)), task(2, ranks=(1,), replicas=2), task(3, 2, ranks=(2,))]
    said = text(forecast(TaskGraph(tasks), Machine((0, 0, 0)), "t"))
    assert "replicas: 4 copies held, 400 bytes (400 B); only for them move 1 block, 100 bytes" in said
    assert "moves between ranks: 2 blocks, 200 bytes" in said
    short = forecast(TaskGraph(tasks), Machine((0, 0, 0), memory=(300, 200, 200)), "t")
    assert "  no room for those of 1 block" in text(short)
    found = json.loads(as_json(forecast(TaskGraph(tasks), Machine((0, 0, 0)), "t")))
    assert found["replicas"] == {"moved": [1, 100], "held": [4, 400]}
    assert [item["holders"] for item in found["tasks"]] == [[0, 1], [], [1, 2], []]
    assert "replicas" not in text(forecast(TaskGraph([task(0)]), Machine((0, 0)), "t"))


# Runs

def survivors(network, plan, seed):
    """Let ranks die so that each replicated block that came to all its holders is left with one at least."""
    chance = random.Random(seed)
    alive = set(range(network.size))
    for rank in chance.sample(sorted(alive), len(alive)):
        if all(set(ranks) & alive - {rank} for block, ranks in network.peers[0].plan.holders.items()
               if all(block in network.came[holder] for holder in ranks)) and len(alive) > 1:
            alive.discard(rank)
    return alive


def made_again(network, alive):
    """The tasks that run again or for the first time when the others are dead."""
    holdings = [Holding(rank, tuple((block, 8) for block in sorted(network.held(rank))) if rank in alive else ())
                for rank in range(network.size)]
    left, _ = reuse(network.plan.graph, holdings)
    return {number for number, item in enumerate(left.tasks) if item.kind not in (Kind.RESTORE, Kind.KEPT)}


@pytest.mark.parametrize("seed", SEEDS[::3])
def test_whoever_dies_whenever_what_a_living_rank_holds_is_not_made_again(seed):
    size, drift = 2 + seed % 6, seed % 3 == 0
    plan = random_plan(seed, size, SOME)
    chance = random.Random(seed)

    def look(network):
        holders = network.peers[0].plan.holders
        if chance.random() < 0.1 and len({peer.plan.digest for peer in network.peers}) == 1:
            safe = {block for block, ranks in holders.items() if ranks and all(block in network.came[rank] for rank in ranks)}
            alive = survivors(network, plan, chance.random())
            assert not safe & made_again(network, alive), (safe, alive)

    network = FakeNetwork(plan, machine_of_size(size), seed, number_of, drift=drift, watch=look)
    network.run()
    assert network.produced == expected(plan)
    assert sorted(network.ran) == list(range(len(plan.graph.tasks)))
    assert all(not values for values in network.values), "nothing but copies is left"
    if not drift:
        assert len(set(network.transfers)) == len(network.transfers), "a block goes to a rank once"
        moved = {(block, rank) for block, route in enumerate(plan.routes) for _, rank in route}
        assert {(block, rank) for block, _, rank in network.transfers} == moved
    for block, ranks in network.peers[0].plan.holders.items():
        assert all(block in network.came[rank] for rank in ranks), "all holders have had it"
    for rank, copies in enumerate(network.copies):
        assert all(rank in network.peers[0].plan.holders[block] for block in copies.replicas) and not copies.popular


def test_some_of_these_runs_placed_replicated_blocks_anew():
    moved = 0
    for seed in SEEDS[::5]:
        size = 2 + seed % 6
        plan = random_plan(seed, size, SOME)
        network = FakeNetwork(plan, machine_of_size(size), seed, number_of, drift=True)
        network.run()
        moved += network.peers[0].plan.holders != plan.holders
    assert moved > 2


def num_made_again(seed, replicas=(1,), spare=0):
    """How many tasks run a second time when a rank dies, for each rank at several moments of a run."""
    size = 3 + seed % 4
    found = []

    def look(network):
        if network.chance.random() < 0.05:
            for dead in range(size):
                found.append(len(made_again(network, set(range(size)) - {dead}) & set(network.ran)))

    plan = random_plan(seed, size, replicas)
    FakeNetwork(plan, machine_of_size(size), seed, number_of, spare=spare, watch=look).run()
    return sum(found) / max(len(found), 1)


def test_replicas_of_all_leave_only_ends_and_what_is_under_way_to_be_made_again():
    without, half, with_replicas = (sum(num_made_again(seed, num) for seed in range(20)) for num in ((1,), (1, 2), (2,)))
    assert with_replicas < without / 4 and with_replicas < half < without, (without, half, with_replicas)


def test_copies_of_popular_blocks_leave_less_to_be_made_again():
    without, few, all_of_them = (sum(num_made_again(seed, spare=spare) for seed in range(20)) for spare in (0, 16, 10_000))
    assert all_of_them < few < without, (without, few, all_of_them)


@pytest.mark.parametrize("seed", SEEDS[::6])
def test_failures_and_stops_end_runs_with_replicas_alike_on_all_ranks(seed):
    size, drift, keep_going = 2 + seed % 6, seed // 8 % 2 == 1, seed // 16 % 2 == 1
    plan = random_plan(seed, size, SOME)
    broken = {random.Random(seed).randrange(len(plan.graph.tasks))} if seed % 2 else set()
    network = FakeNetwork(plan, machine_of_size(size), seed, failing(broken), keep_going, drift, stops=seed % 3)
    network.run()
    states = check_that_all_know_the_same(network, plan)
    assert broken or network.asked or set(states) == {State.DONE}


@pytest.mark.parametrize("seed", SEEDS[::6])
def test_popular_blocks_are_kept_until_all_have_read_them_and_never_take_more_than_there_is_to_spare(seed):
    size, drift = 2 + seed % 6, seed % 2 == 1
    plan = random_plan(seed, size)
    kept = set()

    def look(network):
        for rank, copies in enumerate(network.copies):
            tasks = network.peers[rank].catalog.tasks
            assert 8 * len(copies.popular) <= network.spare
            for block in copies.popular:
                kept.add(block)
                assert any(tasks[reader].state is not State.DONE for reader in plan.graph.consumers[block])

    network = FakeNetwork(plan, machine_of_size(size), seed, number_of, drift=drift, spare=8 * (1 + seed % 5), watch=look)
    network.run()
    assert network.produced == expected(plan)
    assert all(not copies.popular and not copies.replicas for copies in network.copies)
    assert all(len(plan.graph.consumers[block]) > 1 for block in kept)

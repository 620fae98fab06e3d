"""Parallel operations: which ranks run them on which blocks, and that no two ever wait for each other, whatever happens when."""

import random

import pytest
import yaml
from fake_network import FakeNetwork
from test_interleavings import expected, failing, machine_of_size, number_of

from mpiflow.catalog.states import State
from mpiflow.errors import DocumentError
from mpiflow.operations.operation import operation
from mpiflow.operations.registry import builtin_operations
from mpiflow.planning.lowering import lower
from mpiflow.planning.plan import make_plan
from mpiflow.planning.tasks import Input, Kind, Part, Task, TaskGraph, recipe_id
from mpiflow.planning.teams import side_by_side
from mpiflow.workflow.reading import read_workflow

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


# What the document says

@operation(parallel=True)
def turn(x, y, comm, by=1):
    return x


@operation(parallel="first")
def close(x, comm):
    return None


REGISTRY = builtin_operations() | {item.name: item for item in (turn, close)}


def lowered(steps, size, **datasets):
    sources = {name: {"random": {"shape": [80], "seed": ord(name[0])}, **dataset} for name, dataset in datasets.items()}
    document = {"mpiflow": 1, "name": "w", "datasets": sources, "steps": steps}
    return lower(read_workflow(yaml.safe_dump(document), "w.yaml"), REGISTRY, (), size)


def parts_of(graph, step):
    return [task for task in graph.tasks if task.step == step]


def test_each_member_gets_its_share_of_the_blocks_and_one_block_goes_to_all():
    graph = lowered({"t": {"run": "turn", "in": {"x": "a", "y": "b"}, "ranks": 3}}, 4, a={"blocks": 8}, b={})
    shares = [[graph.tasks[task].block.start for task in part.inputs[0].tasks] for part in parts_of(graph, "t")]
    assert shares == [[0, 10], [20, 30, 40], [50, 60, 70]]
    assert len({part.inputs[1].tasks for part in parts_of(graph, "t")}) == 1
    assert len(graph.datasets["t"].tasks) == 3


def test_only_the_first_part_is_the_dataset_if_it_is_declared_so():
    graph = lowered({"t": {"run": "close(a)", "ranks": 2}}, 2, a={"blocks": 2})
    assert [graph.tasks[task].part.number for task in graph.datasets["t"].tasks] == [0]


def test_operations_that_can_run_side_by_side_do_and_sources_are_loaded_where_they_are_read():
    steps = {name: {"run": f"close({source})", "ranks": 2} for name, source in [("s", "a"), ("t", "b")]}
    graph = lowered(steps | {"u": {"run": "turn(s2, s2)", "ranks": 2}, "s2": {"run": "turn(b, b)", "ranks": 2}}, 5,
                    a={"blocks": 4}, b={"blocks": 4})
    assert [part.ranks for part in parts_of(graph, "s")] == [(0,), (1,)]
    assert {part.ranks for step in ("t", "s2") for part in parts_of(graph, step)} >= {(2,), (3,)}
    assert [part.ranks for part in parts_of(graph, "u")] == [part.ranks for part in parts_of(graph, "s2")], "its inputs are there"
    assert [task.ranks for task in parts_of(graph, "a")] == [(0,), (0,), (1,), (1,)]


def test_the_same_operation_on_the_same_blocks_is_one_and_depends_on_the_blocks_of_all():
    steps = {name: {"run": f"turn({x}, c)", "ranks": 2} for name, x in [("s", "a"), ("t", "a"), ("u", "concatenate(a1, b2)")]}
    graph = lowered(steps, 2, a={"blocks": 2}, a1={"blocks": 1, "random": {"shape": [40]}},
                    b2={"random": {"shape": [40], "seed": 1}}, c={})
    assert graph.datasets["s"].id == graph.datasets["t"].id
    assert not {task.id for task in parts_of(graph, "s")} & {task.id for task in parts_of(graph, "u")}


# On the ranks that hold a dataset

def on_holders(run, size, more=None, **datasets):
    """The ranks of an operation on holders, the datasets and the steps that its own blocks are of, and the graph."""
    graph = lowered({**(more or {}), "t": {"run": run, "ranks": "holders"}}, size, **datasets)
    parts = [task for task in graph.tasks if task.step == "t" and task.part is not None]
    assert all(part.ranks == (part.part.ranks[number],) for number, part in enumerate(parts))
    return parts[0].part.ranks, [part.inputs[0].tasks for part in parts], graph


@pytest.mark.parametrize(("size", "ranks", "nums"), [(1, (0,), [8]), (3, (0, 1, 2), [3, 3, 2]), (16, tuple(range(8)), [1] * 8)])
def test_what_any_rank_can_load_is_shared_out_evenly_and_loaded_where_it_is_used(size, ranks, nums):
    found, shares, graph = on_holders("close(square(a + 1))", size, a={"blocks": 8})
    assert found == ranks and list(map(len, shares)) == nums
    assert sum(shares, ()) == tuple(sorted(sum(shares, ()))), "in the order of blocks"
    place = {task: rank for rank, tasks in zip(found, shares, strict=True) for task in tasks}
    for task, rank in place.items():
        while task is not None:
            assert graph.tasks[task].ranks == (rank,)
            task = next(iter(graph.tasks[task].needs), None)


def test_holders_of_what_is_bound_are_its_ranks_and_the_one_with_the_first_block_comes_first():
    ranks, shares, _ = on_holders("close(concatenate(a, sqrt(b)))", 4, a={"blocks": 2, "rank": 3}, b={"blocks": 3, "rank": 1})
    assert ranks == (3, 1) and list(map(len, shares)) == [2, 3]
    assert on_holders("close(a)", 4, a={"rank": 2})[0] == (2,)


def test_what_a_parallel_operation_has_made_stays_on_its_ranks():
    steps = {"s": {"run": "turn(b, b)", "ranks": 2}, "u": {"run": "turn(a, a)", "ranks": 2}}
    ranks, _, graph = on_holders("close(absolute(u))", 5, steps, a={"blocks": 4}, b={"blocks": 2})
    assert [part.ranks[0] for part in parts_of(graph, "u")] == list(ranks)
    assert {part.ranks for part in parts_of(graph, "s")}.isdisjoint({part.ranks for part in parts_of(graph, "u")})


def test_many_blocks_made_of_few_are_shared_out_with_what_is_made_for_one_of_them():
    steps = {"s": {"for": {"i": "range(6)"}, "run": "sort(a * $i)"}}
    ranks, shares, graph = on_holders("close(s)", 4, steps, a={})
    assert ranks == (0, 1, 2, 3) and list(map(len, shares)) == [2, 1, 2, 1]
    assert all(graph.tasks[graph.tasks[task].needs[0]].ranks == graph.tasks[task].ranks for tasks in shares for task in tasks)
    assert parts_of(graph, "a")[0].ranks is None


def test_several_such_operations_have_ranks_of_their_own_while_there_are_some():
    steps = {"s": {"run": "close(a)", "ranks": "holders"}}
    ranks, _, graph = on_holders("close(b)", 4, steps, a={"blocks": 2}, b={"blocks": 2})
    assert parts_of(graph, "s")[0].part.ranks == (0, 1) and ranks == (2, 3)


def test_other_datasets_follow_the_first_one_block_by_block():
    ranks, _, graph = on_holders("turn(y=c, x=a)", 2, a={"blocks": 2, "rank": 1}, c={"blocks": 2})
    assert ranks == (1,) and [task.ranks for task in parts_of(graph, "c")] == [(1,), (1,)]
    ranks, _, graph = on_holders("turn(sum(a), c)", 2, a={"blocks": 2}, c={"blocks": 2})
    assert ranks == (0, 1) and len({part.inputs[0].tasks for part in parts_of(graph, "t") if part.part}) == 1


def test_the_id_of_what_holders_make_follows_from_which_blocks_they_hold_not_from_their_ranks():
    ids = {(rank, size): on_holders("close(concatenate(a, b))", size, a={"blocks": 2, "rank": rank}, b={"rank": 0})[2]
           .datasets["t"].id for rank, size in [(1, 2), (2, 3), (2, 2), (0, 2)]}
    assert ids[1, 2] == ids[2, 3] and ids[2, 2] == ids[0, 2] != ids[1, 2]


@pytest.mark.parametrize(("step", "size", "message"), [
    ({"run": "turn(a, a)"}, 2, "turn is a parallel operation and has no 'ranks'"),
    ("sum(turn(a, a))", 2, "turn is a parallel operation and stands inside an expression"),
    ({"run": "sum(a)", "ranks": 2}, 2, "'ranks' belongs to a parallel operation, @operation(parallel=True); sum is none"),
    ({"run": "a + a", "ranks": 2}, 2, "'ranks' belongs to a parallel operation"),
    ({"run": "turn(a, a)", "ranks": 3}, 2, "step 's' needs 3 ranks at once, and there are only 2"),
    ({"run": "close(a)", "ranks": 3}, 4, "'ranks: 3' shares out whole blocks, and an argument has 2; give it at least 3"),
    ({"run": "close(a)", "ranks": 2, "retries": 1}, 2, "'retries' is not possible with 'ranks'"),
    ({"run": "close(a)", "ranks": 2, "on-error": "continue"}, 2, "'on-error' is not possible with 'ranks'"),
    ({"run": "close(a)", "ranks": 0}, 2, "'ranks' must be a whole number from 1 to 1000000 or holders, not 0"),
    ({"run": "close(a)", "ranks": "holder"}, 2, "or holders, not 'holder'; did you mean 'holders'?"),
    ({"run": "close(3)", "ranks": "holders"}, 2, "and close is given no dataset; say how many: 'ranks: 2'"),
    ({"run": "turn(a, concatenate(a, a))", "ranks": "holders"}, 2, "of its blocks of 'x', and they have 4 and 2; cut both alike"),
    ({"run": "close(a)", "ranks": "holders", "retries": 1}, 2, "'retries' is not possible with 'ranks'"),
    ({"run": "close(a, comm=a)", "ranks": 2}, 2, "close has no argument 'comm'"),
])
def test_what_does_not_fit_is_refused_where_it_is_written(step, size, message):
    with pytest.raises(DocumentError) as caught:
        lowered({"s": step}, size, a={"blocks": 2})
    (problem,) = caught.value.problems
    assert message in problem.message and problem.line > 0


@pytest.mark.parametrize(("declared", "message"), [
    ({"parallel": True}, "parallel needs an argument named 'comm'"),
    ({"parallel": "all"}, "parallel must be True or 'first'"),
    ({"parallel": True, "linear": True}, "neither linear nor elementwise"),
])
def test_declarations_that_contradict_each_other_are_refused(declared, message):
    with pytest.raises(ValueError, match=message):
        operation(**declared)((lambda x: x) if declared == {"parallel": True} else turn.function)

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


@pytest.mark.parametrize(("step", "size", "message"), [
    ({"run": "turn(a, a)"}, 2, "turn is a parallel operation and has no 'ranks'"),
    ("sum(turn(a, a))", 2, "turn is a parallel operation and stands inside an expression"),
    ({"run": "sum(a)", "ranks": 2}, 2, "'ranks' belongs to a parallel operation, @operation(parallel=True); sum is none"),
    ({"run": "a + a", "ranks": 2}, 2, "'ranks' belongs to a parallel operation"),
    ({"run": "turn(a, a)", "ranks": 3}, 2, "step 's' needs 3 ranks at once, and there are only 2"),
    ({"run": "close(a)", "ranks": 3}, 4, "'ranks: 3' shares out whole blocks, and an argument has 2; give it at least 3"),
    ({"run": "close(a)", "ranks": 2, "retries": 1}, 2, "'retries' is not possible with 'ranks'"),
    ({"run": "close(a)", "ranks": 2, "on-error": "continue"}, 2, "'on-error' is not possible with 'ranks'"),
    ({"run": "close(a)", "ranks": 0}, 2, "'ranks' must be a whole number from 1 to 1000000, not 0"),
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

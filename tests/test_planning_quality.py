"""How good plans are: against the best of all, against local placement, against the lower bound."""

import itertools
import random
import statistics
from collections import Counter

import pytest

from mpiflow.planning.bounds import lower_bounds
from mpiflow.planning.machine import Machine
from mpiflow.planning.plan import make_plan
from mpiflow.planning.routes import make_routes
from mpiflow.planning.tasks import Input, Kind, Task, TaskGraph, recipe_id
from mpiflow.planning.timeline import run
from mpiflow.planning.workload import workload

MB = 1_000_000


def task(number, needs=(), nbytes=0, seconds=1.0, ranks=None):
    inputs = tuple(Input("", (needed,)) for needed in needs)
    return Task(recipe_id(number), Kind.APPLY, f"s{number}", "f", inputs, nbytes=nbytes, seconds=seconds, ranks=ranks)


# Against the best of all

def small(seed):
    """At most 6 tasks on 2 or 3 ranks; moving a block takes about as long as a task."""
    chance = random.Random(seed)
    num, size = chance.randint(3, 6), chance.choice((2, 2, 3))
    tasks = []
    for number in range(num):
        needs = chance.sample(range(number), min(number, chance.choice((0, 1, 1, 2, 2, 3))))
        tasks.append(task(number, needs, int(chance.uniform(100, 1500) * MB), chance.uniform(0.2, 2.0)))
    return TaskGraph(tasks), Machine((0,) * size, bandwidth=(1e9, 1e9))


def optimum(graph, machine):
    """The least simulated makespan over all ranks of all tasks and all orders on each rank; ranks are alike."""
    work, num, best = workload(graph, machine), len(graph.tasks), float("inf")
    for ranks in itertools.product(range(machine.size), repeat=num):
        first = list(dict.fromkeys(ranks))
        if first == list(range(len(first))):
            routes = make_routes(work, ranks)
            own = [[number for number in range(num) if ranks[number] == rank] for rank in range(machine.size)]
            for orders in itertools.product(*map(itertools.permutations, own)):
                best = min(best, run(work, ranks, list(itertools.chain(*orders)), routes).seconds)
    return best


def test_plans_of_small_graphs_are_near_the_best_of_all():
    cases = [small(seed) for seed in range(200)]
    ratios = [make_plan(*case).seconds / optimum(*case) for case in cases]
    assert min(ratios) > 0.999999
    assert statistics.mean(ratios) <= 1.10 and max(ratios) <= 1.5


# Much data: as 1000Genome, where many tasks read one large input

def genome(chromosomes, individuals, size):
    tasks, chance = [], random.Random(1)

    def add(needs, nbytes, seconds, ranks=None):
        tasks.append(task(len(tasks), needs, nbytes, seconds, ranks))
        return len(tasks) - 1

    populations = [add((), 30_000, 0.001) for _ in range(3)]
    for chromosome in range(chromosomes):
        here = (chromosome % size,)
        large, annotation = add((), 300 * MB, 0.15, here), add((), 15 * MB, 0.02, here)
        parts = [add((large,), MB // 3, chance.uniform(0.8, 1.2)) for _ in range(individuals)]
        merged, sifted = add(parts, individuals * MB // 20, 1.0), add((annotation,), MB // 5, 0.3)
        for population in populations:
            add((merged, sifted, population), MB // 5, 0.5)
            add((merged, sifted, population), MB // 10, 1.5)
    return TaskGraph(tasks), Machine((0,) * size)


def local_bytes(graph, machine):
    """What moves if each task runs where most of its input bytes lie."""
    ranks = []
    for number, item in enumerate(graph.tasks):
        held = Counter()
        for needed in item.needs:
            held[ranks[needed]] += graph.tasks[needed].nbytes
        home = number % machine.size if not held else min(held, key=lambda rank: (-held[rank], rank))
        ranks.append(item.ranks[0] if item.ranks else home)
    routes = make_routes(workload(graph, machine), ranks)
    return sum(len(route) * item.nbytes for route, item in zip(routes, graph.tasks, strict=True))


@pytest.mark.parametrize(("chromosomes", "individuals", "size"), [
    (2, 20, 2), (10, 20, 2), (10, 50, 2), (10, 25, 5), (10, 50, 10)])
def test_tasks_stay_with_their_large_input_when_that_is_no_loss(chromosomes, individuals, size):
    graph, machine = genome(chromosomes, individuals, size)
    plan = make_plan(graph, machine)
    work = [0.0] * size
    for rank, item in zip(plan.ranks, graph.tasks, strict=True):
        work[rank] += item.seconds
    assert plan.nbytes <= 1.2 * local_bytes(graph, machine)
    assert max(work) <= 1.15 * sum(work) / size


@pytest.mark.parametrize(("chromosomes", "size"), [(10, 4), (10, 8), (22, 8)])
def test_large_inputs_move_where_ranks_would_idle_but_not_often(chromosomes, size):
    graph, machine = genome(chromosomes, 25, size)
    plan = make_plan(graph, machine)
    assert plan.seconds <= 1.05 * lower_bounds(workload(graph, machine)).seconds
    assert plan.nbytes <= 300 * MB * 1.5 * chromosomes


# Shapes of recorded workflows

def variants(samples, regions, size):
    """As SoyKB: chains per sample, a task for each sample and region, one for each region, one long one over all."""
    chance, tasks, called = random.Random(2), [], []

    def add(needs, nbytes, seconds):
        tasks.append(task(len(tasks), needs, nbytes, seconds))
        return len(tasks) - 1

    for _ in range(samples):
        last = add((), MB, 0.01)
        for _ in range(5):
            last = add((last,), MB, chance.uniform(0.005, 0.08))
        called.append([add((last,), MB // 10, chance.uniform(0.05, 0.18)) for _ in range(regions)])
    merged = [add([row[region] for row in called], MB // 10, 0.11) for region in range(regions)]
    add([number for row in called for number in row], MB, 2.2)
    joined = add(merged, MB // 10, 0.005)
    for _ in range(2):
        add((add((joined,), MB // 10, 0.11),), MB // 10, 0.06)
    return TaskGraph(tasks), Machine((0,) * size)


@pytest.mark.parametrize("size", [2, 4])
def test_a_recorded_shape_takes_little_longer_than_the_lower_bound(size):
    graph, machine = variants(5, 10, size)
    assert make_plan(graph, machine).seconds <= 1.05 * lower_bounds(workload(graph, machine)).seconds


@pytest.mark.parametrize("size", [2, 4, 8])
def test_no_more_moves_than_round_robin_would_move(size):
    for graph, machine in (variants(5, 10, size), genome(5, 20, size)):
        ranks = [item.ranks[0] if item.ranks else number % size for number, item in enumerate(graph.tasks)]
        routes = make_routes(workload(graph, machine), ranks)
        assert make_plan(graph, machine).nbytes <= sum(
            len(route) * item.nbytes for route, item in zip(routes, graph.tasks, strict=True))

"""Routes: a block reaches every rank that needs it, once, over the fewest network links."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiflow.planning.machine import Machine
from mpiflow.planning.plan import make_plan
from mpiflow.planning.routes import spread
from mpiflow.planning.tasks import Input, Kind, Task, TaskGraph, recipe_id

law = settings(derandomize=True, deadline=None)


@st.composite
def spreads(draw):
    size = draw(st.integers(2, 40))
    nodes = [rank // draw(st.sampled_from([1, 3, 8, 40])) for rank in range(size)]
    ranks = draw(st.lists(st.integers(0, size - 1), min_size=2, unique=True))
    num = draw(st.integers(1, len(ranks) - 1))
    return sorted(ranks[:num]), sorted(ranks[num:]), nodes


@law
@given(spreads())
def test_each_destination_gets_the_block_once_and_nobody_else_gets_it(case):
    origins, destinations, nodes = case
    assert sorted(rank for _, rank in spread(origins, destinations, nodes)) == destinations


@law
@given(spreads())
def test_whoever_sends_has_the_block_before(case):
    origins, destinations, nodes = case
    having = set(origins)
    for source, destination in spread(origins, destinations, nodes):
        assert source in having
        having.add(destination)


@law
@given(spreads())
def test_a_node_gets_the_block_over_the_network_once_and_not_at_all_if_it_has_a_copy(case):
    origins, destinations, nodes = case
    across = Counter(nodes[rank] for source, rank in spread(origins, destinations, nodes) if nodes[source] != nodes[rank])
    if len(origins) > 1 or len(destinations) > 2:
        assert all(num == 1 and node not in {nodes[rank] for rank in origins} for node, num in across.items())


def depth(edges, origins):
    """How many times a block is passed on, at most, if everyone sends one block at a time."""
    times, sent = dict.fromkeys(origins, 0), Counter()
    for source, destination in edges:
        sent[source] += 1
        times[destination] = max(times[source], sent[source] - 1) + 1
    return max(times.values())


@pytest.mark.parametrize("destinations", [[1], [1, 2]])
def test_one_or_two_destinations_are_served_by_the_producer(destinations):
    assert spread([0], destinations, [0, 1, 1]) == tuple((0, rank) for rank in destinations)


@pytest.mark.parametrize(("size", "rounds"), [(4, 2), (8, 3), (64, 6), (65, 7)])
def test_a_tree_on_one_node_has_as_many_rounds_as_the_number_of_ranks_has_doublings(size, rounds):
    assert depth(spread([0], list(range(1, size)), [0] * size), [0]) <= rounds


def test_several_copies_share_the_work():
    sources = Counter(source for source, _ in spread([0, 1, 2, 3], [4, 5, 6, 7], [0] * 8))
    assert sources == {0: 1, 1: 1, 2: 1, 3: 1}


def test_a_copy_on_the_same_node_is_preferred():
    assert spread([0, 5], [1, 4], [0, 0, 0, 1, 1, 1]) == ((0, 1), (5, 4))


def test_a_plan_has_a_tree_for_a_block_that_many_ranks_need():
    tasks = [Task(recipe_id(0), Kind.LOAD, "d", nbytes=100, ranks=(2,))] + [
        Task(recipe_id(1 + rank), Kind.APPLY, "s", "f", (Input("", (0,)),), ranks=(rank,)) for rank in range(8)]
    plan = make_plan(TaskGraph(tasks), Machine((0, 0, 0, 0, 1, 1, 1, 1)))
    assert plan.routes[0] == ((2, 4), (2, 0), (2, 1), (0, 3), (4, 5), (4, 6), (5, 7))
    assert plan.destinations[0] == (0, 1, 3, 4, 5, 6, 7)
    assert plan.links[2, 0] == (1, 100) and plan.nbytes == 700 == sum(nbytes for _, nbytes in plan.links.values())

"""Copies that a rank keeps for the case that others die: which, for how long, and how much memory they take."""

import numpy as np
import pytest

from mpiflow.catalog.catalog import Catalog
from mpiflow.catalog.entries import Delta, TaskEntry, pack
from mpiflow.catalog.states import State
from mpiflow.peer.copies import Copies
from mpiflow.planning.machine import Machine
from mpiflow.planning.plan import make_plan
from mpiflow.planning.tasks import Input, Kind, Task, TaskGraph, recipe_id

X = np.zeros(100, np.uint8)


def planned(*needs, ranks, replicas=()):
    """A plan in which each task needs others and runs on a given rank, those in ``replicas`` with two replicas."""
    return make_plan(TaskGraph([
        Task(recipe_id(number), Kind.APPLY, "s", "f", tuple(Input("", (need,)) for need in before), ranks=(rank,), nbytes=100,
             replicas=2 if number in replicas else 1)
        for number, (before, rank) in enumerate(zip(needs, ranks, strict=True))]), Machine((0, 0)))


def copies_of(plan, rank, spare=1000):
    catalog = Catalog(len(plan.graph.tasks), 2, plan.digest)
    return Copies(rank, plan.graph, catalog, spare), catalog


def tell(copies, catalog, *tasks):
    """All ranks hear that ``tasks`` are done."""
    deltas = [Delta(0, 0, tasks=tuple(TaskEntry(task, state=State.DONE) for task in tasks if task % 2)),
              Delta(1, 0, done=b"".join(pack(task, 0, 0.0, 0.0, 8) for task in tasks if not task % 2))]
    catalog.epoch(deltas)
    copies.heard(deltas)


def test_what_neither_went_to_others_nor_is_a_replica_is_not_kept():
    plan = planned((), (0,), (0,), ranks=(0, 0, 0))
    copies, _ = copies_of(plan, 0)
    copies.take(0, X, plan)
    assert not copies.popular and not copies.replicas


def test_a_block_with_one_reader_is_not_popular():
    plan = planned((), (0,), ranks=(0, 1))
    copies, _ = copies_of(plan, 0)
    copies.take(0, X, plan)
    assert not copies.popular


@pytest.mark.parametrize("rank", [0, 1])
def test_a_popular_block_is_kept_where_it_was_made_and_where_it_went_until_all_have_read_it(rank):
    plan = planned((), (0,), (0,), ranks=(0, 0, 1))
    copies, catalog = copies_of(plan, rank)
    copies.take(0, X, plan)
    assert list(copies.popular) == [0]
    tell(copies, catalog, 0, 2)
    assert list(copies.popular) == [0]
    tell(copies, catalog, 1)
    assert not copies.popular


def test_a_popular_block_that_all_have_read_is_not_kept_at_all():
    plan = planned((), (0,), (0,), ranks=(0, 0, 1))
    copies, catalog = copies_of(plan, 0)
    tell(copies, catalog, 0, 1, 2)
    copies.take(0, X, plan)
    assert not copies.popular


def test_the_oldest_popular_blocks_make_room_and_one_that_is_too_large_makes_none():
    plan = planned((), (), (), (0, 1, 2), (0, 1, 2), ranks=(0, 0, 0, 0, 1))
    copies, _ = copies_of(plan, 0, spare=250)
    for block in (0, 1, 2):
        copies.take(block, X, plan)
    assert list(copies.popular) == [1, 2]
    copies.take(0, np.zeros(251, np.uint8), plan)
    assert list(copies.popular) == [1, 2]
    copies.take(1, X, plan)                     # a block may come twice
    assert list(copies.popular) == [2, 1]


def test_without_spare_memory_nothing_is_popular_but_replicas_are_kept():
    plan = planned((), (0,), (0,), ranks=(0, 0, 1), replicas=(0,))
    copies, catalog = copies_of(plan, 0, spare=0)
    copies.take(0, X, plan)
    tell(copies, catalog, 0, 1, 2)
    assert list(copies.replicas) == [0] and not copies.popular


def test_a_replica_goes_when_all_that_is_made_of_it_is_held_here_and_only_then():
    plan = planned((), (0,), (0,), (1,), (2,), ranks=(0,) * 5, replicas=(0, 1, 2))
    copies, _ = copies_of(plan, 0)
    for block, left in ((0, [0]), (1, [0, 1]), (2, [1, 2]), (2, [1, 2])):
        copies.take(block, X, plan)
        assert list(copies.replicas) == left and copies.nbytes == 100 * len(left)
    copies.clear()
    assert not copies.replicas and not copies.popular


def test_a_replica_that_comes_after_all_that_is_made_of_it_is_not_kept():
    plan = planned((), (0,), ranks=(0, 0), replicas=(0, 1))
    copies, _ = copies_of(plan, 0)
    for block in (1, 0):
        copies.take(block, X, plan)
    assert list(copies.replicas) == [1]

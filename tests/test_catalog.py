"""The catalog: however news arrives, in whatever order and how often, every replica becomes the same."""

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiflow.catalog.catalog import Catalog, DatasetEntry, merge_sources
from mpiflow.catalog.entries import Delta, SourceEntry, TaskEntry, Traffic
from mpiflow.catalog.states import State

law = settings(derandomize=True, deadline=None)
NUM = 5
entries = st.builds(
    TaskEntry, task=st.integers(0, NUM - 1), attempt=st.integers(0, 2), state=st.sampled_from(State), rank=st.integers(-1, 3),
    start=st.sampled_from([0.0, 1.5]), nbytes=st.integers(0, 3), error=st.sampled_from(["", "boom"]))
histories = st.lists(entries, max_size=12)


def catalog(size=2):
    return Catalog(NUM, size, "0123456789abcdef" * 2)


def merged(history):
    replica = catalog()
    for entry in history:
        replica.merge(entry)
    return replica


def knows(replica):
    return replica.tasks, replica.num_open, replica.failed


# Merge

@law
@given(histories, st.randoms(use_true_random=False))
def test_any_order_with_any_repetitions_gives_the_same_catalog(history, chance):
    again = history + chance.choices(history, k=5) if history else []
    chance.shuffle(again)
    assert knows(merged(again)) == knows(merged(history))


@law
@given(histories)
def test_merging_again_is_no_news_and_changes_nothing(history):
    replica = merged(history)
    before = list(replica.tasks)
    assert not any(replica.merge(entry) for entry in history)
    assert replica.tasks == before


@law
@given(histories, histories)
def test_merging_replicas_does_not_depend_on_which_goes_first(one, other):
    left, right = merged(one), merged(other)
    for entry in right.tasks:
        left.merge(entry)
    for entry in merged(one).tasks:
        right.merge(entry)
    assert knows(left) == knows(right)


@law
@given(histories, entries)
def test_an_entry_never_goes_back(history, entry):
    replica = merged(history)
    before = replica.tasks[entry.task]
    replica.merge(entry)
    assert replica.tasks[entry.task] == max(before, entry)


@law
@given(histories)
def test_counts_are_what_a_recount_gives(history):
    replica = merged(history)
    assert replica.num_open == sum(not entry.state.final for entry in replica.tasks)
    assert replica.failed == [entry.task for entry in replica.tasks if entry.state is State.FAILED]


@law
@given(histories, histories)
def test_the_digest_is_the_same_exactly_if_the_same_was_heard(one, other):
    left, right = catalog(), catalog()
    left.epoch([delta(0, *one)])
    right.epoch([delta(0, *other)])
    assert (left.digest == right.digest) == (one == other)


def test_the_digest_depends_on_the_order_of_epochs():
    left, right = catalog(), catalog()
    for replica, ranks in ((left, (0, 1)), (right, (1, 0))):
        for rank in ranks:
            replica.epoch([delta(rank)])
    assert left.digest != right.digest


def test_the_digest_changes_with_the_plan_that_is_followed():
    replica = catalog()
    before = replica.digest
    replica.follow("1" * 32)
    assert replica.digest != before


def test_the_digest_covers_the_plan():
    assert Catalog(NUM, 2, "0" * 32).digest != Catalog(NUM, 2, "1" + "0" * 31).digest


def test_a_second_attempt_reopens_a_failed_task():
    replica = merged([TaskEntry(1, state=State.FAILED, rank=0), TaskEntry(1, attempt=1)])
    assert (replica.num_open, replica.failed) == (NUM, [])


# Epochs

def delta(rank, *news, settled=False, received=0, sent=()):
    return Delta(rank, 0, settled, Traffic(received, sent), news)


def test_an_epoch_gives_the_news_only():
    replica = catalog()
    replica.merge(TaskEntry(0, state=State.RUNNING, rank=0))
    news = replica.epoch([delta(0, TaskEntry(0, state=State.RUNNING, rank=0)), delta(1, TaskEntry(1, state=State.DONE, rank=1))])
    assert [entry.task for entry in news] == [1]


def test_every_epoch_makes_a_version():
    replica = catalog()
    replica.epoch([delta(0), delta(1)])
    replica.epoch([delta(0), delta(1)])
    assert replica.version == 2


def test_traffic_never_goes_back():
    replica = catalog()
    replica.epoch([delta(0, received=3), delta(1)])
    replica.epoch([delta(0, received=2), delta(1)])
    assert replica.traffic[0].received == 3


def done(first, last):
    return [TaskEntry(task, state=State.DONE, rank=0) for task in range(first, last)]


@pytest.mark.parametrize(("deltas", "quiet"), [
    ([delta(0, *done(0, NUM), settled=True), delta(1, settled=True)], True),
    ([delta(0, *done(1, NUM), settled=True), delta(1, settled=True)], False),
    ([delta(0, *done(0, NUM), settled=True), delta(1)], False),
    ([delta(0, *done(0, NUM), settled=True, sent=((1, 1, 8),)), delta(1, settled=True)], False),
    ([delta(0, *done(0, NUM), settled=True, sent=((1, 1, 8),)), delta(1, settled=True, received=1)], True),
], ids=["all done", "one task open", "one rank not settled", "one block under way", "the block arrived"])
def test_quiet_means_that_nothing_runs_and_nothing_is_under_way(deltas, quiet):
    replica = catalog()
    replica.epoch(deltas)
    assert replica.quiet is quiet


def test_an_empty_workflow_is_quiet_when_all_ranks_have_said_so():
    replica = Catalog(0, 2, "")
    assert not replica.quiet
    replica.epoch([delta(0, settled=True), delta(1, settled=True)])
    assert replica.quiet


# Queries

def with_datasets():
    return Catalog(NUM, 2, "", [
        DatasetEntry("traj", "id1", "dataset", (0, 1), "nm", ("md",)),
        DatasetEntry("mean", "id2", "step", (2,), "nm", ("md", "result")),
        DatasetEntry("bins", "id3", "step", (3, 4))])


@pytest.mark.parametrize(("query", "names"), [
    ({}, ["bins", "mean", "traj"]), ({"name": "traj"}, ["traj"]), ({"tag": "md"}, ["mean", "traj"]),
    ({"made_by": "step"}, ["bins", "mean"]), ({"tag": "md", "made_by": "step"}, ["mean"]), ({"name": "none"}, []),
], ids=str)
def test_datasets_are_found_by_name_tag_and_origin_in_order_of_name(query, names):
    assert [entry.name for entry in with_datasets().find(**query)] == names


def test_holders_are_the_ranks_that_made_the_blocks():
    replica = with_datasets()
    replica.merge(TaskEntry(1, state=State.DONE, rank=1))
    replica.merge(TaskEntry(0, state=State.RUNNING, rank=0))
    assert replica.holders("traj") == (-1, 1)


# Sources

files = st.builds(
    SourceEntry, st.sampled_from(["a", "b"]), st.sampled_from(["/x", "/y"]), st.integers(1, 2), st.integers(1, 2), st.just(7),
    st.just((4,)), st.just("<f8"), st.just(""), st.integers(0, 3).map(lambda rank: (rank,)))


@law
@given(st.lists(files, max_size=12), st.randoms(use_true_random=False))
def test_sources_are_joined_in_any_order(seen, chance):
    again = seen + seen
    chance.shuffle(again)
    assert merge_sources(again) == merge_sources(seen)


@law
@given(st.lists(files, max_size=12))
def test_each_distinct_file_is_there_once_with_all_its_holders(seen):
    joined = merge_sources(seen)
    assert {(msgspec.structs.replace(entry, holders=()), rank) for entry in seen for rank in entry.holders} == {
        (msgspec.structs.replace(entry, holders=()), rank) for entry in joined for rank in entry.holders}
    assert len({msgspec.structs.replace(entry, holders=()) for entry in joined}) == len(joined)


@law
@given(st.lists(files, max_size=12))
def test_joined_sources_can_be_joined_again(seen):
    assert merge_sources(merge_sources(seen)) == merge_sources(seen)


def test_a_shared_file_has_one_entry_and_node_local_ones_of_one_name_have_several():
    seen = [SourceEntry("d", "/f", 8, mtime, 1, (1,), "<f8", "", (rank,)) for rank, mtime in enumerate([5, 5, 6, 5])]
    random.Random(1).shuffle(seen)
    assert [entry.holders for entry in merge_sources(seen)] == [(0, 1, 3), (2,)]

"""The catalog: however news arrives, in whatever order and how often, every replica becomes the same."""

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiflow.catalog.catalog import Catalog, DatasetEntry, merge_sources
from mpiflow.catalog.entries import Delta, SourceEntry, TaskEntry, Traffic, pack
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
    return list(replica.tasks), replica.num_open, replica.failed, set(replica.running)


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
    before = knows(replica)
    assert not any(replica.merge(entry) for entry in history)
    assert knows(replica) == before


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
    assert [entry.task for entry in news.entries] == [1]


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


# Records

records = st.builds(
    lambda *record: record, st.integers(0, NUM - 1), st.integers(0, 1), st.sampled_from([0.0, 1.5]), st.sampled_from([0.0, 2.0]),
    st.integers(0, 3))
FORMS = [(), (("", "<f8", (3,)),), (("x", "<i8", ()), ("y", "<i4", (2, 2)))]
told = st.builds(
    lambda rank, news, ended, forms: Delta(
        rank, 0, tasks=tuple(news), done=b"".join(pack(*record) for record in ended), forms=tuple(forms)),
    st.integers(0, 1), st.lists(entries, max_size=3), st.lists(records, max_size=6), st.permutations(FORMS))


@law
@given(st.lists(st.lists(told, min_size=1, max_size=3), max_size=4), st.randoms(use_true_random=False))
def test_records_merged_at_once_give_what_their_entries_give_one_by_one_in_any_order(epochs, chance):
    expected = merged([entry for deltas in epochs for delta in deltas for entry in (*delta.tasks, *delta.ended())])
    again = epochs + chance.choices(epochs, k=2) if epochs else []
    chance.shuffle(again)
    for few in (0, 4):
        replica = catalog()
        replica.few = few
        for deltas in again:
            replica.epoch(chance.sample(deltas, len(deltas)))
        assert knows(replica) == knows(expected)
        assert [replica.tasks[task] for task in range(NUM)] == list(expected.tasks)
        states, ranks, seconds, nbytes = (column.tolist() for column in replica.tasks.columns())
        assert list(zip(states, ranks, seconds, nbytes, strict=True)) == [
            (entry.state, entry.rank, entry.seconds, entry.nbytes) for entry in expected.tasks]


def several(few):
    """A replica that has heard of three ends, the first of a task that was running."""
    replica = Catalog(NUM, 2, "")
    replica.few = few
    replica.epoch([delta(0, TaskEntry(2, state=State.RUNNING, rank=0)), delta(1)])
    ended = [(2, 0, 1.0, 2.0, 8), (0, 1, 3.0, 0.5, 16)], [(4, 1, 0.0, 0.25, 24)]
    news = replica.epoch([Delta(rank, 0, done=b"".join(pack(*record) for record in mine), forms=((), FORMS[1 + rank]))
                          for rank, mine in enumerate(ended)])
    return replica, news


@pytest.mark.parametrize("few", [0, 100])
def test_records_end_tasks_on_the_rank_that_sends_them_with_the_form_that_it_names(few):
    replica, news = several(few)
    assert [replica.tasks[task] for task in (0, 2, 4)] == [
        TaskEntry(0, 0, State.DONE, 0, 3.0, 0.5, 16, FORMS[1]), TaskEntry(2, 0, State.DONE, 0, 1.0, 2.0, 8),
        TaskEntry(4, 0, State.DONE, 1, 0.0, 0.25, 24, FORMS[2])]
    assert (replica.num_open, replica.running, news.seconds) == (NUM - 3, set(), 2.75)
    assert len(news.entries) + len(news.done) == 3


@pytest.mark.parametrize("few", [0, 100])
def test_all_that_is_known_is_what_was_news(few):
    replica, _ = several(few)
    replica.merge(TaskEntry(1, state=State.FAILED, rank=0, error="boom"))
    known = replica.known()
    assert known.entries == [replica.tasks[1]]
    assert [(task, seconds, nbytes) for task, _, _, seconds, nbytes in known.done.tolist()] == [
        (0, 0.5, 16), (2, 2.0, 8), (4, 0.25, 24)]


@pytest.mark.parametrize("few", [0, 100])
@pytest.mark.parametrize("record", [(NUM, 0, 0.0, 0.0, 0), (0, 1, 0.0, 0.0, 0)], ids=["task", "form"])
def test_a_record_of_a_task_or_a_form_that_does_not_exist_is_an_error_and_changes_nothing(few, record):
    replica = Catalog(NUM, 2, "")
    replica.few = few
    with pytest.raises(IndexError):
        replica.epoch([Delta(0, 0, done=pack(*record)), Delta(1, 0, forms=(), done=b"")])
    assert list(replica.tasks) == list(Catalog(NUM, 2, "").tasks)


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

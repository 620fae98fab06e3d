"""A damaged store: flipped bytes and cuts anywhere are noticed, and cost no more than what they hit."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storing import assert_same, made, save, spans

from mpiflow.errors import DamagedError
from mpiflow.operations.values import as_value
from mpiflow.planning.tasks import recipe_id
from mpiflow.storage.blocks import read_block
from mpiflow.storage.journal import Journal
from mpiflow.storage.records import MAGIC, Saved
from mpiflow.storage.shelf import block_file
from mpiflow.storage.store import load, read_store


@contextmanager
def changed(file: Path, data: bytes) -> Iterator[None]:
    before = file.read_bytes()
    file.write_bytes(data)
    yield
    file.write_bytes(before)


def survivors(store, values):
    """What is found and can be loaded, all of it right; and what cannot be loaded, though found."""
    found, good, bad = read_store(store), set(), set()
    numbers = {recipe_id(number): number for number in values}
    for id, place in found.places.items():
        try:
            assert_same(load(place), values[numbers[id]])
            good.add(numbers[id])
        except DamagedError:
            bad.add(numbers[id])
    return good, bad, found


def flipped(data, where, mask):
    return data[:where] + bytes([data[where] ^ mask]) + data[where + 1:]


def blocks_between(records, values, damaged):
    numbers = {recipe_id(number): number for number in values}
    return {numbers[head.made.id] for begin, end, head in records if type(head) is Saved and damaged(begin, end)}


def check_damaged_journal(store, journal, values, data, damaged):
    """Of a journal with ``data``, the records that are ``damaged`` are lost, no others, and it is said."""
    lost = blocks_between(spans(journal), values, damaged)
    with changed(journal, data):
        good, bad, found = survivors(store, values)
    assert (good, bad) == (set(values) - lost, set())
    assert found.damages or found.unfinished
    assert all(str(journal) in text for text in found.damages + found.unfinished)


SMALL = {0: as_value(1.5), 1: as_value(np.arange(50)), 2: as_value({"a": 1, "b": [1, 2]}), 3: as_value("text")}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    store = tmp_path_factory.mktemp("small")
    save(store, SMALL)
    return store


@pytest.mark.parametrize("mask", [1, 128, 255])
def test_any_flipped_byte_of_a_journal_loses_one_record_and_is_reported(small, mask):
    journal = small / "journals/run-0.journal"
    data = journal.read_bytes()
    for where in range(len(data)):
        check_damaged_journal(small, journal, SMALL, flipped(data, where, mask), lambda begin, end, at=where: begin <= at < end)


def test_a_journal_that_is_cut_anywhere_loses_what_is_behind_and_it_is_reported(small):
    journal = small / "journals/run-0.journal"
    data = journal.read_bytes()
    for length in range(len(data)):
        check_damaged_journal(small, journal, SMALL, data[:length], lambda begin, end, cut=length: end > cut)


def test_any_flipped_byte_of_a_block_file_and_any_cut_is_noticed_when_it_is_loaded(small):
    file = block_file(small, recipe_id(1))
    data = file.read_bytes()
    for where in range(len(data)):
        for wrong in (flipped(data, where, 1), flipped(data, where, 128), data[:where], data + data[:where + 1]):
            with changed(file, wrong):
                good, bad, _ = survivors(small, SMALL)
            assert (good, bad) == (set(SMALL) - {1}, {1})


LARGE = {number: as_value(np.random.default_rng(number).integers(0, 256, 50_000 * (number % 7), np.uint8))
         for number in range(60)}
# Values that look like records wherever one looks.
LARGE |= {60: as_value(np.frombuffer(MAGIC * 20_000, np.uint8)), 61: as_value(np.frombuffer(MAGIC * 500_000, np.uint8))}


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Journals that are read in several parts, and block files with several pieces."""
    store = tmp_path_factory.mktemp("large")
    ordered = dict(sorted(LARGE.items(), key=lambda item: recipe_id(item[0])))
    save(store, dict(list(ordered.items())[:31]), run="a", inline=300_000)
    save(store, dict(list(ordered.items())[31:]), run="b", inline=100_000)
    return store


def test_large_journals_are_read_whole(large):
    good, bad, found = survivors(large, LARGE)
    assert good == set(LARGE) and not bad and not found.damages and not found.unfinished


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.integers(0, 99), st.floats(0, 1, exclude_max=True), st.integers(0, 255))
def test_a_damaged_store_never_gives_a_wrong_value_and_loses_no_more_than_is_damaged(large, chosen, place, mask):
    files = sorted((large / "journals").iterdir()) * 10 + sorted((large / "blocks").glob("*/*"))
    file = files[chosen % len(files)]
    data = file.read_bytes()
    where = int(place * len(data))
    wrong = flipped(data, where, mask) if mask else data[:where]
    if file.suffix == ".journal":
        check_damaged_journal(
            large, file, LARGE, wrong, (lambda begin, end: begin <= where < end) if mask else (lambda begin, end: end > where))
    else:
        with changed(file, wrong):
            good, bad, _ = survivors(large, LARGE)
        assert bad == {number for number in LARGE if recipe_id(number) == file.name} and good == set(LARGE) - bad


def test_a_value_that_is_itself_a_journal_adds_nothing_to_a_damaged_one(tmp_path, small):
    inner = as_value(np.fromfile(small / "journals/run-0.journal", np.uint8))
    save(tmp_path, {7: inner, 8: as_value(1)}, inline=10_000)
    journal = tmp_path / "journals/run-0.journal"
    begin = spans(journal)[1][0]
    with changed(journal, flipped(journal.read_bytes(), begin, 1)):
        assert list(read_store(tmp_path).made) == [recipe_id(8)]


def test_a_hole_of_zeros_as_a_network_file_system_may_show_it_costs_what_is_in_it(tmp_path):
    values = {number: as_value(np.full(5000, number)) for number in range(6)}
    save(tmp_path, values, inline=100_000)
    journal = tmp_path / "journals/run-0.journal"
    begin, end, _ = spans(journal)[3]
    data = journal.read_bytes()
    check_damaged_journal(tmp_path, journal, values, data[:begin] + bytes(end - begin) + data[end:], lambda a, b: a == begin)


def test_a_length_that_is_garbage_takes_no_memory(tmp_path):
    (tmp_path / "b").write_bytes(b"".join([MAGIC, bytes(12), b"\xff" * 8]))
    with pytest.raises(DamagedError, match="no valid record"):
        read_block(str(tmp_path / "b"), "id")


def test_what_is_whole_but_says_nothing_known_is_a_damage(tmp_path):
    journal = Journal(tmp_path, "run", 0)
    journal._add(made(0, as_value(1)))
    journal.end()
    assert "says nothing that is known" in read_store(tmp_path).damages[0]

"""Blocks within a limit of memory: whatever happens, each has its value, and memory and disk stay bounded."""

import os
import random

import numpy as np
import pytest

from mpiflow.errors import MachineError
from mpiflow.operations.values import nbytes
from mpiflow.storage import spill as module
from mpiflow.storage.spill import LEAST, Scratch, Spill

SOURCES = frozenset(range(0, 60, 3))


def value(block, size=None):
    rows = (size or LEAST + 8 * (block % 7)) // 8
    array = np.arange(rows, dtype=np.float64) * (block + 1)
    return {"a": array, "b": array[::2].astype(np.int32)} if block % 5 == 1 else array


def same(one, other):
    if isinstance(one, dict):
        return isinstance(other, dict) and all(same(one[name], other[name]) for name in one | other)
    return np.array_equal(one, other) and one.dtype == other.dtype


def spilling(tmp_path, limit=5 * LEAST, next_use=lambda block: block, made=None):
    def again(block):
        made.append(block)
        return value(block)

    return Spill(limit, tmp_path / "scratch", next_use, again, SOURCES if made is not None else frozenset())


@pytest.mark.parametrize("seed", range(40))
def test_blocks_have_their_values_whatever_happens_and_memory_keeps_to_the_limit(seed, tmp_path):
    chance, made, there = random.Random(seed), [], set()
    spill = spilling(tmp_path, next_use=lambda block: block * 7919 % 61, made=made)
    for _ in range(300):
        block = chance.randrange(60)
        if block not in there:
            spill[block] = value(block)
            there.add(block)
        elif chance.random() < 0.3:
            del spill[block]
            there.remove(block)
        else:
            spill.pinned = frozenset([block])
            assert same(spill[block], value(block))
            assert sum(form.dtype.itemsize * int(np.prod(form.shape)) for form in spill.form(block)) == nbytes(value(block))
        staying = 2 * max(nbytes(value(block)) for block in range(60))
        assert spill.taken == sum(map(nbytes, spill.values())) <= spill.limit + staying
    assert spill.nbytes_again > 0 and set(made) <= SOURCES
    assert not any(file.is_file() for file in tmp_path.rglob("*")), "the scratch file has a name"
    spill.clear()
    assert not spill and spill.taken == 0 and spill.scratch is None


def test_what_is_needed_last_goes_first(tmp_path):
    spill = spilling(tmp_path, limit=3 * LEAST, next_use=lambda block: -block)
    for block in range(5):
        spill[block] = value(block, LEAST)
    assert set(spill) == {2, 3, 4}


def test_a_source_is_read_again_and_takes_no_disk(tmp_path):
    made = []
    spill = spilling(tmp_path, limit=2 * LEAST, made=made)
    for block in (0, 3, 6, 9):
        spill[block] = value(block)
    assert same(spill[0], value(0)) and spill.nbytes_written == 0 and made == [0]
    assert not (tmp_path / "scratch").exists()


def test_small_blocks_stay(tmp_path):
    spill = spilling(tmp_path, limit=100)
    for block in range(20):
        spill[block] = np.arange(100)
    assert len(spill) == 20 and spill.nbytes_written == 0


def test_a_block_that_comes_back_is_not_written_twice(tmp_path):
    spill = spilling(tmp_path, limit=LEAST)
    for block in range(3):
        spill[block] = value(block)
    written = spill.nbytes_written
    for block in (0, 1, 2, 0, 1, 2):
        assert same(spill[block], value(block))
    assert spill.nbytes_written == written + nbytes(value(2))


def test_places_are_used_again(tmp_path):
    scratch, chance, places = Scratch(tmp_path), random.Random(1), {}
    for number in range(2000):
        if len(places) > 10:
            place, (size, _) = places.popitem() if chance.random() < 0.5 else (first := next(iter(places)), places.pop(first))
            scratch.free(place, size)
        data = np.full(chance.randrange(1, 5000), number % 251, np.uint8)
        places[scratch.write(data)] = len(data), number % 251
    for place, (size, content) in places.items():
        form = module.form_of(np.empty(size, np.uint8))
        assert (scratch.read(place, form) == content).all()
    assert scratch.size < 4 * 11 * 5000
    scratch.close()


def test_a_disk_without_room_is_told_of_and_the_blocks_stay(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "pwrite", full)
    spill = spilling(tmp_path, limit=LEAST)
    for block in range(4):
        spill[block] = value(block)
    assert len(spill) == 4 and "No space left on device" in spill.error and "--scratch DIR" in spill.error


def test_a_file_that_somebody_cut_is_an_error(tmp_path):
    spill = spilling(tmp_path, limit=LEAST)
    for block in range(3):
        spill[block] = value(block)
    os.ftruncate(spill.scratch._file.fileno(), 10)
    with pytest.raises(MachineError, match="shorter than it was written"):
        spill[0]


def test_an_unknown_block_is_an_error(tmp_path):
    with pytest.raises(KeyError):
        spilling(tmp_path)[7]

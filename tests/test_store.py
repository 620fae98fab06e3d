"""The store: what was saved is found again, bit by bit; what is not ours, or not there, is said."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from msgspec import msgpack
from storing import assert_same, save

from mpiflow.errors import DamagedError, MachineError, OperationError
from mpiflow.operations.layout import allocate, describe, forms
from mpiflow.operations.values import as_value, columns, nbytes
from mpiflow.planning.tasks import recipe_id
from mpiflow.storage.blocks import PIECE, BlockFile, pack, read_block, unpack, write_block
from mpiflow.storage.records import FORMAT, Begun, frame
from mpiflow.storage.shelf import block_file
from mpiflow.storage.store import load, read_store

IN_FILES, IN_JOURNAL = -1, 1 << 20
PADDED = np.dtype([("a", "i1"), ("b", "f8")], align=True)
NESTED = np.dtype([(("title", "n"), "f4"), ("sub", "i4", (2, 3)), ("in", [("u", "U3"), ("t", "M8[s]")])])
KINDS = {
    "float": np.float64(2.5), "bool": True, "complex": np.complex64(1 + 2j), "no dimension": np.array(7),
    "half": np.arange(5, dtype="f2"), "long double": np.arange(5, dtype=np.longdouble), "nan": np.array([np.nan, -0.0, np.inf]),
    "bools": np.array([True, False]), "empty": np.zeros(0), "no rows": np.zeros((0, 3), "i2"), "no columns": np.zeros((3, 0)),
    "five dimensions": np.arange(32.0).reshape(2, 2, 2, 2, 2), "time": np.array(["2026-11-25", "NaT"], "M8[ns]"),
    "duration": np.array([1, 2], "m8[25us]"), "text": np.array(["a", "äöü\U0001f600"]), "one text": np.array("text"),
    "bytes": np.array([b"a\0b", b""]), "raw": np.zeros(2, "V5"), "text of length 0": np.ndarray(3, "U0"),
    "record": np.array([(1, 2.0), (3, 4.0)], [("a", "i4"), ("b", "f8")]), "padded": np.zeros(3, PADDED),
    "nested": np.zeros(2, NESTED), "metadata": np.arange(3, dtype=np.dtype("f8", metadata={"unit": "m"})),
    "table": {"b": np.arange(3), "a": np.zeros((3, 2), "f4"), "ä": np.array("x")}, "one column": {"a": np.arange(2)},
    "empty columns": {"a": np.zeros(0), "b": np.zeros((0, 2), "U2")}, "many columns": {f"column {i}": i for i in range(3000)},
    "pieces": np.arange(PIECE // 8 * 2 + 3),
    "table in pieces": {"a": np.arange(PIECE // 4), "b": np.array(1), "c": np.ones(PIECE)},
}


@pytest.mark.parametrize("inline", [IN_FILES, IN_JOURNAL])
@pytest.mark.parametrize("kind", KINDS)
def test_a_value_of_any_kind_comes_back_bit_by_bit_and_read_only(tmp_path, kind, inline):
    value = as_value(KINDS[kind])
    task, = save(tmp_path, {0: value}, inline=inline)
    found = read_store(tmp_path)
    back = load(found.places[task.id])
    assert found.made == {task.id: task} and not found.damages and not found.unfinished
    assert type(back) is type(value)
    assert_same(back, value)
    assert all(not array.flags.writeable and array.flags.c_contiguous and array.flags.aligned for _, array in columns(back))
    assert block_file(tmp_path, task.id).exists() == (nbytes(value) > inline)


def test_an_array_of_100_megabytes_comes_back(tmp_path):
    value = as_value(np.random.default_rng(1).random(12_500_000))
    task, = save(tmp_path, {0: value})
    assert np.array_equal(load(read_store(tmp_path).places[task.id]), value)


def test_metadata_of_a_dtype_are_left_out_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert unpack(pack(as_value(KINDS["metadata"])), "").dtype.metadata is None


def test_a_dtype_that_cannot_be_written_is_refused_and_not_changed():
    overlapping = np.dtype({"names": ["a", "b"], "formats": ["f8", "f8"], "offsets": [0, 4]})
    with pytest.raises(OperationError, match="cannot be written as bytes"):
        describe(np.zeros(2, overlapping))


def test_arrays_can_be_made_in_memory_of_somebody_else():
    value = as_value({"a": np.arange(3), "b": np.zeros((2, 2), PADDED)})
    made_of = []
    arrays = allocate(forms(describe(value)), lambda shape, dtype: made_of.append(dtype) or np.empty(shape, dtype))
    assert made_of == [np.int64, PADDED] and [array.shape for _, array in arrays] == [(3,), (2, 2)]


def test_a_store_that_is_not_there_is_empty(tmp_path):
    found = read_store(tmp_path / "none")
    assert not found.made and not found.damages


@pytest.mark.parametrize("where", ["", "journals"])
def test_a_store_that_cannot_be_listed_is_an_error_with_path_and_reason(tmp_path, where):
    (tmp_path / "store" / where).parent.mkdir(exist_ok=True)
    (tmp_path / "store" / where).write_text("a file")
    with pytest.raises(MachineError, match=f"{tmp_path / 'store'}: Not a directory"):
        read_store(tmp_path / "store")


def test_a_journal_that_cannot_be_read_is_a_damage_and_the_others_are_read(tmp_path):
    task, = save(tmp_path, {0: as_value(1)})
    (tmp_path / "journals" / "a.journal").mkdir()
    found = read_store(tmp_path)
    assert list(found.made) == [task.id]
    assert found.damages == [f"{tmp_path}/journals/a.journal: cannot be read: Is a directory"]


def test_other_files_in_the_folder_do_not_count(tmp_path):
    save(tmp_path, {0: as_value(1)})
    (tmp_path / "journals" / ".nfs0001").write_text("of the file system")
    assert not read_store(tmp_path).damages


def test_journals_are_read_in_the_order_of_their_names_and_the_last_to_tell_of_a_block_counts(tmp_path):
    save(tmp_path, {0: as_value(1), 1: as_value(2)}, run="b")
    save(tmp_path, {1: as_value(2), 2: as_value(3)}, run="a")
    found = read_store(tmp_path)
    assert list(found.made) == [recipe_id(1), recipe_id(2), recipe_id(0)]
    assert [Path(place.file).name for place in found.places.values()] == ["b-0.journal", "a-0.journal", "b-0.journal"]


def test_a_journal_without_an_end_is_unfinished_but_not_damaged(tmp_path):
    task, = save(tmp_path, {0: as_value(1)}, end=False)
    found = read_store(tmp_path)
    assert list(found.made) == [task.id] and not found.damages
    assert found.unfinished == [f"{tmp_path}/journals/run-0.journal"]


def test_a_journal_is_never_taken_over(tmp_path):
    save(tmp_path, {0: as_value(1)})
    with pytest.raises(FileExistsError):
        save(tmp_path, {1: as_value(1)})


def test_a_journal_of_another_format_is_one_error_that_names_it(tmp_path):
    save(tmp_path, {0: as_value(1)})
    file = tmp_path / "journals" / "zzz-0.journal"
    file.write_bytes(frame(0, msgpack.encode(Begun(FORMAT + 1, "zzz", 0))) + b"anything")
    with pytest.raises(MachineError, match=f"{file} has format {FORMAT + 1}, of another version"):
        read_store(tmp_path)


def test_a_block_file_of_another_format_is_one_error_that_names_it(tmp_path):
    (tmp_path / "b").write_bytes(frame(0, msgpack.encode(BlockFile(FORMAT + 1, "id", (), 1, b""))))
    with pytest.raises(MachineError, match=f"{tmp_path / 'b'} has format {FORMAT + 1}"):
        read_block(str(tmp_path / "b"), "id")


def test_a_block_file_is_not_written_again_when_it_is_whole(tmp_path):
    values = {0: as_value(np.arange(1000))}
    task, = save(tmp_path, values, run="a")
    before = block_file(tmp_path, task.id).stat()
    save(tmp_path, values, run="b")
    assert block_file(tmp_path, task.id).stat() == before


@pytest.mark.parametrize("damage", [
    lambda data: data[:-1], lambda data: data + b"x", lambda data: data[:-1] + b"x", lambda data: b""])
def test_a_damaged_block_file_is_written_again(tmp_path, damage):
    values = {0: as_value(np.arange(1000))}
    task, = save(tmp_path, values, run="a")
    file = block_file(tmp_path, task.id)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DamagedError, match=str(file)):
        load(read_store(tmp_path).places[task.id])
    save(tmp_path, values, run="b")
    assert_same(load(read_store(tmp_path).places[task.id]), values[0])


def test_a_block_file_that_has_gone_is_damaged(tmp_path):
    task, = save(tmp_path, {0: as_value(np.arange(1000))})
    block_file(tmp_path, task.id).unlink()
    with pytest.raises(DamagedError, match="not there any more"):
        load(read_store(tmp_path).places[task.id])


def test_a_block_file_of_another_block_is_damaged(tmp_path):
    one, other = save(tmp_path, {0: as_value(np.arange(1000)), 1: as_value(np.arange(1001))})
    os.replace(block_file(tmp_path, one.id), block_file(tmp_path, other.id))
    with pytest.raises(DamagedError, match=f"holds the block {one.id}"):
        load(read_store(tmp_path).places[other.id])


def test_a_journal_that_was_put_in_the_place_of_another_gives_no_wrong_value(tmp_path):
    task, _ = save(tmp_path, {0: as_value(1), 1: as_value(2)}, run="a")
    save(tmp_path, {1: as_value(2), 0: as_value(1)}, run="b")
    place = read_store(tmp_path).places[task.id]
    os.replace(tmp_path / "journals/a-0.journal", tmp_path / "journals/b-0.journal")
    with pytest.raises(DamagedError, match="not the block"):
        load(place)


def test_a_block_file_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError):
        write_block(tmp_path / "file", tmp_path / "aside", "id", as_value(np.arange(3)))
    assert os.listdir(tmp_path) == ["file"]

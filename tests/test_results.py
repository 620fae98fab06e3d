"""Results as files: what is written beside the numbers, and that a failed write leaves nothing but what was there."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mpiflow.errors import MachineError, OperationError
from mpiflow.storage.results import Result, write_results

law = settings(derandomize=True, deadline=None)


def result(value, name="r", unit="", tags=()):
    return Result(name, value, unit, tags, "0123abcd", "test")


def written(folder, value, file="x.h5", name="r"):
    """Write one result to HDF5 and read it back."""
    write_results(folder / file, [result(value, name)])
    with h5py.File(folder / file) as opened:
        item = opened[name]
        return {key: item[key][()] for key in item} if isinstance(item, h5py.Group) else item[()]


# HDF5

@pytest.mark.parametrize("array", [
    np.arange(6).reshape(2, 3), np.float32(1.5) * np.ones(3, "f4"), np.array(2.5), np.zeros((0, 3)), np.ones(2) * 1j,
    np.array([True, False]), np.array(True), np.zeros(2, [("a", "f8"), ("b", "i4")]), np.array([b"a", b"bc"]), np.zeros(2, "f2"),
], ids=lambda array: f"{array.dtype} {array.shape}")
def test_an_array_is_written_as_it_is(tmp_path, array):
    back = written(tmp_path, array)
    assert np.array_equal(back, array) and back.dtype == array.dtype and back.shape == array.shape


@law
@given(arrays.arrays(st.sampled_from(["f8", "f4", "i8", "u1", "?", "c16"]), arrays.array_shapes(min_dims=0, min_side=0)))
def test_any_array_comes_back_bit_by_bit(tmp_path_factory, array):
    back = written(tmp_path_factory.getbasetemp(), array, "any.h5")
    assert np.asarray(back).tobytes() == array.tobytes()


@pytest.mark.parametrize("array", [
    np.array(["é", "abc", ""]), np.array("é"), np.empty(0, "U3"), np.array([["a"], ["bc"]])], ids=repr)
def test_unicode_text_is_written_as_utf8(tmp_path, array):
    back = np.asarray(written(tmp_path, array))
    assert np.array_equal(np.char.decode(back, "utf-8"), array) and back.shape == array.shape


def test_a_table_is_a_group_with_its_columns_in_order(tmp_path):
    table = written(tmp_path, {"z": np.arange(2), "a": np.array(1.0), "t": np.array(["é"])})
    assert list(table) == ["z", "a", "t"] and table["z"].tolist() == [0, 1] and table["t"][0] == "é".encode()


@pytest.mark.parametrize("value", [np.arange(3), {"a": np.arange(3)}], ids=["array", "table"])
def test_unit_tags_id_and_source_stand_beside_the_numbers(tmp_path, value):
    write_results(tmp_path / "x.h5", [result(value, unit="nm", tags=("md", "é"))])
    with h5py.File(tmp_path / "x.h5") as opened:
        attributes = dict(opened["r"].attrs)
    assert (attributes["unit"], list(attributes["tags"]), attributes["id"], attributes["source"]) == (
        "nm", ["md", "é"], "0123abcd", "test")


def test_no_unit_and_no_tags_are_empty(tmp_path):
    write_results(tmp_path / "x.h5", [result(np.arange(3))])
    with h5py.File(tmp_path / "x.h5") as opened:
        assert opened["r"].attrs["unit"] == opened["r"].attrs["tags"] == ""


def test_several_results_are_written_to_one_file(tmp_path):
    write_results(tmp_path / "x.h5", [result(np.arange(3), "one"), result({"a": np.arange(2)}, "two")])
    with h5py.File(tmp_path / "x.h5") as opened:
        assert sorted(opened) == ["one", "two"]


@pytest.mark.parametrize("suffix", [".h5", ".hdf5", ".H5", ".h5md", ".nc"])
def test_the_suffix_decides_that_it_is_hdf5(tmp_path, suffix):
    assert written(tmp_path, np.arange(2), "x" + suffix).tolist() == [0, 1]


def test_the_same_result_gives_the_same_bytes(tmp_path):
    for name in ("a.h5", "b.h5"):
        write_results(tmp_path / name, [result({"x": np.arange(3)}, unit="nm", tags=("t",))])
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.parametrize("value", [np.zeros(2, "M8[s]"), {"t": np.zeros(2, [("a", "U3")])}], ids=["times", "text in records"])
def test_what_hdf5_cannot_hold_is_the_fault_of_the_operation(tmp_path, value):
    with pytest.raises(OperationError, match="cannot be written to an HDF5 file"):
        write_results(tmp_path / "x.h5", [result(value)])
    assert not list(tmp_path.iterdir())


# Other files

@pytest.mark.parametrize("array", [np.arange(6.0).reshape(2, 3), np.array(True), np.array(["é"]), np.zeros(2, "M8[s]")], ids=repr)
def test_npy_holds_one_array(tmp_path, array):
    write_results(tmp_path / "x.npy", [result(array)])
    back = np.load(tmp_path / "x.npy", allow_pickle=False)
    assert np.array_equal(back, array) and back.dtype == array.dtype


@pytest.mark.parametrize("name", ["picture.png", "plain", "log.txt"])
@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\0"])
def test_other_files_hold_the_bytes_that_an_operation_made(tmp_path, name, data):
    write_results(tmp_path / name, [result(np.frombuffer(data, np.uint8))])
    assert (tmp_path / name).read_bytes() == data


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros((2, 2), np.uint8), np.array(1, np.uint8)], ids=repr)
def test_what_is_no_row_of_bytes_is_not_written_to_other_files(tmp_path, array):
    with pytest.raises(OperationError, match=r"use \.h5 or \.npy"):
        write_results(tmp_path / "x.png", [result(array)])


@pytest.mark.parametrize("file", ["x.npy", "x.png"])
def test_a_table_needs_hdf5(tmp_path, file):
    with pytest.raises(OperationError, match=r"'r' is a table \(a, b\).*e\.g\. r\.a"):
        write_results(tmp_path / file, [result({"a": np.zeros(1), "b": np.zeros(1)})])


# Folders and permissions

def test_folders_are_made(tmp_path):
    write_results(tmp_path / "a/b/x.npy", [result(np.arange(3))])
    assert (tmp_path / "a/b/x.npy").exists()


def test_a_result_replaces_an_older_one(tmp_path):
    write_results(tmp_path / "x.npy", [result(np.arange(3))])
    write_results(tmp_path / "x.npy", [result(np.arange(5))])
    assert len(np.load(tmp_path / "x.npy")) == 5 and os.listdir(tmp_path) == ["x.npy"]


def test_a_result_may_be_read_by_those_whom_the_umask_lets(tmp_path):
    old = os.umask(0o022)
    try:
        write_results(tmp_path / "x.h5", [result(np.arange(3))])
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "x.h5").stat().st_mode) == 0o644


# Failures

@pytest.mark.parametrize("name", ["x.h5", "x.npy", "x.png"])
def test_a_folder_in_the_way_is_an_error_that_leaves_nothing(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(MachineError, match="Is a directory"):
        write_results(tmp_path / name, [result(np.arange(3, dtype=np.uint8))])
    assert os.listdir(tmp_path) == [name] and not os.listdir(tmp_path / name)


def test_a_file_where_a_folder_should_be_is_an_error(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(MachineError, match=r"cannot write .*a/x\.h5: (Not a directory|File exists)"):
        write_results(tmp_path / "a/x.h5", [result(np.arange(3))])


def test_a_name_that_is_too_long_is_an_error(tmp_path):
    with pytest.raises(MachineError, match="File name too long"):
        write_results(tmp_path / ("x" * 300 + ".npy"), [result(np.arange(3))])


PROGRAM = """
import resource, sys
from pathlib import Path
import numpy as np
from mpiflow.errors import MachineError
from mpiflow.storage.results import Result, write_results
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
value = np.zeros(1_000_000, np.uint8)
try:
    write_results(Path(sys.argv[1]), [Result("r", value, "", (), "id", "test")])
except MachineError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["x.h5", "x.npy", "x.png"])
def test_a_write_that_fails_half_way_leaves_the_older_result_and_nothing_else(tmp_path, name):
    older = np.arange(3, dtype=np.uint8)
    write_results(tmp_path / name, [result(older)])
    before = (tmp_path / name).read_bytes()
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path / name)], capture_output=True, text=True, timeout=60,
                          env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"cannot write {tmp_path / name}: ") and done.stdout.count("\n") == 1
    assert os.listdir(tmp_path) == [name] and (tmp_path / name).read_bytes() == before

"""Files that datasets are read from: what is seen of them, what is refused, and that every row is the right one."""

import os
import random

import h5py
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiflow.errors import MachineError
from mpiflow.peer.execute import following
from mpiflow.planning.sources import source_blocks
from mpiflow.planning.tasks import Block, Kind, Task
from mpiflow.storage.sources import discover, load
from mpiflow.workflow.reading import draft_workflow, read_workflow

law = settings(derandomize=True, deadline=None)
ROWS = np.arange(60, dtype=np.float64).reshape(10, 3, 2)


def workflow_of(**dataset):
    document = {"mpiflow": 1, "name": "t", "datasets": {"d": dataset}, "steps": {"s": "sum(d)"}}
    return read_workflow(yaml.safe_dump(document, sort_keys=False), "w.yaml")


def seen(folder, rank=0, **dataset):
    """Give the entries of a dataset whose files are right."""
    entries, complaints = discover(workflow_of(**dataset), folder, rank)
    assert not complaints
    return entries


def complaint(folder, **dataset):
    """Give the one complaint about a dataset."""
    entries, complaints = discover(workflow_of(**dataset), folder, 0)
    assert not entries and len(complaints) == 1
    return complaints[0]


def rows(folder, **dataset):
    """Read a dataset block by block, as tasks do."""
    workflow = workflow_of(**dataset)
    blocks = source_blocks(workflow, ["d"], discover(workflow, folder, 0)[0])["d"]
    workflow.finish()
    return [load(workflow, Block("d", block.start, block.stop, block.file, block.stamp)) for block in blocks]


def hdf5(folder, array, name="x.h5", path="x", attributes=(), **options):
    with h5py.File(folder / name, "w") as file:
        item = file.create_dataset(path, data=array, **options)
        item.attrs.update(dict(attributes))


# What is read

@pytest.mark.parametrize("options", [
    {}, {"chunks": (3, 3, 2)}, {"chunks": (4, 1, 1), "compression": "gzip", "shuffle": True}, {"maxshape": (None, 3, 2)},
    {"dtype": ">f8"}, {"dtype": "<f4"}, {"dtype": ">i2"}, {"fletcher32": True, "chunks": (2, 3, 2)},
], ids=str)
@pytest.mark.parametrize("blocks", [1, 3, 10])
def test_an_hdf5_array_is_read_block_by_block(tmp_path, options, blocks):
    hdf5(tmp_path, ROWS, **options)
    parts = rows(tmp_path, file="x.h5", path="/x", blocks=blocks)
    assert len(parts) == blocks and np.array_equal(np.concatenate(parts), ROWS)


@pytest.mark.parametrize("options", [None, {}, {"chunks": (8, 100, 64)}, {"chunks": (8, 30, 64), "compression": "gzip"}], ids=str)
def test_the_kernel_is_told_what_is_read_next(tmp_path, monkeypatch, options):
    told, whole = [], np.random.default_rng(1).random((100, 100, 64))
    monkeypatch.setattr(os, "posix_fadvise", lambda opened, start, size, advice: told.append(
        (os.pread(opened, size, start), advice == os.POSIX_FADV_WILLNEED)))
    if options is None:
        np.save(tmp_path / "x.npy", whole)
    else:
        hdf5(tmp_path, whole, **options)
    workflow = workflow_of(**{"file": "x.npy"} if options is None else {"file": "x.h5", "path": "x"}, blocks=4)
    this, ahead, *_ = [Block("d", block.start, block.stop, block.file, block.stamp)
                      for block in source_blocks(workflow, ["d"], discover(workflow, tmp_path, 0)[0])["d"]]
    assert np.array_equal(load(workflow, this), whole[:this.stop]) and not told
    assert np.array_equal(load(workflow, this, ahead), whole[:this.stop]) and all(right for _, right in told)
    (data, _), = told
    if options and "compression" in options:
        with h5py.File(tmp_path / "x.h5") as file:
            chunks = [file["x"].id.read_direct_chunk((row, column, 0))[1] for row in range(ahead.start, ahead.stop, 8)
                      for column in range(0, 100, 30)]
        assert data == b"".join(chunks)
    else:
        assert data == whole[ahead.start:ahead.stop].tobytes()


def test_what_comes_next_is_the_next_block_of_the_same_dataset_and_file():
    def task(kind, name="", start=0, file=""):
        return Task(f"{name}{start}", kind, name, block=Block(name, start, start + 1, file) if name else None)

    tasks = [task(Kind.LOAD, "a", 0, "/a"), task(Kind.LOAD, "b", 0, "/a"), task(Kind.APPLY), task(Kind.LOAD, "a", 1, "/a"),
             task(Kind.LOAD, "a", 0, "/c"), task(Kind.LOAD, "b", 1, "/a"), task(Kind.LOAD, "made"), task(Kind.LOAD, "a", 2, "/a")]
    found = following(tasks, [0, 1, 2, 4, 5, 6, 7, 3])
    assert found == {0: tasks[7].block, 1: tasks[5].block, 7: tasks[3].block}


def test_of_chunks_all_over_a_file_the_kernel_is_told_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "posix_fadvise", lambda *told: pytest.fail(f"told {told}"))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        stored = file.create_dataset("x", (64, 1 << 16), chunks=(8, 1 << 16), dtype="f8")
        for row in (56, 16, 0, 48, 40, 32, 8, 24):
            stored[row:row + 8] = row
    workflow = workflow_of(file="x.h5", path="x", blocks=4)
    this, ahead, *_ = [Block("d", block.start, block.stop, block.file, block.stamp)
                       for block in source_blocks(workflow, ["d"], discover(workflow, tmp_path, 0)[0])["d"]]
    assert set(load(workflow, this, ahead)[:, 0].tolist()) == {0, 8}


@pytest.mark.parametrize(("options", "chunk"), [({}, 0), ({"chunks": (4, 1, 1), "compression": "gzip"}, 4)], ids=str)
def test_the_rows_of_a_chunk_are_known(tmp_path, options, chunk):
    hdf5(tmp_path, ROWS, **options)
    assert [entry.chunk for entry in seen(tmp_path, file="x.h5", path="x")] == [chunk]


@pytest.mark.parametrize("array", [
    ROWS, np.asfortranarray(ROWS), ROWS.astype(">f4"), ROWS > 7, ROWS * 1j, np.arange(5, dtype=np.uint8), np.array(["a", "bcd"]),
    np.zeros((0, 3)), np.zeros((4, 0)), np.zeros(3, [("a", "f8"), ("b", "i4")]),
], ids=lambda array: f"{array.dtype} {array.shape}")
@pytest.mark.parametrize("blocks", [1, 2])
def test_a_npy_array_is_read_block_by_block(tmp_path, array, blocks):
    np.save(tmp_path / "x.npy", array)
    joined = np.concatenate(rows(tmp_path, file="x.npy", blocks=blocks))
    assert np.array_equal(joined, array) and joined.dtype.newbyteorder("=") == array.dtype.newbyteorder("=")


@law
@given(first=st.integers(0, 9), num=st.integers(1, 9), blocks=st.integers(1, 12))
def test_any_rows_in_any_blocks_are_those_rows(tmp_path_factory, first, num, blocks):
    folder = tmp_path_factory.getbasetemp()
    if not (folder / "rows.npy").exists():
        np.save(folder / "rows.npy", ROWS)
    last = min(first + num, 10)
    parts = rows(folder, file="rows.npy", rows=[first, last], blocks=blocks)
    assert np.array_equal(np.concatenate(parts), ROWS[first:last])


def test_a_single_number_is_read(tmp_path):
    hdf5(tmp_path, 2.5)
    np.save(tmp_path / "x.npy", np.array(3))
    assert [rows(tmp_path, file="x.h5", path="x")[0].shape, rows(tmp_path, file="x.npy")[0].tolist()] == [(), 3]


def test_the_extension_npy_may_be_written_in_capitals(tmp_path):
    with open(tmp_path / "X.NPY", "wb") as file:
        np.save(file, ROWS)
    assert np.array_equal(rows(tmp_path, file="X.NPY")[0], ROWS)


@pytest.mark.parametrize(("attributes", "unit"), [
    ({}, ""), ({"unit": "nm"}, "nm"), ({"units": "kelvin"}, "kelvin"), ({"unit": b"nm"}, "nm"),
    ({"unit": np.bytes_("Å".encode())}, "Å"),
    ({"unit": ["nm"]}, "nm"), ({"unit": np.array([b"nm"])}, "nm"), ({"unit": "nm", "units": "pm"}, "nm"), ({"unit": 3}, ""),
    ({"unit": ["a", "b"]}, ""), ({"unit": h5py.Empty("S1")}, ""), ({"unit": b"\xff"}, "\ufffd"),
    ({"unit": np.bytes_(b"\xff")}, "\ufffd"),
], ids=str)
def test_the_unit_of_an_hdf5_array_is_that_of_its_attribute(tmp_path, attributes, unit):
    hdf5(tmp_path, ROWS, attributes=attributes)
    assert seen(tmp_path, file="x.h5", path="x")[0].unit == unit


def test_a_netcdf_variable_is_an_hdf5_array(tmp_path):
    with h5py.File(tmp_path / "x.nc", "w") as file:
        file["time"] = np.arange(10.0)
        file["time"].make_scale("time")
        file["t2m"] = ROWS[:, :, 0].astype("f4")
        file["t2m"].dims[0].attach_scale(file["time"])
        file["t2m"].attrs.update({"units": "K", "_FillValue": np.float32(1e20)})
    entry, = seen(tmp_path, file="x.nc", path="t2m")
    assert (entry.shape, entry.dtype, entry.unit) == ((10, 3), "<f4", "K")
    assert np.array_equal(np.concatenate(rows(tmp_path, file="x.nc", path="t2m", blocks=2)), ROWS[:, :, 0])


def test_an_h5md_trajectory_is_an_hdf5_array(tmp_path):
    hdf5(tmp_path, ROWS, "x.h5md", "particles/all/position/value", {"unit": "Angstrom"}, chunks=(1, 3, 2))
    entry, = seen(tmp_path, file="x.h5md", path="/particles/all/position/value")
    assert (entry.shape, entry.dtype, entry.unit) == ((10, 3, 2), "<f8", "Angstrom")


def test_an_array_in_another_file_is_read_through_its_link(tmp_path):
    hdf5(tmp_path, ROWS, "there.h5")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = h5py.ExternalLink("there.h5", "/x")
    assert np.array_equal(rows(tmp_path, file="x.h5", path="x")[0], ROWS)


def test_an_entry_says_what_the_file_is_and_who_sees_it(tmp_path):
    np.save(tmp_path / "x.npy", ROWS)
    status = os.stat(tmp_path / "x.npy")
    entry, = seen(tmp_path, rank=5, file="x.npy")
    assert (entry.dataset, entry.file, entry.size, entry.mtime_ns, entry.inode, entry.shape, entry.dtype, entry.holders) == (
        "d", str(tmp_path / "x.npy"), status.st_size, status.st_mtime_ns, status.st_ino, (10, 3, 2), "<f8", (5,))


# Which files

def test_a_glob_finds_its_files_in_order_of_name(tmp_path):
    for number in (3, 1, 20, 2):
        np.save(tmp_path / f"part-{number:02}.npy", ROWS[:number])
    names = [os.path.basename(entry.file) for entry in seen(tmp_path, file="part-*.npy")]
    assert names == ["part-01.npy", "part-02.npy", "part-03.npy", "part-20.npy"]


def test_blocks_of_a_glob_are_the_rows_of_its_files_in_order(tmp_path):
    np.save(tmp_path / "a.npy", ROWS[:4])
    np.save(tmp_path / "b.npy", ROWS[4:].astype(">f8"))
    assert np.array_equal(np.concatenate(rows(tmp_path, file="?.npy", blocks=3)), ROWS)


def test_relative_paths_start_at_the_folder_and_absolute_ones_do_not(tmp_path):
    np.save(tmp_path / "x.npy", ROWS)
    (tmp_path / "w").mkdir()
    assert len(seen(tmp_path / "w", file="../x.npy")) == len(seen(tmp_path / "w", file=str(tmp_path / "x.npy"))) == 1


def test_the_home_directory_may_be_written_as_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.save(tmp_path / "x.npy", ROWS)
    assert seen(tmp_path / "w", file="~/x.npy") and seen(tmp_path / "w", file="~/?.npy")


def test_signs_of_a_glob_in_the_folder_are_plain_letters(tmp_path):
    folder = tmp_path / "run[1]"
    folder.mkdir()
    np.save(folder / "a.npy", ROWS)
    assert len(seen(folder, file="*.npy")) == 1


def test_signs_of_a_glob_in_the_name_of_a_file_are_plain_letters_if_there_is_one(tmp_path):
    np.save(tmp_path / "a[1].npy", ROWS)
    np.save(tmp_path / "a1.npy", ROWS)
    assert [os.path.basename(entry.file) for entry in seen(tmp_path, file="a[1].npy")] == ["a[1].npy"]


def test_a_file_whose_name_is_not_utf8_is_complained_about(tmp_path):
    with open(os.fsencode(tmp_path) + b"/\xff.npy", "wb") as file:
        np.save(file, ROWS)
    assert r"\udcff.npy" in complaint(tmp_path, file="?.npy").message


@pytest.mark.parametrize("file", ["none.npy", "none-*.npy", "none/x.npy"])
def test_a_file_that_is_not_there_is_not_seen_which_other_ranks_may(tmp_path, file):
    assert seen(tmp_path, file=file) == ()


def test_generated_datasets_have_no_files(tmp_path):
    assert seen(tmp_path, arange={"stop": 3}) == ()


def test_a_block_of_a_generated_dataset_is_made(tmp_path):
    assert [part.tolist() for part in rows(tmp_path, arange={"stop": 5}, blocks=2)] == [[0, 1], [2, 3, 4]]


def test_files_of_a_dataset_that_is_wrong_in_the_document_are_not_looked_at(tmp_path):
    (tmp_path / "x.npy").touch()
    workflow = draft_workflow("mpiflow: 1\nname: t\ndatasets: {d: {file: x.npy, path: x}}\nsteps: {s: sum(d)}\n", "w.yaml")
    assert discover(workflow, tmp_path, 0) == ((), ())


def test_some_arrays_of_a_file_are_named_if_the_right_one_is_not_there(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for number in range(20):
            file[f"g/{number:02}"] = number
    assert complaint(tmp_path, file="x.h5", path="x").message.endswith("/g/05, /g/06, /g/07")


# What is refused

def strings(folder):
    hdf5(folder, ["a", "bcd"], dtype=h5py.string_dtype())


def compound(folder):
    hdf5(folder, np.zeros(3, [("a", "f8"), ("b", "i4")]))


def inner_arrays(folder):
    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("x", (3,), np.dtype(("f8", (2,))))


def empty(folder):
    hdf5(folder, h5py.Empty("f8"))


def packed(folder):
    hdf5(folder, ROWS.astype("i2"), attributes={"scale_factor": 0.1, "add_offset": 20.0})


def group(folder):
    hdf5(folder, ROWS, path="x/inside")


def dangling(folder):
    hdf5(folder, ROWS, path="y")
    with h5py.File(folder / "x.h5", "a") as file:
        file["x"] = h5py.SoftLink("/nowhere")


def times(folder):
    with h5py.File(folder / "x.h5", "w") as file:
        h5py.h5d.create(file.id, b"x", h5py.h5t.UNIX_D32LE, h5py.h5s.create_simple((3,)))


def odd_name(folder):
    with h5py.File(folder / "x.h5", "w") as file:
        h5py.h5d.create(file.id, b"\xff", h5py.h5t.IEEE_F64LE, h5py.h5s.create_simple((3,)))


def no_hdf5(folder):
    (folder / "x.h5").write_text("text")


def nothing(folder):
    (folder / "x.h5").touch()


def a_folder(folder):
    (folder / "x.h5").mkdir()


@pytest.mark.parametrize(("make", "message", "column"), [
    (strings, "x holds data of variable length", 15), (compound, "x is no plain array of numbers", 15),
    (inner_arrays, "x is no plain array of numbers", 15), (empty, "x is no plain array of numbers", 15),
    (packed, "x is packed (scale_factor, add_offset)", 15), (group, "no array 'x' in FILE; it has /x/inside", 15),
    (dangling, "no array 'x' in FILE; it has /y", 15), (odd_name, r"no array 'x' in FILE; it has /\udcff", 15),
    (times, "cannot read FILE: ", 11), (no_hdf5, "cannot read FILE: ", 11),
    (nothing, "cannot read FILE: ", 11), (a_folder, "cannot read FILE: Is a directory", 11),
])
def test_an_hdf5_file_that_cannot_be_used_is_complained_about_at_its_place(tmp_path, make, message, column):
    make(tmp_path)
    wrong = complaint(tmp_path, file="x.h5", path="x")
    assert message.replace("FILE", str(tmp_path / "x.h5")) in wrong.message
    assert (wrong.file, wrong.line) == ("w.yaml", 5 if column == 11 else 6) and "\n" not in wrong.message


HEADER = b"\x93NUMPY\x01\x00\x40\x00"


@pytest.mark.parametrize("data", [
    b"", b"text", HEADER[:6], HEADER + b"{'descr': '<f8', 'fortran_order': False, 'shape': (3,)}".ljust(64),
    HEADER + b"{'descr': 'O', 'fortran_order': False, 'shape': (3,)}".ljust(63) + b"\n",
    HEADER + b"garbage".ljust(64), b"PK\x03\x04",
    HEADER + b"{'descr': '<f8', 'shape': (3,".ljust(64),
], ids=["empty", "text", "short", "no data", "objects", "garbage", "archive", "open bracket"])
def test_a_npy_file_that_cannot_be_used_is_complained_about(tmp_path, data):
    (tmp_path / "x.npy").write_bytes(data)
    assert complaint(tmp_path, file="x.npy").message.startswith(f"cannot read {tmp_path / 'x.npy'}: ")


def test_a_spoiled_file_gives_an_entry_or_a_complaint(tmp_path):
    hdf5(tmp_path, ROWS, chunks=(2, 3, 2), attributes={"unit": "nm"})
    good = (tmp_path / "x.h5").read_bytes()
    chance = random.Random(1)
    for _ in range(150):
        data = bytearray(good)
        for _ in range(chance.randint(1, 20)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        (tmp_path / "x.h5").write_bytes(data)
        entries, complaints = discover(workflow_of(file="x.h5", path="x"), tmp_path, 0)
        assert len(entries) + len(complaints) == 1


# What changes after planning

def planned_block(folder):
    workflow = workflow_of(file="x.npy")
    block, = source_blocks(workflow, ["d"], discover(workflow, folder, 0)[0])["d"]
    return workflow, Block("d", block.start, block.stop, block.file, block.stamp)


def test_a_file_that_has_changed_since_the_plan_is_not_read(tmp_path):
    np.save(tmp_path / "x.npy", ROWS)
    workflow, block = planned_block(tmp_path)
    np.save(tmp_path / "x.npy", ROWS[:4])
    with pytest.raises(MachineError, match="has changed since the run was planned"):
        load(workflow, block)


def test_a_file_that_is_gone_since_the_plan_is_reported(tmp_path):
    np.save(tmp_path / "x.npy", ROWS)
    workflow, block = planned_block(tmp_path)
    (tmp_path / "x.npy").unlink()
    with pytest.raises(MachineError, match=r"cannot read .*x\.npy: No such file or directory"):
        load(workflow, block)


def test_what_was_read_does_not_change_with_the_file(tmp_path):
    np.save(tmp_path / "x.npy", ROWS)
    workflow, block = planned_block(tmp_path)
    read = load(workflow, block)
    np.save(tmp_path / "x.npy", -ROWS)
    assert np.array_equal(read, ROWS)

"""Results in parts: written where their blocks are, one dataset for whoever opens them, and never half of an older one."""

import json
import shutil
import sys

import h5py
import numpy as np
import pytest
import yaml
from launching import launch, mpiflow, ran_in

from mpiflow.errors import MachineError, OperationError
from mpiflow.operations.layout import form_of
from mpiflow.operations.registry import builtin_operations
from mpiflow.operations.values import concatenate
from mpiflow.planning.lowering import lower
from mpiflow.planning.parts import is_part, part_file
from mpiflow.planning.tasks import Kind, written_file
from mpiflow.storage.results import Parts, Result, read_result, stamp, virtual, write_results
from mpiflow.storage.sources import discover
from mpiflow.workflow.reading import read_workflow


def result(value, name="r"):
    return Result(name, value, "nm", ("md",), "0123abcd", "test")


def in_parts(folder, blocks, name="r", file="x.h5"):
    """Write each block to a part, and the file that refers to them."""
    written = []
    for number, block in enumerate(blocks):
        part = folder / part_file(file, name, number, f"{number:032x}")
        write_results(part, [result(Parts([form_of(block)], lambda block=block: [block]), name)])
        written.append((part, stamp(part)))
    write_results(folder / file, [result(virtual(folder / file, name, written), name)])
    return [part for part, _ in written]


TABLE = [{"n": np.arange(rows), "v": np.full((rows, 2), rows, "f4")} for rows in (2, 0, 3)]


@pytest.mark.parametrize("blocks", [
    [np.arange(6.0).reshape(3, 2), np.ones((1, 2)), np.zeros((0, 2))], [np.arange(3), np.ones(2, "f4")],
    [np.array(1.5), np.array(2.5)], [np.array(["é", "abc"]), np.array(["abcdef"])], [np.ones(2, "c16"), np.zeros(1, "c8")], TABLE,
], ids=["rows", "dtypes", "numbers", "text", "complex", "table"])
def test_parts_are_read_as_the_whole_wherever_they_are_moved_to(tmp_path, monkeypatch, blocks):
    (tmp_path / "there").mkdir()
    in_parts(tmp_path / "there", blocks)
    (tmp_path / "there").rename(tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    whole = concatenate(blocks)
    for folder in (tmp_path, tmp_path / "here"):
        monkeypatch.chdir(folder)
        found = read_result((tmp_path / "here").relative_to(folder) / "x.h5", "r")
        for name, array in whole.items() if isinstance(whole, dict) else [("", whole)]:
            read = found[name] if name else found
            expected = np.char.encode(array, "utf-8") if array.dtype.kind == "U" else array
            assert np.array_equal(read, expected) and (read.dtype == array.dtype or array.dtype.kind == "U")


def test_attributes_are_those_of_a_plain_file(tmp_path):
    in_parts(tmp_path, TABLE)
    write_results(tmp_path / "y.h5", [result(TABLE[0])])
    with h5py.File(tmp_path / "x.h5") as one, h5py.File(tmp_path / "y.h5") as other:
        assert {key: str(value) for key, value in one["r"].attrs.items()} == {
            key: str(value) for key, value in other["r"].attrs.items()}
        assert list(one["r"]) == list(other["r"])


def test_a_part_that_is_missing_is_an_error_where_it_is_read(tmp_path):
    parts = in_parts(tmp_path, [np.arange(3), np.arange(4)])
    parts[1].unlink()
    with pytest.raises(MachineError, match=rf"its part x\.h5\.parts/{parts[1].name} is not there"):
        read_result(tmp_path / "x.h5", "r")
    document = {"mpiflow": 1, "name": "t", "datasets": {"d": {"file": "x.h5", "path": "r"}}, "steps": {"s": "sum(d)"}}
    entries, (complaint,) = discover(read_workflow(yaml.safe_dump(document), "w.yaml"), tmp_path, 0)
    assert not entries and f"r is in parts, of which x.h5.parts/{parts[1].name} is not there" in complaint.message


def test_dtypes_that_hdf5_cannot_read_as_one_are_refused(tmp_path):
    with pytest.raises(OperationError, match=r"'r': blocks of bool, complex128 cannot be parts of one dataset"):
        in_parts(tmp_path, [np.zeros(2, "c16"), np.zeros(2, "?")])
    assert not (tmp_path / "x.h5").exists()


def test_a_file_is_not_written_that_would_refer_to_a_part_which_is_not_there(tmp_path):
    parts = in_parts(tmp_path, [np.arange(3), np.arange(4)])
    before = (tmp_path / "x.h5").read_bytes()
    written = [(part, stamp(part)) for part in parts]
    parts[0].unlink()
    with pytest.raises(MachineError, match=r"its part .*r-0-0{12}\.h5 is not there as it was written"):
        virtual(tmp_path / "x.h5", "r", written)
    assert (tmp_path / "x.h5").read_bytes() == before


@pytest.mark.parametrize("then", ["fewer", "plain"])
def test_parts_of_an_older_result_go_when_the_new_one_is_there_and_nothing_else_does(tmp_path, then):
    in_parts(tmp_path, [np.arange(3), np.arange(4), np.arange(5)])
    folder = tmp_path / "x.h5.parts"
    (folder / f".r-3-{'0' * 12}.h5.4711.part").touch()      # of a process that was killed
    (folder / "notes.txt").touch()
    if then == "plain":
        write_results(tmp_path / "x.h5", [result(np.arange(3))])
    else:
        in_parts(tmp_path, [np.arange(6), np.arange(7)])
    names = {file.name for file in folder.iterdir()}
    assert "notes.txt" in names and len(names) == (1 if then == "plain" else 3)
    assert {name for name in names if not is_part(name)} == {"notes.txt"}


# Tasks

def graph_of(parts, writers=None, **dataset):
    document = {"mpiflow": 1, "name": "t", "datasets": {"x": {"random": {"shape": [20, 2]}, "blocks": 5, **dataset}},
                "steps": {"s": "x + 1"}, "results": {"s": {"file": "./a.h5", "parts": parts}}}
    return lower(read_workflow(yaml.safe_dump(document), "w.yaml"), builtin_operations(), [], 4, writers=writers)


def of_kind(graph, kind):
    return [task for task in graph.tasks if task.kind is kind]


@pytest.mark.parametrize(("parts", "groups"), [(2, [2, 3]), (3, [1, 2, 2]), (5, [1] * 5), (100, [1] * 5)])
def test_each_part_has_neighbouring_blocks_and_each_block_is_in_one(parts, groups):
    graph = graph_of(parts)
    made = of_kind(graph, Kind.WRITE_PART)
    assert [len(task.needs) for task in made] == groups
    assert tuple(need for task in made for need in task.needs) == graph.datasets["s"].tasks
    assert of_kind(graph, Kind.WRITE)[0].needs == tuple(graph.tasks.index(task) for task in made)


def test_one_part_or_one_block_is_a_plain_file():
    plain = of_kind(graph_of(1), Kind.WRITE)[0]
    assert not of_kind(graph_of(1), Kind.WRITE_PART) and plain.parameters == (("file", "a.h5"),)
    assert not of_kind(graph_of(3, blocks=1), Kind.WRITE_PART)


def test_the_name_of_a_part_changes_with_what_is_in_it():
    names = [[written_file(task) for task in of_kind(graph_of(3, **more), Kind.WRITE_PART)]
             for more in ({}, {"random": {"shape": [20, 2], "seed": 1}})]
    assert len({*names[0], *names[1]}) == 6 and all(is_part(name.rpartition("/")[2]) for name in names[0])


def test_parts_are_written_by_those_who_may_write():
    assert {task.ranks for task in graph_of(3, (1, 2)).tasks if task.kind in (Kind.WRITE, Kind.WRITE_PART)} == {(1, 2)}


# Runs

WORKFLOW = """
mpiflow: 1
name: parts
params: {seed: 1}
operations: [ops.py]
datasets:
  x: {random: {shape: [6000, 4], seed: $seed}, blocks: 6, unit: nm}
steps:
  y: {run: slow(x), unit: nm, tags: [big]}
  t: slow_table(y)
  s: {for: {i: [1, 2, 3]}, run: "some(m, i=$i)", on-error: skip}
  m: mean(y, axis=0)
results:
  y: {file: out/all.h5, parts: 6}
  t: {file: out/all.h5, parts: 2}
  s: {file: out/s.h5, parts: 3}
  m: out/all.h5
"""
OPS = '''
import time
from mpiflow import operation

@operation(elementwise=True)
def slow(x):
    time.sleep(0.02)
    return x * 2

@operation(elementwise=True)
def slow_table(x):
    time.sleep(0.02)
    return {"first": x[:, 0], "rows": x[:, :3].astype("f4")}

@operation
def some(m, i):
    if i == 2:
        raise ValueError
    return m * i
'''


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    return ran_in(tmp_path_factory.mktemp("parts"), 3, WORKFLOW, OPS, "r.json")


@pytest.fixture
def place(ran, tmp_path):
    return shutil.copytree(ran, tmp_path / "copy", copy_function=shutil.copy2)


def parts_written(folder, record="r.json"):
    """The ranks that wrote parts of the first file."""
    tasks = json.loads((folder / record).read_text())["tasks"]
    return [task["rank"] for task in tasks if task["kind"] == "write part" and task["step"] == "out/all.h5"]


def values(file):
    with h5py.File(file) as opened:
        return opened["y"][:], opened["t/first"][:], opened["t/rows"][:], opened["m"][:]


def test_several_ranks_write_and_no_block_of_what_has_as_many_parts_moves(ran):
    tasks = json.loads((ran / "r.json").read_text())["tasks"]
    assert len(parts_written(ran)) == 8 and len(set(parts_written(ran))) > 1
    for task in tasks:
        if task["kind"] == "write part" and "/y-" in task["parameters"]["file"]:
            assert tasks[task["needs"][0]]["rank"] == task["rank"]


def test_the_result_is_that_of_one_rank_and_so_are_the_files(ran, tmp_path):
    for name in ("w.yaml", "ops.py"):
        shutil.copy(ran / name, tmp_path)
    assert mpiflow(None, "w.yaml", cwd=tmp_path).status == 0
    assert all(map(np.array_equal, values(ran / "out/all.h5"), values(tmp_path / "out/all.h5")))
    assert sorted(file.name for file in (ran / "out").rglob("*")) == sorted(file.name for file in (tmp_path / "out").rglob("*"))
    for part in (ran / "out/all.h5.parts").iterdir():
        assert part.read_bytes() == (tmp_path / "out/all.h5.parts" / part.name).read_bytes()


def test_what_was_skipped_has_no_part(ran):
    with h5py.File(ran / "out/s.h5") as opened:
        assert opened["s"].shape == (8,) and len(opened["s"].virtual_sources()) == 2
    assert len(list((ran / "out/s.h5.parts").iterdir())) == 2


def test_resume_writes_the_part_that_is_missing(place):
    part = next(place.glob("out/all.h5.parts/y-3-*"))
    expected, others = values(place / "out/all.h5"), {file: file.stat().st_mtime_ns for file in place.rglob("*-[0-2]-*.h5")}
    kept = mpiflow(None, "w.yaml", "--resume", "--record", "kept.json", cwd=place)
    assert kept.status == 0 and not {"write", "write part"} & {
        task["kind"] for task in json.loads((place / "kept.json").read_text())["tasks"]}
    part.unlink()
    again = mpiflow(None, "w.yaml", "--resume", "--record", "again.json", cwd=place)
    assert again.status == 0 and "1 part by rank 0; 7 parts kept" in again.out
    assert part.exists() and all(map(np.array_equal, values(place / "out/all.h5"), expected))
    assert {file: file.stat().st_mtime_ns for file in others} == others


def test_other_data_replace_the_parts_and_what_reads_the_file_gets_them(place):
    before = {file.name for file in place.glob("out/all.h5.parts/*")}
    assert mpiflow(None, "w.yaml", "--set", "seed=2", "--no-save", cwd=place).status == 0
    assert before.isdisjoint(file.name for file in place.glob("out/all.h5.parts/*"))
    with h5py.File(place / "out/all.h5") as opened:
        assert opened["y"].shape == (6000, 4) and opened["y"].attrs["unit"] == "nm"
    (place / "next.yaml").write_text(yaml.safe_dump({
        "mpiflow": 1, "name": "next", "datasets": {"d": {"file": "out/all.h5", "path": "y", "blocks": 4}},
        "steps": {"s": "mean(d, axis=0)"}, "results": {"s": "s.npy"}}))
    assert mpiflow(None, "next.yaml", cwd=place).status == 0
    assert np.allclose(np.load(place / "s.npy"), values(place / "out/all.h5")[3])


def test_a_crate_has_the_parts_too(ran, tmp_path):
    crate = mpiflow(None, "export", "rocrate", ran / "r.json", "-o", "crate", cwd=tmp_path)
    assert crate.status == 0, crate.err
    assert all(map(np.array_equal, values(tmp_path / "crate/out/all.h5"), values(ran / "out/all.h5")))


def test_ranks_that_do_not_see_the_folder_send_their_blocks_to_those_that_do(ran, tmp_path):
    command = 'mkdir -p "$PMI_RANK" && cd "$PMI_RANK" && exec "$0" -m mpiflow "$1" --record r.json --store "$2"'
    ended = launch(["mpirun", "-n", "3", "sh", "-c", command, sys.executable, str(ran / "w.yaml"), str(tmp_path / "store")],
                   cwd=tmp_path)
    assert ended.status == 0, ended.err
    assert all(map(np.array_equal, values(tmp_path / "0/out/all.h5"), values(ran / "out/all.h5")))
    assert not list(tmp_path.glob("[12]/out")) and not list(tmp_path.glob("?/.*.here"))

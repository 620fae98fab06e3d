"""``ls``, ``show`` and ``get`` on the store of a real run."""

import csv
import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from msgspec.structs import replace
from storing import made

from mpiflow.operations.values import as_value
from mpiflow.storage.contents import read_contents
from mpiflow.storage.records import Share
from mpiflow.storage.results import stamp
from mpiflow.storage.shelf import Shelf


def names(text):
    """What is listed; on a busy machine short tasks may take long enough to be saved, too."""
    return [name for name in (line.split()[0] for line in text.splitlines()[2:]) if name not in ("hidden", "add", "mean")]


@pytest.mark.parametrize(("query", "found"), [
    ([], ["big", "quick", "st", "sweep"]), (["tag:md"], ["big", "st"]), (["tag:md", "and", "size>1KiB"], ["big"]),
    (["unit:angstrom"], ["big"]), (["s*"], ["st", "sweep"]), (["not", "operation:scaled"], ["quick", "st"]),
    (["workflow:small", "blocks>3"], ["sweep"]), (["rows=3000"], ["big"]), (["dtype:float64 size<100"], ["quick", "st"]),
    (["--instances", "sweep*"], ["sweep", "sweep[T=1]", "sweep[T=2]"]), (["file:*st.h5"], ["st"]), (["age>1d"], []),
    (["rank=0 or rank=1"], ["big", "quick", "st", "sweep"])], ids=str)
def test_ls_lists_what_a_query_fits(ran, command, query, found):
    ended = command("ls", *query, cwd=ran)
    assert (ended.status, ended.err) == (0, "") and names(ended.out) == found


def test_ls_says_shape_unit_size_and_place(ran, command):
    lines = command("ls", cwd=ran).out.splitlines()
    assert lines[0] == "workflow small"
    assert lines[2].split()[:9] == ["big", "3000", "×", "4", "float64", "angstrom", "93.8", "KiB", "store"]
    assert "quick.npy" in lines[3] and "8 B" in lines[3] and "store, st.h5" in lines[4]


def test_ls_as_json_has_every_block_with_its_lineage(ran, command):
    big, = json.loads(command("ls", "big", "--json", cwd=ran).out)
    assert big["form"] == [{"column": "", "dtype": "float64", "shape": [3000, 4]}] and big["missing"] == []
    block = big["blocks"]["2"]
    assert block["operation"] == "scaled" and block["parameters"] == {"k": 2.0} and block["inputs"][0]["name"] == "x"
    assert {one["rank"] for one in big["blocks"].values()} <= {0, 1}


def test_ls_names_operations(ran, command):
    assert names("\n" + command("ls", "--operations", cwd=ran).out) == ["scaled", "stats"]
    scaled, = json.loads(command("ls", "--operations", "step:sweep", "--json", cwd=ran).out)
    assert scaled["num"] == 6 + 3 and scaled["steps"] == ["big", "sweep"]


def test_a_tag_that_is_misspelt_is_suggested(ran, command):
    ended = command("ls", "tag:mdd", cwd=ran)
    assert (ended.status, ended.out) == (0, "nothing\n") and "nothing has the tag 'mdd'; did you mean 'md'?" in ended.err


def test_show_says_where_a_dataset_comes_from(ran, command):
    out = command("show", "st", cwd=ran).out
    assert "st: table of 2 columns: mean, std, 64 B" in out and "from      x: big (3 blocks)" in out
    assert "big = scaled(x: x)" in out and f"{ran}/out/st.h5" in out and "tags      result md" in out
    out = command("show", "big", cwd=ran).out
    assert 'with      {"k":2.0}' in out and "blocks    3; in the store: all" in out and "angstrom" in out
    assert "T=2" in command("show", "sweep", cwd=ran).out


def test_show_takes_ids_of_datasets_and_blocks_and_operations(ran, command):
    big, = json.loads(command("ls", "big", "--json", cwd=ran).out)
    assert command("show", big["id"][:12], cwd=ran).out.startswith("big: ")
    assert command("show", big["blocks"]["1"]["id"][:12], cwd=ran).out.startswith("a block of big: 1000 × 4 float64")
    assert "stats" in command("show", "stats", cwd=ran).out


@pytest.mark.parametrize(("words", "message"), [
    (["show", "bgi"], "no dataset 'bgi' in the store; did you mean 'big'?"), (["show", "stat"], "did you mean 'stats'?"),
    (["get", "sweep[T=3]", "-o", "a.npy"], "did you mean 'sweep[T="),
    (["get", "x", "-o", "a.npy"], "it has big,"),
    (["get", "st.men", "-o", "a.npy"], "'st' has no column 'men'; did you mean 'mean'?"),
    (["get", "big.mean", "-o", "a.npy"], "'big' has no column 'mean': it is no table"),
    (["get", "big", "-o", "a.npz"], "cannot write .npz; did you mean '.npy'?"), (["ls", "szie>1"], "did you mean 'size'?"),
    (["ls", "--store", "nowhere"], "no store nowhere"), (["show", "big", "--workflow", "smal"], "no dataset 'big'")])
def test_what_is_not_there_is_one_message_and_status_2(ran, command, words, message, tmp_path):
    ended = command(*[tmp_path / word if word.startswith("a.") else word for word in words], cwd=ran)
    assert (ended.status, ended.out) == (2, "") and message in ended.err
    assert all(len(line) <= 80 for line in ended.err.replace(str(tmp_path), "").splitlines())


def test_get_puts_blocks_together(ran, command, tmp_path):
    ended = command("get", "big", "-o", tmp_path / "big.npy", cwd=ran)
    assert ended.status == 0 and "big of small, 3000 × 4 float64, from .mpiflow" in ended.out
    big = np.load(tmp_path / "big.npy")
    command("get", "sweep[T=2]", "-o", tmp_path / "two.h5", cwd=ran)
    with h5py.File(tmp_path / "two.h5") as opened, h5py.File(ran / "out/sweep.h5") as written:
        two = opened["sweep[T=2]"]
        assert np.array_equal(two[()], 2 * big) and np.array_equal(two[()], written["sweep/T=2"][()])
        assert two.attrs["source"] == "small" and list(two.attrs["tags"]) == ["sweep"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["big.npy", "two.h5"]


def test_get_writes_tables_for_spreadsheets(ran, command, tmp_path):
    assert command("get", "st", "-o", tmp_path / "st.csv", cwd=ran).status == 0
    head, *rows = csv.reader((tmp_path / "st.csv").read_text().splitlines())
    with h5py.File(ran / "out/st.h5") as opened:
        assert head == ["mean", "std"] and np.array_equal(np.array(rows, float)[:, 1], opened["st/std"][()])
    assert command("get", "st.mean", "-o", tmp_path / "mean.npy", cwd=ran).status == 0
    assert np.array_equal(np.load(tmp_path / "mean.npy"), np.array(rows, float)[:, 0])
    ended = command("get", "st", "-o", tmp_path / "st.npy", cwd=ran)
    assert ended.status == 1 and "choose a column, e.g. st.mean" in ended.err


def test_get_takes_a_result_from_its_file_and_from_the_store_when_that_has_changed(ran, command, tmp_path):
    def origin(output):
        return json.loads(command("get", "st", "-o", tmp_path / output, "--json", cwd=ran).out)["from"]

    file = ran / "out/st.h5"
    assert origin("st.csv") == str(file)
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    os.utime(file, ns=(times[0], times[1] + 1))
    try:
        assert origin("again.csv") == ".mpiflow"
    finally:
        os.utime(file, ns=times)
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "st.csv").read_bytes()


def test_get_takes_what_was_not_saved_from_the_file_of_results(command, tmp_path):
    file, store = tmp_path / "quick.npy", tmp_path / "store"
    np.save(file, np.array([1.5, 2.5]))
    value, shelf = as_value(stamp(file)), Shelf(store, "run", 0, 1000)
    shares = (Share("quick", "ab" * 16, 0, 2, "nm"),)
    shelf.add(replace(made(0, value), workflow="w", kind="write", shares=shares, file=str(file)), value)
    shelf.end()
    assert "2 float64" in command("ls", "unit:nm and size=16 and not blocks<2", "--store", store).out
    ended = command("get", "quick", "-o", tmp_path / "quick.csv", "--json", "--store", store)
    assert json.loads(ended.out)["from"] == str(file) and (tmp_path / "quick.csv").read_text() == "quick\n1.5\n2.5\n"
    np.save(file, np.array([1.5, 2.5, 3.5]))
    ended = command("get", "quick", "-o", tmp_path / "again.csv", "--store", store)
    assert ended.status == 1 and "has changed since" in ended.err and "none of its blocks was saved" in ended.err


@pytest.fixture
def copied(ran, tmp_path):
    """A store that may be changed; results are where they were."""
    shutil.copytree(ran / ".mpiflow", tmp_path / "store")
    return tmp_path / "store"


def test_get_says_what_to_do_about_blocks_that_are_not_there(ran, command, copied, tmp_path):
    contents = read_contents(copied)
    big = next(dataset for dataset in contents.datasets if dataset.name == "big")
    place = contents.found.places[big.blocks[1].id]
    data = bytearray(Path(place.file).read_bytes())
    data[place.offset + 1000] ^= 255
    Path(place.file).write_bytes(data)
    ended = command("get", "big", "--store", copied, "-o", tmp_path / "big.npy", cwd=tmp_path)
    assert ended.status == 1 and not (tmp_path / "big.npy").exists()
    assert "block 1 of 3 (from 0) is not there" in ended.err and "--resume" in ended.err
    out = command("ls", "big", "--store", copied).out
    assert "store (2 of 3)" in out and "? × 4 float64" in out


def test_a_damaged_journal_is_told_and_the_rest_is_listed(command, copied, tmp_path):
    file = max(copied.glob("journals/*"), key=lambda file: file.stat().st_size)
    data = bytearray(file.read_bytes())
    data[200] ^= 255
    file.write_bytes(data)
    ended = command("ls", "--store", copied, cwd=tmp_path)
    assert ended.status == 0 and "damaged; what follows can be read" in ended.err and len(names(ended.out)) > 1


def test_a_journal_that_is_being_written_is_no_damage(command, copied, tmp_path):
    file = max(copied.glob("journals/*"), key=lambda file: file.stat().st_size)
    file.write_bytes(file.read_bytes()[:-10])
    assert command("ls", "--store", copied, cwd=tmp_path).err == ""

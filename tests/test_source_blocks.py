"""The blocks of a source: which rows of which file, who can load them, and what cannot be used."""

from itertools import pairwise

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mpiflow.catalog.entries import SourceEntry
from mpiflow.errors import DocumentError
from mpiflow.planning.sources import source_blocks
from mpiflow.workflow.reading import read_workflow

law = settings(derandomize=True, deadline=None)


def workflow_of(**dataset):
    document = {"mpiflow": 1, "name": "t", "datasets": {"d": dataset}, "steps": {"s": "sum(d)"}}
    return read_workflow(yaml.safe_dump(document), "w.yaml")


def entry(file="/x.h5", shape=(10, 3), dtype="<f8", unit="", holders=(0,), size=500, dataset="d", chunk=0):
    return SourceEntry(dataset, file, size, 1, 2, shape, dtype, unit, holders, chunk)


def blocks_of(*files, **dataset):
    workflow = workflow_of(**(dataset or {"file": "/x.h5", "path": "x"}))
    blocks = source_blocks(workflow, ["d"], files)["d"]
    workflow.finish()
    return blocks


def refused(*files, **dataset):
    with pytest.raises(DocumentError) as error:
        blocks_of(*files, **({"file": "/x.h5", "path": "x"} | dataset))
    assert len(error.value.problems) == 1
    return error.value.problems[0].message


def rows(blocks):
    return [(block.start, block.stop) for block in blocks]


@law
@given(st.integers(0, 50), st.integers(1, 60))
def test_blocks_cover_all_rows_once_and_in_order(num_rows, num_blocks):
    blocks = blocks_of(arange={"stop": num_rows}, blocks=num_blocks)
    assert [row for start, stop in rows(blocks) for row in range(start, stop)] == list(range(num_rows))


@law
@given(st.integers(0, 50), st.integers(1, 60))
def test_blocks_differ_by_one_row_at_most_and_are_never_empty_if_there_are_rows(num_rows, num_blocks):
    lengths = [stop - start for start, stop in rows(blocks_of(arange={"stop": num_rows}, blocks=num_blocks))]
    assert len(lengths) == max(min(num_rows, num_blocks), 1) and max(lengths) - min(lengths) <= 1


def test_chosen_rows_may_end_where_the_file_does():
    assert rows(blocks_of(entry(shape=(10,)), file="/x.h5", path="x", rows=[5, 10])) == [(5, 10)]


@law
@given(st.integers(0, 20), st.integers(1, 20), st.integers(1, 9))
def test_blocks_of_chosen_rows_cover_those(first, num, num_blocks):
    blocks = blocks_of(entry(shape=(50,)), file="/x.h5", path="x", rows=[first, first + num], blocks=num_blocks)
    assert [row for start, stop in rows(blocks) for row in range(start, stop)] == list(range(first, first + num))


@law
@given(st.integers(0, 30), st.integers(1, 90), st.integers(1, 20), st.integers(1, 40))
def test_blocks_end_with_chunks_or_differ_by_one_row_at_most(first, num, num_blocks, chunk):
    file = {"file": "/x.h5", "path": "x", "rows": [first, first + num], "blocks": num_blocks}
    found = rows(blocks_of(entry(shape=(120,), chunk=chunk), **file))
    lengths = [stop - start for start, stop in found]
    assert [row for start, stop in found for row in range(start, stop)] == list(range(first, first + num))
    assert len(found) == min(num_blocks, num) and min(lengths) > 0
    whole = all(start % chunk == 0 for start, _ in found[1:])
    assert (whole and max(lengths) <= 1.25 * -(-num // len(found))) or max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize(("num", "blocks", "chunk", "edges"), [
    (1000, 4, 100, [0, 200, 500, 700, 1000]), (1000, 4, 250, [0, 250, 500, 750, 1000]), (1000, 3, 1, [0, 333, 666, 1000]),
    (1000, 8, 10, [0, 120, 250, 370, 500, 620, 750, 870, 1000]), (1000, 4, 300, [0, 300, 600, 900, 1000]),
    (1000, 4, 220, [0, 250, 500, 750, 1000]), (1000, 4, 1000, [0, 250, 500, 750, 1000]), (1050, 4, 100, [0, 200, 500, 800, 1050]),
])
def test_files_are_cut_where_chunks_end_unless_blocks_would_be_too_uneven(num, blocks, chunk, edges):
    found = rows(blocks_of(entry(shape=(num, 3), chunk=chunk), file="/x.h5", path="x", blocks=blocks))
    assert found == list(pairwise(edges))


def test_datasets_with_as_many_rows_and_blocks_are_cut_alike_at_chunks_of_the_largest():
    document = {"mpiflow": 1, "name": "t", "steps": {"s": "sum(b)"}, "datasets": {
        "a": {"random": {"shape": [1000]}, "blocks": 8}, "b": {"file": "/b.h5", "path": "x", "blocks": 8},
        "c": {"file": "/c.h5", "path": "x", "blocks": 8, "rows": [500, 1500]}, "d": {"random": {"shape": [1000]}, "blocks": 7}}}
    files = [entry("/b.h5", (1000, 3), dataset="b", chunk=10), entry("/c.h5", (2000,), dataset="c", chunk=100)]
    blocks = source_blocks(read_workflow(yaml.safe_dump(document), "w.yaml"), "abcd", files)
    assert rows(blocks["a"]) == rows(blocks["b"]) == [(start - 500, stop - 500) for start, stop in rows(blocks["c"])]
    assert rows(blocks["b"])[0] == (0, 120) and rows(blocks["d"])[0] == (0, 142)


@pytest.mark.parametrize(("dataset", "nbytes"), [
    ({"random": {"shape": [4, 5, 2]}}, 320), ({"normal": {"shape": [4], "dtype": "float32"}}, 16), ({"arange": {"stop": 3}}, 24),
    ({"full": {"shape": [3, 2], "value": 1, "dtype": "int32"}}, 24)], ids=str)
def test_the_size_of_a_generated_block_is_known(dataset, nbytes):
    assert [block.nbytes for block in blocks_of(**dataset)] == [nbytes]


def test_a_generated_block_can_be_made_anywhere():
    assert blocks_of(arange={"stop": 3})[0].holders is None


def test_the_size_and_the_holders_of_a_block_of_a_file_are_known():
    block = blocks_of(entry(shape=(10, 3), dtype=">i2", holders=(1, 4)))[0]
    assert (block.nbytes, block.holders, block.file) == (60, (1, 4), "/x.h5")


def test_a_single_number_is_one_block():
    assert rows(blocks_of(entry(shape=()))) == [(0, 1)] and blocks_of(entry(shape=()))[0].nbytes == 8


def test_a_file_without_rows_is_one_empty_block():
    assert rows(blocks_of(entry(shape=(0, 3)))) == [(0, 0)]


def test_each_file_of_a_glob_is_cut_by_itself():
    files = [entry("/a.h5", (4, 3)), entry("/b.h5", (2, 3))]
    blocks = blocks_of(*files, file="/*.h5", path="x", blocks=2)
    assert [(block.file, block.start, block.stop) for block in blocks] == [
        ("/a.h5", 0, 2), ("/a.h5", 2, 4), ("/b.h5", 0, 1), ("/b.h5", 1, 2)]


def test_files_of_other_datasets_do_not_count():
    assert len(blocks_of(entry(), entry("/y.h5", dataset="e"))) == 1


@pytest.mark.parametrize("changed", [{"size": 501}, {"file": "/y.h5"}])
def test_the_recipe_of_a_block_changes_with_its_file(changed):
    assert blocks_of(entry())[0].recipe != blocks_of(entry(**changed))[0].recipe


def test_the_recipe_of_a_block_does_not_depend_on_who_sees_its_file():
    assert blocks_of(entry(holders=(0,)))[0].recipe == blocks_of(entry(holders=(1, 2)))[0].recipe


def test_files_may_differ_in_byte_order():
    assert len(blocks_of(entry("/a.h5"), entry("/b.h5", dtype=">f8"), file="/*.h5", path="x")) == 2


@pytest.mark.parametrize(("one", "other"), [("nm", "nm"), ("Angstrom", "angstrom"), ("Pixel", "pixel"), ("nm", None), ("", "nm")])
def test_units_that_agree_or_are_given_once_are_right(one, other):
    assert blocks_of(entry(unit=one), file="/x.h5", path="x", **({"unit": other} if other else {}))


@pytest.mark.parametrize(("one", "other"), [("nm", "pm"), ("mPa", "MPa"), ("mmol", "Mmol"), ("mPa*s", "MPa*s")])
def test_units_that_differ_are_refused(one, other):
    assert refused(entry(unit=one), unit=other) == f"the document says {other}, /x.h5 says {one}"


def test_copies_on_several_disks_are_one_file_whatever_their_inodes():
    copies = [entry(holders=(0, 2)), replace(entry(holders=(1,)), inode=77)]
    (both,), (one,), (other,) = blocks_of(*copies), blocks_of(copies[0]), blocks_of(copies[1])
    assert both.holders == (0, 1, 2) and both.recipe == one.recipe == other.recipe
    assert both.stamp[2] == 0 and one.stamp[2] == 2


@pytest.mark.parametrize(("files", "dataset", "message"), [
    ([], {}, "no rank sees the file '/x.h5' (relative paths start at the workflow file)"),
    ([], {"file": "/*.h5"}, "no rank sees a file that matches '/*.h5' (relative paths start at the workflow file)"),
    ([entry(holders=(0, 2)), entry(size=7, holders=(1,))], {},
     "'/x.h5' is not the same file on all ranks (ranks 0, 2: 500 bytes; ranks 1: 7 bytes); "
     "give node-local parts different names and use a glob, e.g. part-*.h5"),
    ([entry("/a.h5"), entry("/b.h5", (10, 4))], {"file": "/*.h5"},
     "files cannot be joined: /a.h5 holds float64 (10, 3), /b.h5 holds float64 (10, 4)"),
    ([entry("/a.h5"), entry("/b.h5", dtype="<f4")], {"file": "/*.h5"},
     "files cannot be joined: /a.h5 holds float64 (10, 3), /b.h5 holds float32 (10, 3)"),
    ([entry("/a.h5", (3,)), entry("/b.h5", ())], {"file": "/*.h5"},
     "files cannot be joined: /a.h5 holds float64 (3,), /b.h5 holds float64 ()"),
    ([entry("/a.h5", ()), entry("/b.h5", ())], {"file": "/*.h5"},
     "'/*.h5' holds a single number; it has no rows to cut or to join"),
    ([entry(shape=())], {"blocks": 2}, "'/x.h5' holds a single number; it has no rows to cut or to join"),
    ([entry(shape=())], {"rows": [0, 1]}, "'/x.h5' holds a single number; it has no rows to cut or to join"),
    ([entry("/a.h5", unit="nm"), entry("/b.h5")], {"file": "/*.h5"}, "files have different units: nm, none"),
    ([entry()], {"rows": [5, 11]}, "rows: [5, 11] goes beyond the 10 rows of /x.h5"),
    ([entry("/a.h5", (12, 3)), entry("/b.h5", (10, 3))], {"file": "/*.h5", "rows": [5, 11]},
     "rows: [5, 11] goes beyond the 10 rows of /b.h5"),
], ids=lambda item: item if isinstance(item, str) else "")
def test_files_that_cannot_be_used_are_one_problem_that_says_why(files, dataset, message):
    assert refused(*files, **dataset) == message

"""Previews of results: enough numbers for a plot, and those that matter."""

import h5py
import numpy as np
import pytest

from mpiflow.operations.values import as_value
from mpiflow.storage.preview import CELLS, POINTS, ROWS, previews, result_files
from mpiflow.storage.results import Result, write_results


@pytest.fixture
def preview(tmp_path):
    """Write a value as results are written, and look at it."""
    def look(value, name="r.h5"):
        write_results(tmp_path / name, [Result("x", as_value(value), "m", ("t",), "abc", "f(y)")])
        return previews(tmp_path / name, "x")[0]
    return look


def test_a_number_is_a_value_with_its_unit(preview):
    found = preview(2.5)
    assert (found["name"], found["kind"], found["value"], found["unit"], found["id"]) == ("x", "value", 2.5, "m", "abc")


def test_a_short_line_has_all_its_values(preview):
    found = preview(np.array([1.0, 4.0, 9.0]))
    assert (found["kind"], found["x"], found["low"], found["high"]) == ("line", [0, 1, 2], [1, 4, 9], [1, 4, 9])


def test_a_long_line_keeps_its_peaks(preview):
    values = np.zeros(100_000)
    values[77_777], values[5] = 42, -1
    found = preview(values)
    assert len(found["x"]) == POINTS and max(found["high"]) == 42 and min(found["low"]) == -1


def test_what_is_no_number_is_left_out_of_a_line(preview):
    found = preview(np.array([1.0, np.nan, np.inf]))
    assert found["low"] == [1.0, None, None]


def test_a_matrix_is_means_over_its_parts(preview):
    found = preview(np.arange(200 * 300.0).reshape(200, 300))
    assert found["kind"] == "image" and (len(found["rows"]), len(found["rows"][0])) == CELLS
    assert found["rows"][0][0] < found["rows"][0][-1] < found["rows"][-1][-1]


def test_of_more_than_two_axes_the_first_matrix_is_shown(preview):
    found = preview(np.stack([np.zeros((8, 8)), np.ones((8, 8))]))
    assert found["first"] == 2 and {value for row in found["rows"] for value in row} == {0.0}


def test_a_matrix_of_few_columns_and_a_table_are_rows(preview):
    assert preview(np.ones((100, 3)))["rows"] == [[1.0] * 3] * ROWS
    found = preview({"a": np.arange(100), "b": np.arange(100) / 2, "c": np.eye(2)})
    assert (found["kind"], found["columns"], found["rows"][1]) == ("table", ["a", "b"], [1, 0.5])
    assert "c float64 2x2" in found["forms"]


def test_texts_and_pictures_are_shown_and_other_bytes_are_not(preview):
    def data(content):
        return np.frombuffer(content, np.uint8)
    assert preview(data(b"energy 1.5\n"), "log.txt")["text"] == "energy 1.5\n"
    assert preview(data(b"\x89PNG\r\n"), "p.png")["source"].startswith("data:image/png;base64,iVBO")
    assert preview(data(b"a\0b"), "x.bin")["kind"] == "none"


def test_an_array_file_is_previewed_by_the_name_of_its_dataset(preview):
    assert preview(np.arange(5), "r.npy")["name"] == "x"


def test_a_file_that_is_gone_or_damaged_says_so(tmp_path):
    assert "No such file" in previews(tmp_path / "no.h5", "x")[0]["text"]
    (tmp_path / "bad.h5").write_bytes(b"nothing")
    assert previews(tmp_path / "bad.h5", "x")[0]["kind"] == "none"


def test_the_files_of_a_run_are_those_that_its_tasks_wrote(tmp_path):
    with h5py.File(tmp_path / "r.h5", "w") as opened:
        opened["y"] = [1, 2]
    tasks = [{"kind": "apply", "step": "y", "needs": []},
             {"kind": "write", "step": "r.h5", "needs": [0], "parameters": {"file": "r.h5"}, "state": "done"},
             {"kind": "write", "step": "s.npy", "needs": [0], "parameters": {"file": "s.npy"}, "state": "cancelled"}]
    written, missing = result_files({"tasks": tasks, "results": str(tmp_path)})
    assert written["written"] and [one["name"] for one in written["previews"]] == ["y"]
    assert not missing["written"] and missing["previews"] == []

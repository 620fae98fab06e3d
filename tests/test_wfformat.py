"""Recorded workflows: WfFormat to a workflow that replays it, and the record of a run to WfFormat."""

from __future__ import annotations

import copy
import json
import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from launching import EXAMPLES, mpiflow

from mpiflow.errors import DocumentError
from mpiflow.operations.registry import builtin_operations
from mpiflow.operations.values import nbytes
from mpiflow.peer.execute import Executor
from mpiflow.planning.lowering import lower
from mpiflow.planning.tasks import Kind
from mpiflow.report.wfformat import to_wfformat
from mpiflow.workflow.reading import read_workflow
from mpiflow.workflow.wfformat import column_name, file_name, read_wfformat, replaying

ALIGN = EXAMPLES / "wfformat" / "align.json"
REPLAY = builtin_operations()["replay"].function


def instance(*tasks, sizes=None, **changed):
    """Give an instance of tasks (id, files read, files written, seconds)."""
    sizes = {file: 10 for _, read, written, _ in tasks for file in (*read, *written)} | (sizes or {})
    return {"name": "made", "schemaVersion": "1.5", "workflow": {
        "specification": {"tasks": [{"name": name.split("_")[0], "id": name, "parents": [], "children": [],
                                     "inputFiles": read, "outputFiles": written} for name, read, written, _ in tasks],
                          "files": [{"id": file, "sizeInBytes": size} for file, size in sizes.items()]},
        "execution": {"makespanInSeconds": 1, "executedAt": "2026-01-01T00:00:00Z",
                      "tasks": [{"id": name, "runtimeInSeconds": seconds} for name, _, _, seconds in tasks]}}, **changed}


CHAIN = (("a_1", ["x"], ["y"], 2.0), ("b_2", ["x", "y"], ["z"], 3))


def recorded(data):
    return read_wfformat(json.dumps(data).encode(), "w.json")


def graph_of(data, **scales):
    workflow = read_workflow(replaying(recorded(data), **scales), "w.yaml")
    return workflow, lower(workflow, builtin_operations(), (), 4)


def replays(graph):
    return {dict(task.parameters)["task"]: task for task in graph.tasks if task.operation == "replay"}


# Reading

def test_the_graph_follows_from_the_files():
    assert list(recorded(instance(*CHAIN)).graph.edges) == [("a_1", "b_2")]


def test_recorded_parents_that_contradict_the_files_are_a_warning():
    (warning,) = recorded(instance(*CHAIN)).warnings
    assert warning == ("1 of 2 tasks have other parents than their files say, which are taken; the first is 'b_2': "
                       "'a_1' not recorded, but a file of theirs is read")
    assert not read_wfformat(ALIGN.read_bytes(), "w.json").warnings


def without(data, *path):
    data = copy.deepcopy(data)
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return data


GOOD = instance(*CHAIN)


@pytest.mark.parametrize(("data", "message"), [
    (b"{", "not JSON: Input data was truncated"), (b"[]", "not WfFormat 1.5: Expected `object`, got `array`"), (b"", "not JSON"),
    (b'{"schemaVersion": "\xff"}', "not"), (b"[" * 100_000, "not"),
    (GOOD | {"schemaVersion": "1.4"}, "schemaVersion is '1.4'; only 1.5 can be read"),
    (without(GOOD, "schemaVersion"), "missing required field `schemaVersion`"),
    (without(GOOD, "workflow", "execution"), "missing required field `execution` - at `$.workflow`"),
    (without(GOOD, "workflow", "specification", "tasks", 0, "id"), "missing required field `id`"),
    (without(GOOD, "workflow", "specification", "files", 0), "file 'x' of task 'a_1' has no size under 'files'"),
    (without(GOOD, "workflow", "execution", "tasks", 1), "task 'b_2' has no runtimeInSeconds under 'execution'"),
    (instance(("a", ["y"], ["x"], 1), ("b", ["x"], ["y"], 1)), "tasks need each other's files: 'a' -> 'b' -> 'a'"),
    (instance(("a", ["x"], ["x"], 1)), "tasks need each other's files: 'a' -> 'a'"),
    (instance(("a", [], ["x"], 1), ("b", [], ["x"], 1)), "file 'x' is written by two tasks, 'a' and 'b'"),
    (instance(("a", [], [], 1), ("a", [], [], 1)), "task 'a' is there twice"),
    (instance(("a", [], [], -1)), "Expected `float` >= 0.0 - at `$.workflow.execution.tasks[0].runtimeInSeconds`"),
    (instance(*CHAIN, sizes={"x": -1}), "Expected `int` >= 0"), (instance(*CHAIN, sizes={"x": 10**30}), "not"),
    (instance(("a\n", [], [], 1)), "an id must be printable"),
    (instance(), "Expected `array` of length >= 1"),
])
def test_what_cannot_be_replayed_is_one_error(data, message):
    with pytest.raises(DocumentError) as error:
        read_wfformat(data if isinstance(data, bytes) else json.dumps(data).encode(), "w.json")
    (problem,) = error.value.problems
    assert str(problem).startswith("w.json: ") and message in str(problem)


# The document

def test_sizes_and_times_are_those_that_were_recorded():
    _, graph = graph_of(json.loads(ALIGN.read_text()))
    found = replays(graph)
    data = recorded(json.loads(ALIGN.read_text()))
    assert {name: task.seconds for name, task in found.items()} == data.seconds
    assert {name: task.nbytes for name, task in found.items()} == {
        name: sum(data.sizes[file] for file in task.output_files) or 1 for name, task in data.tasks.items()}


def test_sizes_and_times_are_scaled():
    _, graph = graph_of(instance(*CHAIN, sizes={"z": 1003}), time_scale=0.5, size_scale=0.1)
    found = replays(graph)
    assert [(task.seconds, task.nbytes) for task in found.values()] == [(1.0, 1), (1.5, 100)]


def test_a_step_reads_exactly_its_files_and_every_size_is_exact(tmp_path):
    workflow, graph = graph_of(json.loads(ALIGN.read_text()), time_scale=0.0, size_scale=0.01)
    executor, values = Executor(workflow, builtin_operations(), graph, tmp_path), {}
    for number, task in enumerate(graph.tasks):
        values[number] = executor.run(number, values)
        assert task.nbytes == nbytes(values[number])
    task = replays(graph)["report_7"]
    (needed,) = task.needs
    assert (graph.tasks[needed].operation, dict(graph.tasks[needed].parameters)) == ("column", {"name": "merged.bam"})


def test_files_of_one_size_stay_apart():
    _, graph = graph_of(instance(("a", ["x", "y", "z"], [], 1)))
    assert sum(task.kind is Kind.LOAD for task in graph.tasks) == 3


def test_tasks_that_do_the_same_stay_apart():
    _, graph = graph_of(instance(("a", ["x"], [], 1), ("b", ["x"], [], 1)))
    assert len(replays(graph)) == 2


@pytest.mark.parametrize("ids", [
    ("a b", "a.b", "a_b", "a-b"), ("1", "2x", "class"), ("é", "ß"), ("#", ".", "..", "%", "%2E", "%2F", "/"), ("$a", "${a}",
    "$$"),
    ("x" * 300, "x" * 299 + "y"), ("it's", 'a "quote"', "back\\slash"), ("{a: 1}", "[1, 2]", "a, b", "# a", ": a"),
])
def test_any_ids_give_a_workflow_and_are_kept(ids):
    data = instance(*((name, [f"{other}" for other in ids[:number]], [name], 1) for number, name in enumerate(ids)))
    workflow, graph = graph_of(data)
    found = replays(graph)
    assert tuple(found) == ids
    for number, name in enumerate(ids):
        read = [dict(graph.tasks[needed].parameters)["name"] for needed in found[name].needs]
        assert [file_name(column) for column in read] == list(ids[:number])
    assert all(re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name) for name in workflow.document.steps)


@settings(derandomize=True, deadline=None)
@given(st.text(min_size=1))
def test_a_file_can_be_told_from_its_column(name):
    assert file_name(column_name(name)) == name
    assert "/" not in column_name(name)


def test_very_many_files_are_read_and_written():
    files = [f"f{number}.txt" for number in range(2000)]
    _, graph = graph_of(instance(("a", [], files, 1), ("b", files, [], 1)))
    assert len(replays(graph)["b"].needs) == 2000


# Replaying

def test_a_replayed_task_takes_its_time():
    start = time.perf_counter()
    REPLAY(np.ones(1000), seconds=0.05)
    assert time.perf_counter() - start >= 0.05


def test_a_replayed_task_makes_its_files():
    made = REPLAY({"x": np.ones(3)}, np.zeros(()), files=[["a", 3], ["b", 0], ["c", 1000]])
    assert {name: (array.dtype.name, array.size) for name, array in made.items()} == {
        "a": ("uint8", 3), "b": ("uint8", 0), "c": ("uint8", 1000)}
    assert REPLAY(files=[["a", 3]])["a"].tolist() == made["a"].tolist()
    assert REPLAY().shape == (1,)


# Exporting

def check_instance(data):
    """What the schema of WfFormat 1.5 asks for, as far as mpiflow writes it."""
    assert data["schemaVersion"] == "1.5" and data["name"]
    specification, execution = data["workflow"]["specification"], data["workflow"]["execution"]
    tasks, files = specification["tasks"], {file["id"]: file["sizeInBytes"] for file in specification["files"]}
    ids = {task["id"] for task in tasks}
    assert len(ids) == len(tasks) >= 1 and len(files) == len(specification["files"])
    for task in tasks:
        assert task["name"] and {*task["parents"], *task["children"]} <= ids
        assert all(re.fullmatch("[0-9a-zA-Z-_.#]+", name) for name in (task["id"], *task["parents"], *task["children"]))
        assert {*task["inputFiles"], *task["outputFiles"]} <= set(files)
    assert all(re.fullmatch("[0-9a-zA-Z-_./:#]+", name) and isinstance(size, int) and size >= 0 for name, size in files.items())
    assert execution["makespanInSeconds"] > 0 and execution["executedAt"] and execution["machines"]
    assert [task["id"] for task in execution["tasks"]] == [task["id"] for task in tasks]
    hosts = {machine["nodeName"] for machine in execution["machines"]}
    assert all(task["runtimeInSeconds"] >= 0 and set(task["machines"]) <= hosts for task in execution["tasks"])
    parents = {(parent, task["id"]) for task in tasks for parent in task["parents"]}
    assert parents == {(task["id"], child) for task in tasks for child in task["children"]}


def test_a_recorded_workflow_goes_round(tmp_path):
    ended = mpiflow(None, "import", "wfformat", ALIGN, "-o", "workflow.yaml", "--time-scale", "0.01", "--size-scale", "0.001",
                    cwd=tmp_path)
    assert (ended.status, ended.out, ended.err) == (0, "workflow.yaml: 7 tasks, 14 files\n", "")
    assert mpiflow(2, "workflow.yaml", "--record", "record.json", cwd=tmp_path).status == 0
    ended = mpiflow(None, "export", "wfformat", "record.json", "-o", "ran.json", cwd=tmp_path)
    assert (ended.status, ended.out) == (0, "ran.json: 7 tasks\n")
    data = json.loads((tmp_path / "ran.json").read_text())
    check_instance(data)
    first, again = read_wfformat(ALIGN.read_bytes(), "first"), read_wfformat((tmp_path / "ran.json").read_bytes(), "again")
    assert list(again.tasks) and not again.warnings
    assert (set(again.graph.nodes), set(again.graph.edges)) == (set(first.graph.nodes), set(first.graph.edges))
    for name, task in first.tasks.items():
        assert (again.tasks[name].name, set(again.tasks[name].input_files), set(again.tasks[name].output_files)) == (
            task.name, set(task.input_files), set(task.output_files))
        assert again.seconds[name] >= first.seconds[name] * 0.01
    assert again.sizes == {file: round(size * 0.001) for file, size in first.sizes.items()}


def test_a_run_of_any_workflow_is_exported(tmp_path):
    (tmp_path / "w.yaml").write_text(
        "mpiflow: 1\nname: any\ndatasets: {x: {random: {shape: [100]}, blocks: 3}}\n"
        "steps: {m: moments(x).std, s: {for: {i: [1, 2]}, run: x * $i}, t: sort(s) + m}\nresults: {t: out/t.h5, m: out/t.h5}\n")
    assert mpiflow(None, "w.yaml", "--record", "record.json", cwd=tmp_path).status == 0
    assert mpiflow(None, "export", "wfformat", "record.json", "-o", "ran.json", cwd=tmp_path).status == 0
    data = (tmp_path / "ran.json").read_bytes()
    check_instance(json.loads(data))
    again = read_wfformat(data, "again")
    assert not again.warnings
    assert sum(task.name == "write" for task in again.tasks.values()) == 1


@pytest.mark.parametrize(("data", "message"), [
    (b"{", "not the record of a run"), (b"{}", "missing required field"), (b"\xff", "not the record of a run"),
    (json.dumps({"name": "n", "started": "2026-01-01", "seconds": 1, "hosts": [], "tasks": [], "datasets": {}}).encode(),
     "nothing to export"),
    (json.dumps({"name": "n", "started": "today", "seconds": 1, "hosts": [], "tasks": [], "datasets": {}}).encode(), "isoformat"),
])
def test_what_is_no_record_is_one_error(data, message):
    with pytest.raises(DocumentError, match=message):
        to_wfformat(data, "record.json")


@pytest.mark.parametrize("arguments", [
    ("import", "wfformat", "none.json"), ("import", "wfformat", "bad.json"), ("import", "dax", "bad.json"),
    ("import", "wfformat", ALIGN, "--time-scale", "-1"), ("import", "wfformat", ALIGN, "-o", "bad.json/x"),
    ("export", "wfformat", "none.json"), ("export", "wfformat", "bad.json"), ("import",), ("export",),
])
def test_a_wrong_command_ends_with_status_2_and_one_message(arguments, tmp_path):
    (tmp_path / "bad.json").write_text("{}")
    ended = mpiflow(None, *arguments, cwd=tmp_path)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("mpiflow: error: ") and "Traceback" not in ended.err

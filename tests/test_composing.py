"""Workflows in workflows: their names, ids, operations and files, and where their mistakes are."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from launching import EXAMPLES, mpiflow
from test_loops import REGISTRY

from mpiflow.errors import DocumentError
from mpiflow.peer.reading import read
from mpiflow.peer.staging import pack, unpack
from mpiflow.planning.lowering import lower
from mpiflow.workflow.reading import read_workflow

HEAD = "mpiflow: 1\nname: w\ndatasets: {A: {arange: {stop: 6}, blocks: 2}, y: {arange: {stop: 3}}}\nsteps:\n"
FILES = {
    "sub.yaml": """\
mpiflow: 1
name: sub
params: {n: 3, by: 1}
inputs: [x]
datasets: {x: {arange: {stop: 4}}, y: {arange: {stop: $n}}}
steps:
  a: scaled(x, by=$by)
  b: a + y
results: {b: b.h5, a: a.h5}
""",
    "deep/mid.yaml": """\
mpiflow: 1
name: mid
params: {k: 5}
inputs: [z]
steps:
  in1: {workflow: ../sub.yaml, in: {x: z * 2}, with: {by: $k}}
  c: in1.b * 2
results: {c: c.h5, in1.a: a.h5}
""",
    "needs.yaml": "mpiflow: 1\nname: r\ninputs: [q]\nsteps: {s: sum(q)}\nresults: {s: a.h5}\n",
    "circle.yaml": "mpiflow: 1\nname: r\nsteps: {s: {workflow: deep/../w.yaml}}\n",
    "wrong.yaml": "mpiflow: 1\nname: r\nsteps: {s: sum(q)}\nresults: {s: a.h5}\n",
    "unknown.yaml": "mpiflow: 1\nname: r\ndatasets: {q: {arange: {stop: 3}}}\nsteps: {s: summ(q)}\nresults: {s: a.h5}\n",
    "text.yaml": "mpiflow: 1\nname: ]\n",
}


def reading(file):
    if file not in FILES:
        raise FileNotFoundError(2, "No such file or directory", file)
    return FILES[file].encode()


def graph_of(steps):
    return lower(read_workflow(HEAD + steps, "w.yaml", None, reading), REGISTRY, (), 2)


def ids(graph, name):
    return [graph.tasks[task].id for task in graph.datasets[name].tasks]


# What they mean

def test_what_an_inner_workflow_makes_has_the_ids_of_the_same_steps_in_place():
    inner = graph_of("  r: {workflow: sub.yaml, in: {x: A}, with: {by: 3}}\n  s: sum(r.b)")
    outer = graph_of("  a: scaled(A, by=3)\n  b: a + y\n  s: sum(b)")
    assert {task.id for task in inner.tasks} == {task.id for task in outer.tasks}
    assert ids(inner, "r.b") == ids(outer, "b") and inner.datasets["r.b"].id == outer.datasets["b"].id


def test_the_names_of_an_inner_workflow_stand_behind_that_of_the_step():
    graph = graph_of("  m: {workflow: deep/mid.yaml, in: {z: A}}\n  s: m.c + m.in1.a")
    assert {"m.z", "m.in1.x", "m.in1.y", "m.in1.a", "m.in1.b", "m.c", "s"} <= set(graph.datasets)
    assert {task.step for task in graph.tasks} <= set(graph.datasets)
    assert ids(graph, "s") == ids(graph_of("  x: A * 2\n  a: scaled(x, by=5)\n  b: a + y\n  c: b * 2\n  s: c + a"), "s")


def test_an_input_that_nobody_gives_is_the_dataset_of_its_name():
    inner, outer = graph_of("  r: {workflow: sub.yaml}\n  s: r.a"), graph_of("  t: scaled(x)\n  x: y + 0")
    (task,) = [task for task in inner.tasks if task.block and task.step == "r.x"]
    assert (task.block.dataset, task.rows) == ("r.x", 4)
    assert not {task.id for task in outer.tasks if task.operation} & {task.id for task in inner.tasks}


def test_a_column_of_a_result_is_a_column():
    graph = graph_of("  s: r.s.mean\n  r: {workflow: needs.yaml, in: {q: moments(A)}}")
    (task,) = graph.datasets["s"].tasks
    assert dict(graph.tasks[task].parameters) == {"name": "mean"}


def test_a_loop_does_a_workflow_for_each_instance():
    graph = graph_of("  r: {for: {k: [1, 2], v: [5, 6]}, workflow: deep/mid.yaml, in: {z: A * $v}, with: {k: $k}}\n"
                     "  s: {for: {k: [2, 1]}, run: 'scaled(r.in1.a[k == $k, v > 5])'}\n  t: replay(r.c.*)")
    single = graph_of("  r: {workflow: deep/mid.yaml, in: {z: A * 6}, with: {k: 2}}\n  s: scaled(r.in1.a)\n")
    assert ids(graph, "s")[:1] == ids(single, "s")
    assert ids(graph, "r.c")[3:] == ids(single, "r.c")
    assert len(graph.tasks[graph.datasets["t"].tasks[0]].inputs) == 4
    assert not [name for name in graph.datasets if "[" in name]
    assert {task.name for task in graph.tasks if task.step == "r.c"} == {f"r.c[k={k},v={v}]" for k in (1, 2) for v in (5, 6)}


def test_loops_inside_a_workflow_in_a_loop_have_both_instances():
    FILES["loop.yaml"] = ("mpiflow: 1\nname: l\nparams: {k: 1}\nsteps:\n  t: {for: {i: range($k)}, run: 'noop([$i, $k])'}\n"
                          "  u: 'noop(t[i == 0])'\nresults: {t: t.h5, u: t.h5}\n")
    graph = graph_of("  r: {for: {j: [1, 2]}, workflow: loop.yaml, with: {k: $j}}\n  s: sum(r.t)")
    assert [graph.tasks[task].name for task in graph.datasets["r.t"].tasks] == [
        "r.t[j=1,i=0]", "r.t[j=2,i=0]", "r.t[j=2,i=1]"]
    assert len(graph.datasets["r.u"].tasks) == 2


def test_results_of_inner_workflows_can_be_written():
    graph = graph_of("  r: {for: {j: [1, 2]}, workflow: sub.yaml, with: {by: $j}}\nresults: {r.b: a.h5, r.a.*: b.h5}")
    assert list(graph.written) == ["r.b", "r.a/j=1", "r.a/j=2"]


def test_inner_documents_are_part_of_the_digest():
    def digest(data):
        return read_workflow(HEAD + "  r: {workflow: needs.yaml, in: {q: A}}", "w.yaml", None, lambda file: data).digest

    data = FILES["needs.yaml"].encode()
    assert digest(data) == digest(data) != digest(data + b"\n")


# What is wrong

@pytest.mark.parametrize(("step", "place", "message"), [
    ("{workflow: no.yaml}", "w.yaml:5:17", "cannot read no.yaml: No such file or directory"),
    ("{workflow: circle.yaml}", "circle.yaml:3:23", "a workflow cannot be a step of itself: w.yaml -> circle.yaml -> w.yaml"),
    ("{workflow: w.yaml}", "w.yaml:5:17", "a workflow cannot be a step of itself: w.yaml -> w.yaml"),
    ("{workflow: wrong.yaml}", "wrong.yaml:3:16", "no dataset or step 'q'"),
    ("{workflow: unknown.yaml}", "unknown.yaml:4:12", "no operation 'summ'; did you mean 'sum'?"),
    ("{workflow: text.yaml}", "text.yaml:2:7", "not YAML"),
    ("{workflow: needs.yaml}", "w.yaml:5:3", "input 'q' of needs.yaml is missing under 'in'"),
    ("{workflow: needs.yaml, in: {q: A, p: A}}", "w.yaml:5:40", "needs.yaml has no input 'p'; it has q"),
    ("{workflow: needs.yaml, in: {q: 3}}", "w.yaml:5:37", "an input is a dataset, not 3"),
    ("{workflow: needs.yaml, in: {q: B}}", "w.yaml:5:37", "no dataset or step 'B'"),
    ("{workflow: needs.yaml, in: {q: summ(A)}}", "w.yaml:5:37", "no operation 'summ'; did you mean 'sum'?"),
    ("{workflow: needs.yaml, in: {q: 'sum(A, axs=0)'}}", "w.yaml:5:45", "sum has no argument 'axs'; did you mean 'axis'?"),
    ("{workflow: sub.yaml, with: {m: 3}}", "w.yaml:5:34", "sub.yaml has no parameter 'm'; it has n, by"),
    ("{workflow: sub.yaml, with: {n: ten}}", "sub.yaml:5:55", "'stop' must be a whole number, not 'ten'"),
    ("{workflow: sub.yaml, run: A}", "w.yaml:5:7", "a step has 'run' or 'workflow', not both"),
    ("{unit: nm}", "w.yaml:5:3", "key 'run' is missing in 'r'"),
    ("{for: {i: {blocks: A}}, workflow: needs.yaml, in: {q: $i}}", "w.yaml:5:25", "a workflow cannot be done for blocks"),
    ("{workflow: deep/mid.yaml, in: {z: r.c}}", "w.yaml:5:37", "steps depend on each other: 'r.z' needs 'r.c'"),
    ("{workflow: sub.yaml}\n  s: r.y", "w.yaml:6:6", "sub.yaml has no result 'y'; it has b, a"),
    ("{workflow: sub.yaml}\n  s: sum(r)", "w.yaml:6:10", "'r' is a workflow; name one of its results: r.b, r.a"),
    ("{workflow: sub.yaml}\n  s: sum(r.b.*)", "w.yaml:6:10", "'r.b' has no instances"),
    ("{workflow: sub.yaml}\nresults: {r.bb: a.h5}", "w.yaml:6:11", "sub.yaml has no result 'bb'; did you mean 'b'?"),
    ("noop(1)\ninputs: [k]", "w.yaml:6:10", "nobody gives input 'k' to a document that is run by itself"),
    ("noop(1)\ninputs: [r]", "w.yaml:6:10", "'r' is the name of a step already"),
])
def test_a_wrong_inner_workflow_is_a_problem_at_its_place(step, place, message):
    with pytest.raises(DocumentError) as error:
        graph_of(f"  r: {step}")
    assert str(error.value).startswith(f"{place}: {message}")
    assert len(error.value.problems) == 1 or "name of a step" in message


def test_a_mistake_of_a_workflow_that_is_there_twice_is_one_message():
    with pytest.raises(DocumentError) as error:
        graph_of("  a: {workflow: wrong.yaml}\n  b: {for: {i: range(3)}, workflow: wrong.yaml}")
    assert [str(problem) for problem in error.value.problems] == ["wrong.yaml:3:16: no dataset or step 'q'"]


# Files

OPS = "from mpiflow import operation\n\n@operation\ndef {}(x):\n    return x {}\n"


@pytest.fixture
def folder(tmp_path):
    """A workflow with one inside that has an operation, a dataset and a list of its own; both have an operation ``mean``."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "w.yaml").write_text("mpiflow: 1\nname: w\noperations: [ops.py]\ndatasets: {A: {arange: {stop: 6}}}\nsteps:\n"
                                     "  r: {workflow: inner/sub.yaml}\n  s: mean(A)\nresults: {s: s.h5, r.s: s.h5, r.t: s.h5}\n")
    (tmp_path / "ops.py").write_text(OPS.format("mean", "* 0"))
    (tmp_path / "inner/sub.yaml").write_text(
        "mpiflow: 1\nname: sub\noperations: [own.py]\ndatasets: {x: {file: x.npy}}\nsteps:\n  s: own(x) + mean(x)\n"
        "  t: {for: {v: {file: v.txt}}, run: sum(x * $v)}\nresults: {s: s.h5, t: s.h5}\n")
    (tmp_path / "inner/own.py").write_text(OPS.format("own", "+ 1"))
    (tmp_path / "inner/v.txt").write_text("2\n3\n")
    np.save(tmp_path / "inner/x.npy", np.arange(4.0))
    return tmp_path


def test_operations_datasets_and_lists_of_an_inner_workflow_are_its_own(folder):
    ended = mpiflow(None, "w.yaml", cwd=folder)
    assert (ended.status, ended.err) == (0, "")
    with h5py.File(folder / "s.h5") as opened:
        assert list(opened["s"]) == [0] * 6
        assert list(opened["r.s"]) == [2.5, 3.5, 4.5, 5.5]     # its mean is the built-in one
        assert list(opened["r.t"]) == [12, 18]
        id = opened["r.s"].attrs["id"]
    assert mpiflow(None, "inner/sub.yaml", cwd=folder).status == 0
    with h5py.File(folder / "s.h5") as opened:
        assert opened["s"].attrs["id"] == id


def test_an_inner_workflow_has_no_operations_of_the_outer_one(folder):
    (folder / "ops.py").write_text(OPS.format("zigzag", "* 0"))
    text = (folder / "inner/sub.yaml").read_text()
    (folder / "w.yaml").write_text((folder / "w.yaml").read_text().replace("mean(A)", "zigzag(A)"))
    (folder / "inner/sub.yaml").write_text(text.replace("mean(x)", "zigzag(x)"))
    ended = mpiflow(None, "check", "w.yaml", cwd=folder)
    assert ended.status == 2
    assert ended.err == ("mpiflow: error: inner/sub.yaml:6:15: no operation 'zigzag'; built-in ones are listed in "
                         "docs/workflow.md\n")


@pytest.mark.parametrize(("file", "old", "new", "message"), [
    ("inner/sub.yaml", "x.npy", "y.npy", "inner/sub.yaml:4:22: no rank sees the file 'inner/y.npy'"),
    ("inner/sub.yaml", "own.py", "on.py", "inner/sub.yaml:3:14: "),
    ("inner/sub.yaml", "v.txt", "u.txt", "inner/sub.yaml:7:23: cannot read u.txt: No such file or directory"),
])
def test_a_file_that_an_inner_workflow_lacks_is_one_message_in_its_document(folder, file, old, new, message):
    (folder / file).write_text((folder / file).read_text().replace(old, new))
    ended = mpiflow(None, "check", "w.yaml", cwd=folder)
    assert ended.status == 2 and ended.err.startswith(f"mpiflow: error: {message}") and ended.err.count("\n") == 1


def test_a_workflow_is_sent_with_all_that_it_names(folder):
    here = read(folder / "w.yaml", {}, 0)
    file, kept = unpack(pack(folder / "w.yaml", here.workflow), "w.yaml")
    with kept:
        assert sorted(path.name for path in file.parent.rglob("*.*")) == ["ops.py", "own.py", "sub.yaml", "v.txt", "w.yaml"]
        there = read(file, {}, 1, str(folder / "w.yaml"))
        assert (there.complaints, there.workflow.digest, there.code) == ([], here.workflow.digest, here.code)


def test_programs_of_an_inner_workflow_lie_beside_it_and_may_be_given_files_that_a_loop_goes_through(tmp_path):
    (tmp_path / "inner").mkdir()
    for folder, line in ((tmp_path, "echo 40 > n.txt"), (tmp_path / "inner", "wc -l < $1 > n.txt")):
        (folder / "tool.sh").write_text(f"#!/bin/sh\n{line}\n")
        (folder / "tool.sh").chmod(0o755)
    for name, num in (("a", 1), ("b", 2)):
        (tmp_path / f"{name}.lines").write_text("x\n" * num)
    (tmp_path / "inner/sub.yaml").write_text(
        "mpiflow: 1\nname: sub\nparams: {k: 0}\nsteps:\n"
        "  p: {for: {f: {files: ../*.lines}}, run: [./tool.sh, $f], out: {n: n.txt}, retries: $k}\nresults: {p: p.h5}\n")
    (tmp_path / "w.yaml").write_text(
        "mpiflow: 1\nname: w\nsteps:\n  r: {workflow: inner/sub.yaml, with: {k: 1}}\n  o: {run: [./tool.sh], out: {n: n.txt}}\n"
        "  s: sum(r.p.n) + sum(o.n)\nresults: {s: s.npy, r.p.*: r.h5}\n")
    ended = mpiflow(None, "w.yaml", cwd=tmp_path)
    assert (ended.status, ended.err) == (0, "")
    assert np.load(tmp_path / "s.npy") == 43
    with h5py.File(tmp_path / "r.h5") as opened:
        assert [item["n"][()].tolist() for item in opened["r.p"].values()] == [[1], [2]]
    here = read(tmp_path / "w.yaml", {}, 0)
    assert here.workflow.policies["r.p"].retries == 1
    file, kept = unpack(pack(tmp_path / "w.yaml", here.workflow), "w.yaml")
    with kept:
        assert (file.parent / "inner/tool.sh").read_text() != (file.parent / "tool.sh").read_text()


def test_the_example_gives_what_its_operations_give(tmp_path):
    ended = mpiflow(2, EXAMPLES / "inner" / "workflow.yaml", "--no-save", cwd=tmp_path)
    assert (ended.status, ended.err) == (0, "")
    with h5py.File(tmp_path / "results/widths.h5") as opened:
        levels = [opened[f"widths.level/width={width}"][()] for width in (10, 100, 1000)]
    with h5py.File(tmp_path / "results/signals.h5") as opened:
        np.testing.assert_allclose(opened["spread"][()], np.std(levels))
        assert opened["louder"][()] > 5
    assert sorted(levels, reverse=True) == levels

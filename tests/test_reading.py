"""A whole document: what it means, and that every mistake in it is one message at the right place."""

from __future__ import annotations

import re
from pathlib import Path

import networkx as nx
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiflow.errors import DocumentError
from mpiflow.operations.registry import builtin_operations
from mpiflow.planning.lowering import lower
from mpiflow.workflow.expressions import Call, Constant, Ref, Sum, walk
from mpiflow.workflow.reading import draft_workflow, read_workflow

law = settings(derandomize=True, deadline=None, max_examples=100)

# Every key of the format, all of them right.
RICH = """\
mpiflow: 1
name: rich
params: {n: 1000, range: [0, 1]}
operations: [ops.py]
datasets:
  flat: {random: {shape: [$n, 3], seed: 1, low: -1, high: 1.5, dtype: float32}, blocks: 4, rank: 1, unit: nm, tags: [made]}
  bell: {normal: {shape: [$n], seed: 2, mean: 5, std: 0.5, dtype: float64}}
  index: {arange: {stop: $n, start: 0, dtype: int64}, blocks: 3}
  ones:
    full:
      shape: [3]
      value: 1
      dtype: int32
  stored: {file: data/x.h5, path: /x, rows: [0, 10], blocks: 2}
  plain: {file: "data/*.npy"}
steps:
  spread: std(flat, axis=0)
  total:
    run: mean
    in: {x: bell + index}
    with: {axis: 0}
    unit: nm
    tags: [result, daily]
  joined: concatenate(bell, plain) / 2 > total
  counts: {run: "histogram(stored, range=$range).counts", unit: "1"}
results:
  spread: out/all.h5
  total: out/all.h5
  counts: out/counts.npy
"""
MINIMAL = "mpiflow: 1\nname: x\nsteps: {s: sum(d)}\ndatasets: {d: {arange: {stop: 3}}}\n"


def read(text, **overrides):
    return read_workflow(text, "w.yaml", overrides)


def problems(text, **overrides):
    """Give (line, column, message) of what is wrong with ``text``."""
    with pytest.raises(DocumentError) as error:
        read(text, **overrides)
    return [(p.line, p.column, p.message) for p in error.value.problems]


def only_problem(text, **overrides):
    found = problems(text, **overrides)
    assert len(found) == 1, found
    return found[0]


def with_step(step):
    return f"mpiflow: 1\nname: x\ndatasets: {{d: {{arange: {{stop: 3}}}}, e: {{arange: {{stop: 3}}}}}}\nsteps:\n  s: {step}\n"


def with_dataset(dataset):
    return f"mpiflow: 1\nname: x\nsteps: {{s: sum(d)}}\ndatasets:\n  d: {dataset}\n"


# What it means

def test_the_rich_document_is_right():
    workflow = read(RICH)
    assert list(workflow.document.datasets) == ["flat", "bell", "index", "ones", "stored", "plain"]
    assert workflow.document.datasets["flat"].random.shape == [1000, 3]
    assert workflow.document.datasets["flat"].random.dtype == "float32"
    assert workflow.document.steps["total"].tags == ["result", "daily"]


def test_a_step_by_name_is_a_call_with_keywords():
    expected = Call("mean", (), (("x", Sum((Ref("bell"), Ref("index")))), ("axis", Constant(0))))
    assert read(RICH).expressions["total"] == expected


def test_a_number_under_in_is_a_constant():
    assert read(with_step("{run: clip, in: {x: d, low: -1, high: 2.5}}")).expressions["s"].keywords == (
        ("x", Ref("d")), ("low", Constant(-1)), ("high", Constant(2.5)))


def test_the_graph_leads_from_what_is_read_to_what_reads_it():
    graph = read(RICH).graph
    assert set(graph.edges) == {
        ("flat", "spread"), ("bell", "total"), ("index", "total"), ("bell", "joined"), ("plain", "joined"),
        ("total", "joined"), ("stored", "counts")}
    assert nx.is_directed_acyclic_graph(graph)
    assert {kind for _, kind in graph.nodes(data="kind")} == {"dataset", "step"}


def test_the_digest_tells_workflows_and_parameters_apart():
    digests = {read(RICH).digest, read(RICH + "\n").digest, read(RICH, n="5").digest, read(RICH, n="6").digest}
    assert len(digests) == 4
    assert read(RICH, n="5").digest == read(RICH, n="5").digest


def test_a_result_file_has_one_spelling():
    text = MINIMAL + "results: {s: ./out//a.h5, d: out/a.h5}"
    assert set(read(text).document.results.values()) == {"out/a.h5"}


def test_what_was_left_out_has_its_default():
    dataset = read(with_dataset("{random: {shape: [3]}}")).document.datasets["d"]
    assert (dataset.blocks, dataset.rank, dataset.tags, dataset.random.seed, dataset.random.high) == (1, None, [], 0, 1)


def test_a_draft_of_a_wrong_document_holds_what_is_right():
    draft = draft_workflow(RICH.replace("std(flat", "std(falt").replace("low: -1", "low: x"), "w.yaml")
    assert len(draft.located.problems) == 2
    assert set(draft.document.steps) == {"spread", "total", "joined", "counts"}
    assert set(draft.expressions) == {"spread", "total", "joined", "counts"}


@pytest.mark.parametrize(("step", "wanted", "argument", "line", "column"), [
    ("sum(d + mean(e))", "mean", "", 5, 14),
    ("sum(d + mean(e, axis=0))", "mean", "axis", 5, 22),
    ("{run: 'sum(d + mean(e))'}", "mean", "", 5, 21),
    ("{run: sum, in: {x: d + mean(e)}}", "mean", "", 5, 29),
    ("{run: sum, in: {x: d + mean(e)}}", "sum", "", 5, 12),
    ("{run: sum, in: {x: d + mean(e)}}", "sum", "x", 5, 22),
    ("{run: sum, in: {x: d}, with: {axis: 0}}", "sum", "axis", 5, 36),
    (">\n    sum(d +\n      mean(e))", "mean", "", 7, 7),
])
def test_a_problem_at_a_part_of_an_expression_has_its_place(step, wanted, argument, line, column):
    workflow = read(with_step(step))
    call = next(item for item in walk(workflow.expressions["s"]) if isinstance(item, Call) and item.operation == wanted)
    workflow.fail_at("s", call, "here", argument)
    with pytest.raises(DocumentError) as error:
        workflow.finish()
    assert [(p.line, p.column) for p in error.value.problems] == [(line, column)]


# One mistake, one message, at the right place

@pytest.mark.parametrize(("text", "line", "column", "message"), [
    ("- a\n- b\n", 1, 1, "the document must be a mapping that starts with 'mpiflow: 1'"),
    ("just text", 1, 1, "the document must be a mapping that starts with 'mpiflow: 1'"),
    (MINIMAL.replace("mpiflow: 1", "mpiflow: 2"), 1, 10, "'mpiflow' must be 1, not 2"),
    (MINIMAL.replace("mpiflow: 1", "mpiflow: '1'"), 1, 10, "'mpiflow' must be 1, not '1'"),
    (MINIMAL.replace("mpiflow: 1", "mpiflow: true"), 1, 10, "'mpiflow' must be 1, not true"),
    (MINIMAL.replace("mpiflow: 1\n", ""), 1, 1, "key 'mpiflow' is missing"),
    (MINIMAL.replace("name: x", "name: 3"), 2, 7, "'name' must be text of length 1 or more, not 3"),
    (MINIMAL.replace("name: x", "name: ''"), 2, 7, "'name' must be text of length 1 or more, not ''"),
    (MINIMAL.replace("name: x", "name:"), 2, 1, "'name' has no value"),
    (MINIMAL.replace("name: x\n", ""), 1, 1, "key 'name' is missing"),
    (MINIMAL.replace("name: x", "nmae: x"), 2, 1, "unknown key 'nmae'; did you mean 'name'?"),
    (MINIMAL.replace("{s: sum(d)}", "{}"), 3, 8, "'steps' is empty"),
    (MINIMAL.replace("{s: sum(d)}", "[s]"), 3, 8, "'steps' must be a mapping, not ['s']"),
    (MINIMAL.replace("steps", "setps"), 3, 1, "unknown key 'setps'; did you mean 'steps'?"),
    (MINIMAL.replace("steps: {s: sum(d)}", "steps:"), 3, 1, "'steps' has no value"),
    (MINIMAL.replace("{d: {arange: {stop: 3}}}", ""), 4, 1, "'datasets' has no value"),
    (MINIMAL.replace("datasets", "dataset"), 4, 1, "unknown key 'dataset'; did you mean 'datasets'?"),
    (MINIMAL + "params: 3\n", 5, 9, "'params' must be a mapping, not 3"),
    (MINIMAL.replace("stop: 3", "stop: $n") + "params: 3\n", 5, 9, "'params' must be a mapping, not 3"),
    (MINIMAL.replace("stop: 3", "stop: $n") + "param: {n: 3}\n", 5, 1, "unknown key 'param'; did you mean 'params'?"),
    (MINIMAL + "operations: ops.py\n", 5, 13, "'operations' must be a list, not 'ops.py'; write ['ops.py']"),
    (MINIMAL + "results: {x: a.h5}\n", 5, 11, "no step or dataset 'x'"),
    (MINIMAL + "results: {s: 3}\n", 5, 14, "'s' must be text or a mapping, not 3"),
    (MINIMAL + "results: {s: out/}\n", 5, 14, "'out/' is no file name"),
    (MINIMAL + "results: {s: ''}\n", 5, 14, "'' is no file name"),
    (MINIMAL + "results: {s: out/../../a.h5}\n", 5, 18, "a result file may not lie above the results directory ('..')"),
    (MINIMAL + "results: {s: a.npy, d: ./a.npy}\n", 5, 24,
     "'a.npy' is the file of 's' too; only an HDF5 file can hold several results"),
    (MINIMAL + "results: {s: a.h5, d: a.h5/b.npy}\n", 5, 23, "a part of the path 'a.h5/b.npy' is itself a result file"),
    (MINIMAL.replace("stop: 3", "stop: $n"), 4, 31, "no parameter 'n'"),
    (MINIMAL.replace("stop: 3", "stop: $n") + "params: {m: 3}\n", 4, 31, "no parameter 'n'; there is m"),
    (MINIMAL.replace("sum(d)", "'sum(d, axis=$n)'"), 3, 25, "no parameter 'n'"),
    (MINIMAL.replace("sum(d)", "sum(d, axis=0)"), 3, 15,
     "not an expression: '(' was never closed; inside { } an expression with a comma needs quotes"),
    (MINIMAL.replace("{s: sum(d)}", "{my-step: sum(d)}") + "results: {my-step: a.h5}\n", 3, 9,
     "'my-step' cannot be a name: only a-z, A-Z, 0-9 and _, no digit first, no Python keyword"),
    (MINIMAL.replace("{s: sum(d)}", "{if: sum(d)}"), 3, 9,
     "'if' cannot be a name: only a-z, A-Z, 0-9 and _, no digit first, no Python keyword"),
    (MINIMAL.replace("{s: sum(d)}", "{größe: sum(d)}"), 3, 9,
     "'größe' cannot be a name: only a-z, A-Z, 0-9 and _, no digit first, no Python keyword"),
    (MINIMAL.replace("d: {", "my-d: {").replace("sum(d)", "sum(my-d)"), 4, 12,
     "'my-d' cannot be a name: only a-z, A-Z, 0-9 and _, no digit first, no Python keyword"),
])
def test_a_mistake_in_the_document_is_one_message(text, line, column, message):
    assert only_problem(text) == (line, column, message)


@pytest.mark.parametrize(("dataset", "column", "message"), [
    ("3", 6, "'d' must be a mapping, not 3"),
    ("", 3, "'d' has no value"),
    ("{}", 3, "dataset 'd' needs exactly one of random, normal, arange, full, file; it has none of them"),
    ("{blocks: 3}", 3, "dataset 'd' needs exactly one of random, normal, arange, full, file; it has none of them"),
    ("{arange: {stop: 1}, file: a.npy}", 3,
     "dataset 'd' needs exactly one of random, normal, arange, full, file; it has arange and file"),
    ("{arnage: {stop: 1}}", 7, "unknown key 'arnage'; did you mean 'arange'?"),
    ("{random: {shpe: [3]}}", 16, "unknown key 'shpe'; did you mean 'shape'?"),
    ("{random: {shape: [3], blocks: 3}}", 28, "unknown key 'blocks'; it belongs beside 'random', not into it"),
    ("{random: {}}", 7, "key 'shape' is missing in 'random'"),
    ("{random: [3]}", 15, "'random' must be a mapping, not [3]"),
    ("{random: {shape: 1e6}}", 23, "'shape' must be a list of length 1 or more, not 1000000.0; write [1_000_000]"),
    ("{random: {shape: []}}", 23, "'shape' must be a list of length 1 or more, not []"),
    ("{random: {shape: [1e6]}}", 24, "element 1 of 'shape' must be a whole number of at least 0, not 1000000.0; write 1_000_000"),
    ("{random: {shape: [3, -3]}}", 27, "element 2 of 'shape' must be a whole number of at least 0, not -3"),
    ("{random: {shape: [3, ~]}}", 27, "element 2 of 'shape' has no value"),
    ("{random: {shape: [3], seed: true}}", 34, "'seed' must be a whole number of at least 0, not true"),
    ("{random: {shape: [3], seed: 0.5}}", 34, "'seed' must be a whole number of at least 0, not 0.5"),
    ("{random: {shape: [3], seed: 10000000000000000000}}", 34,
     "'seed' must be a whole number of at least 0, not 10000000000000000000; it is too large"),
    ("{random: {shape: [3], low: x}}", 33, "'low' must be a number, not 'x'"),
    ("{random: {shape: [3], dtype: flota32}}", 35,
     "'dtype' must be one of float32, float64, not 'flota32'; did you mean 'float32'?"),
    ("{random: {shape: [3], dtype: int64}}", 35, "'dtype' must be one of float32, float64, not 'int64'"),
    ("{random: {shape: [3000000000, 3000000000]}}", 23, "an array of shape [3000000000, 3000000000] is too large"),
    ("{arange: {stop: x}}", 22, "'stop' must be a whole number, not 'x'"),
    ("{arange: {stop: 1, start: 5}}", 22, "'stop' is below 'start': 1 < 5"),
    ("{arange: {stop: 3000000000, dtype: int32}}", 22, "3000000000 does not fit int32"),
    ("{full: {shape: [3], value: 1.5, dtype: int64}}", 33, "1.5 does not fit int64"),
    ("{full: {shape: [3], value: 3000000000, dtype: int32}}", 33, "3000000000 does not fit int32"),
    ("{arange: {stop: 1}, rows: [0, 1]}", 26, "'rows' belongs to 'file', not to 'arange'"),
    ("{arange: {stop: 1}, path: /x}", 26, "'path' belongs to 'file', not to 'arange'"),
    ("{arange: {stop: 1}, blocks: 0}", 34, "'blocks' must be a whole number from 1 to 1000000, not 0"),
    ("{arange: {stop: 1}, blocks: 10000000}", 34, "'blocks' must be a whole number from 1 to 1000000, not 10000000"),
    ("{arange: {stop: 1}, tags: md}", 32, "'tags' must be a list, not 'md'; write ['md']"),
    ("{arange: {stop: 1}, tags: [md, 3]}", 37, "element 2 of 'tags' must be text, not 3"),
    ("{arange: {stop: 1}, unit: 1}", 32, "'unit' must be text, not 1"),
    ("{arange: {stop: 1}, rank: -1}", 32, "'rank' must be a whole number of at least 0, not -1"),
    ("{file: a.h5}", 13, "an HDF5 file needs 'path', the array inside it, e.g. path: /x"),
    ("{file: a.h5, pth: /x}", 19, "unknown key 'pth'; did you mean 'path'?"),
    ("{file: a.h5, path:}", 19, "'path' has no value"),
    ("{file: a.npy, path: /x}", 20, "'path' belongs to an HDF5 file; a .npy file holds one array"),
    ("{file: a.csv}", 13, "file type '.csv' is not known; known are .h5, .hdf5, .h5md, .nc and .npy"),
    ("{file: a.hdf, path: /x}", 13, "file type '.hdf' is not known; known are .h5, .hdf5, .h5md, .nc and .npy; "
     "did you mean '.hdf5'?"),
    ("{file: a}", 13, "file type '' is not known; known are .h5, .hdf5, .h5md, .nc and .npy"),
    ("{file: 3}", 13, "'file' must be text, not 3"),
    ("{file: a.h5, path: /x, rows: [5]}", 35, "'rows' must be a list of length 2, not [5]"),
    ("{file: a.h5, path: /x, rows: [5, 5]}", 35, "'rows' must be [start, stop] with start < stop, not [5, 5]"),
])
def test_a_mistake_in_a_dataset_is_one_message(dataset, column, message):
    assert only_problem(with_dataset(dataset)) == (5, column, message)


@pytest.mark.parametrize(("step", "column", "message"), [
    ("3", 6, "'s' must be text or a mapping, not 3"),
    ("", 3, "'s' has no value"),
    ("''", 7, "the expression is empty"),
    ("'3'", 7, "3 is no dataset; a step must compute one"),
    ("sum(d", 9, "not an expression: '(' was never closed"),
    ("sum(dd)", 10, "no dataset or step 'dd'; did you mean 'd'?"),
    ("sum(d + e + ee)", 18, "no dataset or step 'ee'; did you mean 'e'?"),
    ("{run: sum(d) + x}", 21, "no dataset or step 'x'"),
    ("sum(s)", 3, "step 's' depends on itself"),
    ("{rnu: sum(d)}", 7, "unknown key 'rnu'; did you mean 'run'?"),
    ("{unit: nm}", 3, "key 'run' is missing in 's'"),
    ("{run: {lmp: x}}", 12, "'run' must be text or a list of length 1 or more, not {'lmp': 'x'}"),
    ("{run: sum(d), in: {x: d}}", 20, "'in' needs the name of an operation under 'run', not an expression"),
    ("{run: sum(d), with: {axis: 0}}", 20, "'with' needs the name of an operation under 'run', not an expression"),
    ("{run: sum, in: {x: d}, with: {x: 1}}", 36, "argument 'x' stands under 'in' as well"),
    ("{run: sum(d, axis=0), unit: nm}", 15,
     "not an expression: '(' was never closed; inside { } an expression with a comma needs quotes"),
    ("{run: where, in: {condition: less(d, e), x: d, y: e}}", 39,
     "not an expression: '(' was never closed; inside { } an expression with a comma needs quotes"),
    ("{run: d, axis=0)}", 15, "unknown key 'axis=0)'"),
    ("{run: sum, in: [d]}", 21, "'in' must be a mapping, not ['d']"),
    ("{run: sum, in: {x: [d]}}", 25, "'x' must be text or a number or a mapping, not ['d']"),
    ("{run: sum, in: {x: true}}", 25, "'x' must be text or a number or a mapping, not true"),
    ("{run: sum, in: {x: 'f('}}", 27, "not an expression: '(' was never closed"),
    ("{run: where, in: {condition: d > 1, x: dd, y: dd}, with: {y: 1}}", 45, None),
    ("{run: sum, in: {x: d + dd}}", 29, "no dataset or step 'dd'; did you mean 'd'?"),
    ("{run: sum, in: {my-x: d}}", 22, "'my-x' cannot be a name: only a-z, A-Z, 0-9 and _, no digit first, no Python keyword"),
    ("{run: sum, in: {x: d}, with: {axis: $n}}", 42, "no parameter 'n'"),
    ("{run: sum, in: {x: d}, tags: {}}", 35, "'tags' must be a list, not {}"),
])
def test_a_mistake_in_a_step_is_one_message(step, column, message):
    if message is None:
        assert {problem[:2] for problem in problems(with_step(step))} == {(5, 45), (5, 64)}
    else:
        assert only_problem(with_step(step)) == (5, column, message)


def test_a_parameter_without_its_dollar_is_recognised():
    text = with_step("clip(d, low, 3)") + "params: {low: 1}\n"
    assert only_problem(text) == (5, 14, "no dataset or step 'low'; the parameter is written $low")


def test_a_name_used_twice_is_reported_at_the_step():
    assert only_problem(with_step("sum(d)").replace("s: sum", "d: sum")) == (5, 3, "'d' is the name of a dataset already")


def test_the_same_unknown_name_in_two_arguments_is_two_messages():
    found = problems(with_step("{run: add, in: {x: dd, y: dd}}"))
    assert [problem[:2] for problem in found] == [(5, 25), (5, 32)]


def test_an_unknown_name_in_a_folded_text_is_found():
    assert only_problem(with_step(">\n    sum(d\n      + dd)")) == (7, 9, "no dataset or step 'dd'; did you mean 'd'?")


def test_a_cycle_is_one_message_at_its_first_step():
    text = MINIMAL.replace("{s: sum(d)}", "{p: f(q), q: f(r) + r, r: f(p), s: f(p)}")
    assert only_problem(text) == (3, 9, "steps depend on each other: 'p' needs 'q', 'q' needs 'r', 'r' needs 'p'")


def test_two_cycles_are_two_messages():
    text = MINIMAL.replace("{s: sum(d)}", "{p: f(q), q: f(p), r: f(s), s: f(r)}")
    assert [problem[:2] for problem in problems(text)] == [(3, 9), (3, 27)]


def test_all_mistakes_are_reported_in_one_go_in_the_order_of_the_text():
    text = RICH.replace("seed: 1", "sede: 1").replace("std(flat", "std(falt").replace("counts: out/", "county: out/").replace(
        "rows: [0, 10]", "rows: [0, -1]").replace("axis: 0}", "axis: $a}").replace("histogram(stored", "histogram(stored +")
    assert [problem[:2] for problem in problems(text)] == [(6, 35), (14, 49), (17, 15), (21, 18), (25, 17), (29, 3)]


def test_what_depends_on_a_broken_part_is_not_reported():
    text = RICH.replace("spread: std(flat, axis=0)", "spread: 3").replace("run: mean", "rum: mean")
    text = text.replace("arange: {stop", "arang: {stop")
    assert [problem[:2] for problem in problems(text)] == [(8, 11), (17, 11), (19, 5)]


# The same, for every key and value of the format

KEYS = [
    "mpiflow", "name", "params", "operations", "datasets", "random", "shape", "seed", "low", "high", "dtype", "blocks", "rank",
    "unit", "tags", "normal", "mean", "std", "arange", "stop", "start", "full", "value", "file", "path", "rows", "steps", "run",
    "in", "with", "results",
]
PLACES = [(line, match.start(1), match[1]) for line, text in enumerate(RICH.splitlines())
          for match in re.finditer(r"(?:^|[{ ,])([a-z]+):", text) if match[1] in KEYS]


def test_the_rich_document_has_every_key():
    assert {key for _, _, key in PLACES} == set(KEYS)


@pytest.mark.parametrize(("line", "column", "key"), PLACES)
def test_a_misspelt_key_is_one_message_at_the_key(line, column, key):
    lines = RICH.splitlines()
    wrong = key + "x" if len(key) < 3 else key[:-1] + "zz" if key == "in" else key[:2] + key[3:] + "q"
    lines[line] = lines[line][:column] + wrong + lines[line][column + len(key):]
    found = only_problem("\n".join(lines))
    assert found[:2] == (line + 1, column + 1)
    assert found[2].startswith(f"unknown key '{wrong}'")


# with and params take any value; the values of the others are mappings, or go on below, or are sections.
SCALARS = [(line, column, key) for line, column, key in PLACES
           if key not in ("with", "params", "in") and re.match(r"\w+: ([^{]|{file)", RICH.splitlines()[line][column:])]


@pytest.mark.parametrize(("line", "column", "key"), SCALARS)
def test_a_value_of_a_wrong_type_is_one_message_at_the_value(line, column, key):
    lines = RICH.splitlines()
    head, rest = lines[line][:column + len(key) + 2], lines[line][column + len(key) + 2:]
    lines[line] = head + re.sub(r'^(\[[^]]*\]|"[^"]*"|[^,}]+)', "{zz: 1}", rest)
    found = only_problem("\n".join(lines))
    assert found[:2] == (line + 1, len(head) + 1)
    assert f"{key!r} must be " in found[2]


# Laws

def survives(text):
    """Read ``text``; if it is right, make its tasks. Nothing but a DocumentError may come out."""
    num_lines = text.count("\n") + 2
    try:
        workflow = read_workflow(text, "w.yaml")
        lower(workflow, builtin_operations(), (), 3)
    except DocumentError as error:
        assert error.problems
        for problem in error.problems:
            assert 1 <= problem.line <= num_lines and problem.column >= 1 and "\n" not in problem.message
        with pytest.raises(DocumentError) as again:
            lower(read_workflow(text, "w.yaml"), builtin_operations(), (), 3)
        assert again.value.problems == error.problems


EXAMPLES = [RICH, MINIMAL] + [path.read_text() for path in sorted((Path(__file__).parents[1] / "examples").glob("*/*.yaml"))]
documents = st.sampled_from(EXAMPLES)
SNIPPETS = [*"{}[]()'\"#&*!|>%@`,:-?$\\ \n\t0", "<<: ", "$n", "${n}", "- ", ": ", "~", "null", "-1", "1e9",
            "99999999999999999999", "é",
            "[]", "{}", "&a ", "*a", "!!int ", "|\n", "DS1", "sum(", ".x", " + ", "'", "...", "---\n", "\r", "\x07", "$$"]


@law
@given(documents, st.data())
def test_a_document_with_something_inserted_is_read_or_refused(text, data):
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text)))
        text = text[:place] + data.draw(st.sampled_from(SNIPPETS)) + text[place:]
    survives(text)


@law
@given(documents, st.data())
def test_a_document_with_something_cut_out_is_read_or_refused(text, data):
    start = data.draw(st.integers(0, len(text)))
    survives(text[:start] + text[start + data.draw(st.integers(1, 40)):])


@law
@given(documents, st.data())
def test_a_document_with_lines_moved_is_read_or_refused(text, data):
    lines = text.splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        line = lines.pop(data.draw(st.integers(0, len(lines) - 1)))
        where = data.draw(st.integers(0, len(lines)))
        lines.insert(where, " " * data.draw(st.integers(0, 4)) + line.lstrip())
    survives("\n".join(lines))


@law
@given(documents, st.data())
def test_a_document_with_one_word_in_the_place_of_another_is_read_or_refused(text, data):
    words = list(re.finditer(r"[\w.$]+", text))
    one, other = data.draw(st.sampled_from(words)), data.draw(st.sampled_from(words))
    survives(text[:one.start()] + other[0] + text[one.end():])


keys = st.sampled_from([*KEYS, "d", "s", "x", "DS1", "1", "", "<<", "my-name"])
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 10), st.integers(), st.floats(), st.text(max_size=5),
    st.sampled_from(["d", "s", "sum(d)", "d + s", "$n", "a.h5", "b.npy", "/x", "float32", "int32", "f(", "../x", "ops.py"]))
trees = st.recursive(scalars, lambda inner: st.one_of(
    st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=5)), max_leaves=25)
sections = st.fixed_dictionaries({}, optional={key: trees for key in (
    "mpiflow", "name", "params", "operations", "datasets", "steps", "results", "other")})


@law
@given(sections, st.booleans())
def test_any_tree_of_known_words_is_read_or_refused(tree, versioned):
    survives(yaml.safe_dump({**tree, "mpiflow": 1, "name": "x"} if versioned else tree, allow_unicode=True))


@law
@given(st.permutations(range(6)))
def test_the_order_of_steps_does_not_matter(order):
    steps = ["a: sum(d)", "b: f(a)", "c: f(b + a)", "e: f(c)", "g: f(e, b)", "h: f(g)"]
    text = "mpiflow: 1\nname: x\ndatasets: {d: {arange: {stop: 3}}}\nsteps:\n" + "".join(f"  {steps[i]}\n" for i in order)
    workflow = read(text)
    expected = {("d", "a"), ("a", "b"), ("b", "c"), ("a", "c"), ("c", "e"), ("e", "g"), ("b", "g"), ("g", "h")}
    assert set(workflow.graph.edges) == expected

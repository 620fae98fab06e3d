"""Sweeps: grids, zips, filters, values from elsewhere, and the use of some instances or of each."""

from __future__ import annotations

import time

import h5py
import numpy as np
import pytest
from launching import EXAMPLES, mpiflow
from test_loops import HEAD, REGISTRY

from mpiflow.catalog.catalog import merge_sources
from mpiflow.catalog.entries import SourceEntry
from mpiflow.errors import DocumentError
from mpiflow.planning.instances import distinct, mentions, source_of
from mpiflow.planning.lowering import lower
from mpiflow.planning.machine import Machine
from mpiflow.planning.plan import make_plan
from mpiflow.workflow.filters import holds
from mpiflow.workflow.loops import label
from mpiflow.workflow.parsing import parse_expression
from mpiflow.workflow.reading import read_workflow

FILES = {"v.txt": b"# temperatures\n1\n\n2.5\nabc\ntrue\n", "t.csv": b"T, p\n1,2\n3,1e-3\n", "short.csv": b"T\n1,2\n",
         "empty.txt": b"# nothing\n", "latin.txt": b"\xf6"}


def read(file):
    if file not in FILES:
        raise FileNotFoundError(2, "No such file or directory", file)
    return FILES[file]


def graph_of(steps, sources=(), size=2):
    return lower(read_workflow(HEAD + steps, "w.yaml", None, read), REGISTRY, sources, size)


def values(steps, name="s"):
    """Give the plain argument ``i`` of each instance."""
    graph = graph_of(steps)
    return [dict(graph.tasks[task].parameters)["i"] for task in graph.datasets[name].tasks]


# Instances

@pytest.mark.parametrize(("step", "expected"), [
    ("{for: {a: [1, 2], b: [x, y]}, run: 'noop([$a, $b])'}", [[1, "x"], [1, "y"], [2, "x"], [2, "y"]]),
    ("{for: {a: [1, 2], b: range($a)}, run: 'noop([$a, $b])'}", [[1, 0], [2, 0], [2, 1]]),
    ("{for: {a: range(3), b: range($a)}, run: 'noop([$a, $b])'}", [[1, 0], [2, 0], [2, 1]]),
    ("{for: {a: [1, 2], b: ['$a-x', $a]}, run: noop($b)}", ["1-x", 1, "2-x", 2]),
    ("{zip: {a: [1, 2], b: range(2)}, run: 'noop([$a, $b])'}", [[1, 0], [2, 1]]),
    ("{for: {c: [7, 8]}, zip: {a: [1, 2], b: [$c, 0]}, run: 'noop([$c, $a, $b])'}", [[7, 1, 7], [7, 2, 0], [8, 1, 8], [8, 2, 0]]),
    ("{for: {a: [1, 2, 3], b: range(3)}, where: $a * 2 <= $b + 1, run: 'noop([$a, $b])'}", [[1, 1], [1, 2]]),
    ("{for: {a: [1, 2, 3]}, where: [$a > 1, $a != 3], run: noop($a)}", [2]),
    ("{for: {a: [x, y]}, where: $a == 'y', run: 'noop(\"$a$a\")'}", ["yy"]),
])
def test_instances_are_these_in_this_order(step, expected):
    assert values(f"  s: {step}") == expected


@pytest.mark.parametrize(("where", "expected"), [
    ("$a + 1 == 4", True), ("$a % 2 == 0", False), ("-$a < 0", True), ("$a ** 2 == 9.0", True), ("$a // 2 + $a / 2 >= 2.5", True),
    ("logical_and($a > 1, logical_not($b == 'x'))", False), ("logical_or($a > 9, $b < 'y')", True), ("'$a$b' == '3x'", True),
])
def test_a_filter_is_arithmetic_on_plain_values(where, expected):
    assert holds(parse_expression(where, ["a", "b"]), {"a": 3, "b": "x"}) is expected


def test_the_instances_of_a_grid_are_those_of_written_out_steps():
    swept = graph_of("  s: {for: {a: [1, 2], b: [3, 4]}, run: 'scaled(A * $a, by=$b)'}")
    written = graph_of("".join(f"  s{a}{b}: scaled(A * {a}, by={b})\n" for a in (1, 2) for b in (3, 4)))
    assert [swept.tasks[task].id for task in swept.datasets["s"].tasks] == [
        written.tasks[written.datasets[f"s{a}{b}"].tasks[0]].id for a in (1, 2) for b in (3, 4)]


def test_tasks_know_the_instance_that_they_belong_to():
    graph = graph_of("  s: {for: {T: [250, 300.5], x: [a b]}, run: 'noop([$T, $x])'}")
    assert [graph.tasks[task].name for task in graph.datasets["s"].tasks] == ["s[T=250,x=a b]", "s[T=300.5,x=a b]"]


def test_a_long_value_is_shortened_from_the_front():
    assert label(["p"], ["/data/" + "x" * 50 + "/file.pdb"]).endswith("xxx/file.pdb")
    assert len(label(["p"], ["y" * 100])) == len("p=") + 40


def test_ten_thousand_instances_of_a_grid_are_compiled_and_planned_in_no_time():
    text = "  s: {for: {a: range(100), b: range(100)}, where: $a + $b >= 0, run: 'noop([$a, $b])'}"
    start = time.process_time()
    graph = graph_of(text)
    make_plan(graph, Machine((0, 0)))
    assert len(graph.tasks) == 10_000
    assert time.process_time() - start < 5


# Values from elsewhere

def test_lists_come_from_files():
    assert values("  s: {for: {v: {file: v.txt}}, run: noop($v)}") == [1, 2.5, "abc", True]
    assert values("  s: {zip: {T: {file: t.csv, column: T}, p: {file: t.csv, column: p}}, run: 'noop([$T, $p])'}") == [
        [1, 2], [3, 1e-3]]


def test_what_is_in_a_list_is_part_of_the_digest():
    text = HEAD + "  s: {for: {v: {file: v.txt}}, run: noop($v)}"
    one, same, other = (read_workflow(text, "w.yaml", None, lambda file, data=data: data) for data in (b"1", b"1", b"2"))
    assert one.digest == same.digest != other.digest
    assert one.files == {"v.txt": b"1"}


def test_a_variable_may_stand_for_each_block():
    graph = graph_of("  s: {for: {part: {blocks: A}, k: [1, 2]}, run: 'noop($part * $k)'}")
    assert len(graph.datasets["s"].tasks) == 4
    chained = graph_of("  s: {for: {one: {blocks: t}}, run: noop($one)}\n  t: {for: {k: range(3)}, run: noop($k)}")
    needed = [chained.tasks[task].needs for task in chained.datasets["s"].tasks]
    assert needed == [(task,) for task in chained.datasets["t"].tasks]
    assert [chained.tasks[task].instance for task in chained.datasets["s"].tasks] == ["one=0", "one=1", "one=2"]


def test_a_variable_may_stand_for_each_row():
    graph = graph_of("  s: {for: {v: {rows: A}}, run: noop($v)}")
    rows = [graph.tasks[graph.tasks[task].needs[0]] for task in graph.datasets["s"].tasks]
    assert [(task.operation, dict(task.parameters)["index"], task.nbytes) for task in rows] == [
        ("row", index, 8) for _ in range(2) for index in range(3)]
    assert len({task.needs for task in rows}) == 2              # a row is taken from the block that holds it


def entries(*files):
    """Give what ranks see: path, size and rank of each file."""
    return merge_sources([SourceEntry(source_of("s", "p"), file, size, 1, 1, (), "", "", (rank,)) for file, size, rank in files])


def test_files_are_gone_through_where_they_are_seen():
    sources = entries(("/d/a", 1, 0), ("/d/a", 1, 1), ("/d/ab", 1, 1))
    step = "  s: {for: {p: {files: /d/*}, k: [1, 2]}, run: 'scaled(A, label=\"<$p>\") + noop($k)'}"
    graph = graph_of(step, sources)
    reading = [task for task in graph.tasks if task.operation == "scaled" and task.kind == "apply"]
    seen = {(dict(task.parameters)["label"], task.ranks) for task in reading}
    assert seen == {("</d/a>", None), ("</d/ab>", (1,))}
    assert all(task.ranks is None for task in graph.tasks if task.operation == "noop")
    other = graph_of(step, entries(("/d/a", 2, 0), ("/d/a", 2, 1), ("/d/ab", 1, 1)))
    ids = {task.id for task in graph.tasks}
    assert 0 < sum(task.id not in ids for task in other.tasks if task.operation == "scaled" and task.kind == "apply") < 4


def test_a_file_that_only_a_dead_rank_saw_is_gone():
    workflow = read_workflow(HEAD + "  s: {for: {p: {files: /d/*}}, run: noop($p)}", "w.yaml")
    sources = [SourceEntry(source_of("s", "p"), "/d/a", 1, 1, 1, (), "", "", ())]
    (task,) = lower(workflow, REGISTRY, sources, 2, recovering=True).tasks
    assert (task.kind, task.block.file) == ("gone", "/d/a")


@pytest.mark.parametrize(("value", "expected"), [("x/d/a", True), (["b", {"k": "/d/a"}], True), (3, False), ("/d", False)])
def test_plain_arguments_mention_files(value, expected):
    assert mentions((("i", value),), "/d/a") is expected


# Some instances, and each by itself

GRID = "\n  t: {for: {T: [1, 2, 3], k: range(4)}, run: 'noop([$T, $k])'}"


@pytest.mark.parametrize(("conditions", "expected"), [
    ("T == 2", [[2, 0], [2, 1], [2, 2], [2, 3]]), ("T >= 2, k == 3", [[2, 3], [3, 3]]), ("T != 2, k < 1", [[1, 0], [3, 0]]),
    ("k == 1.0, T <= 1", [[1, 1]]), ("T == 2, T >= 1, k > 2", [[2, 3]]),
])
def test_instances_are_chosen_by_their_values(conditions, expected):
    graph = graph_of(f"  s: 't[{conditions}]'{GRID}")
    assert [dict(graph.tasks[task].parameters)["i"] for task in graph.datasets["s"].tasks] == expected


def test_a_loop_chooses_for_each_of_its_own_instances():
    graph = graph_of("  s: {for: {T: [3, 1]}, run: 'scaled(t[T == $T])'}" + GRID)
    chosen = [{dict(graph.tasks[need].parameters)["i"][0] for need in task.needs} for task in graph.tasks
              if task.operation == "scaled" and task.kind == "apply"]
    assert chosen == [{3}] * 4 + [{1}] * 4


def test_each_instance_is_an_argument_of_its_own_where_there_may_be_any_number():
    graph = graph_of("  s: 'replay(A, t[T == 2].*, u.a.*)'\n  u: {for: {k: [1, 2]}, run: noop($k)}" + GRID)
    (task,) = graph.datasets["s"].tasks
    assert [len(item.tasks) for item in graph.tasks[task].inputs] == [2, 1, 1, 1, 1, 1, 1]


def test_all_instances_are_the_step_where_one_dataset_is_needed():
    graph = graph_of("  s: sort(t.*)\n  u: sort(t)" + GRID)
    assert graph.datasets["s"].tasks == graph.datasets["u"].tasks


def test_a_star_in_a_text_is_a_star():
    assert values("  s: noop('t.*')") == ["t.*"]
    assert values("  s: {for: {k: [1]}, run: 'noop(\"$k.*\")'}") == ["1.*"]


def test_instances_are_written_one_by_one_by_their_names():
    graph = graph_of("  t: {for: {p: [a/b, a/b, c]}, run: noop($p)}\nresults: {t.*: t.h5}")
    assert list(graph.written) == ["t/p=a_b", "t/p=a_b#2", "t/p=c"]
    assert distinct(["a", "b", "a", "a"]) == ["a", "b", "a#2", "a#3"]


# What is wrong

@pytest.mark.parametrize(("step", "column", "message"), [
    ("{zip: {a: [1, 2], b: range(3)}, run: noop($a)}", 27, "'b' has 3 values, 'a' has 2; side by side they need equally many"),
    ("{for: {a: range($b), b: [1]}, run: noop($a)}", 16, "$b has no value here"),
    ("{for: {a: [1]}, zip: {a: [1]}, run: noop($a)}", 28, "'a' stands under 'for' as well"),
    ("{zip: {}, run: noop(1)}", 12, "'zip' is empty"),
    ("{for: {a: range(2000), b: range(2000)}, run: noop($a)}", 32, "4,000,000 instances are too many"),
    ("{for: {a: [0], b: range($a)}, run: noop($a)}", 24, "'b' never has a value"),
    ("{for: {a: [1, 2]}, where: $a > 5, run: noop($a)}", 32, "'where' leaves none of 2 instances"),
    ("{for: {a: [1, x]}, where: $a > 0, run: noop($a)}", 32, "'x' and 0 have no order (at a=x)"),
    ("{for: {a: [1]}, where: $a + 1, run: noop($a)}", 29, "'where' must be true or false, not 2"),
    ("{for: {a: [1]}, where: $a / 0 > 1, run: noop($a)}", 29, "divide of 1 and 0: division by zero"),
    ("{for: {a: [1]}, where: ['$a > 0', sum($a)], run: noop($a)}", 40, "'where' has no operation 'sum'"),
    ("{for: {a: [1]}, where: A > 1, run: noop($a)}", 29, "'where' can only have numbers"),
    ("{where: 1 > 0, run: noop(1)}", 7, "'where' chooses among the instances of a loop; there is no 'for'"),
    ("{for: {a: {file: no.txt}}, run: noop($a)}", 23, "cannot read no.txt: No such file or directory"),
    ("{for: {a: {file: empty.txt}}, run: noop($a)}", 23, "empty.txt: the list has no items"),
    ("{for: {a: {file: latin.txt}}, run: noop($a)}", 23, "latin.txt:1:1: not UTF-8 text"),
    ("{for: {a: {file: t.csv}}, run: noop($a)}", 23, "t.csv is a table: say which 'column' is meant"),
    ("{for: {a: {file: v.txt, column: T}}, run: noop($a)}", 23, "v.txt has no columns"),
    ("{for: {a: {file: t.csv, column: TT}}, run: noop($a)}", 38, "t.csv: no column 'TT'; did you mean 'T'?"),
    ("{for: {a: {file: short.csv, column: T}}, run: noop($a)}", 23, "short.csv: row 1 has 2 cells, not 1"),
    ("{for: {a: {blocks: A, rows: A}}, run: noop($a)}", 13, "'a' needs exactly one of file, files, blocks, rows; it has"),
    ("{for: {a: {block: A}}, run: noop($a)}", 17, "unknown key 'block'; did you mean 'blocks'?"),
    ("{for: {a: {blocks: A, column: T}}, run: noop($a)}", 28, "'column' belongs to 'file', not to 'blocks'"),
    ("{for: {a: {blocks: B}}, run: noop($a)}", 25, "no dataset or step 'B'"),
    ("{for: {a: {blocks: A + 1}}, run: noop($a)}", 25, "'A + 1' is no name of a dataset or a step"),
    ("{for: {a: {rows: t}}, run: noop($a)}", 16, "how many rows there will be is not known before the run"),
    ("{for: {a: {blocks: A}}, where: $a > 1, run: noop($a)}", 37, "$a is a dataset, which has no value before the run"),
    ("{for: {a: {blocks: A}}, run: noop('x$a')}", 40, "'x$a': $a is a dataset and cannot be part of a text"),
    ("{for: {a: {blocks: A}}, run: noop, with: {i: $a}}", 51, "$a is a dataset; datasets belong under 'in'"),
    ("{for: {a: {files: no-*}}, run: noop($a)}", 24, "no rank sees a file that matches 'no-*'"),
    ("noop(A.*)", 11, "'A' has no instances: it is no step with 'for'"),
    ("noop(t[K == 1])", 13, "the loop of 't' has no variable 'K'; it has k"),
    ("noop(t[k == 9])", 11, "no instance of 't' is meant by this"),
    ("noop(t[k > 'a'])", 11, "0 and 'a' have no order"),
    ("noop(t[1 < k])", 13, "a condition compares a variable of the step's loop with a plain value"),
    ("noop(t[k == A])", 18, "a condition may hold plain values only"),
    ("noop((t + t).*)", 19, "not an expression"),
    ("{for: {k: [3, 9]}, run: 'noop(t[k == $k])'}", 36, "no instance of 't' is meant by this (at k=9)"),
])
def test_a_wrong_sweep_is_one_problem_at_its_place(step, column, message):
    with pytest.raises(DocumentError) as error:
        graph_of(f"  s: {step}\n  t: {{for: {{k: range(4)}}, run: noop($k)}}")
    (problem,) = error.value.problems
    assert (problem.line, problem.column, problem.message[:len(message)]) == (6, column, message)


@pytest.mark.parametrize(("results", "message"), [
    ("{A.*: a.h5}", "'A' has no instances"), ("{t.*: t.npy}", "only an HDF5 file can hold instances one by one"),
    ("{tt.*: t.h5}", "no step or dataset 'tt'; did you mean 't'?"),
])
def test_wrong_results_of_instances_are_problems_at_their_places(results, message):
    with pytest.raises(DocumentError, match=message) as error:
        graph_of(f"  t: {{for: {{k: range(4)}}, run: noop($k)}}\nresults: {results}")
    assert [problem.line for problem in error.value.problems] == [7]


def test_copies_of_a_file_on_several_disks_are_one_file():
    sources = [SourceEntry(source_of("s", "p"), "/d/a", 1, 1, inode, (), "", "", (rank,)) for rank, inode in enumerate((5, 6))]
    (task,) = graph_of("  s: {for: {p: {files: /d/*}}, run: noop($p)}", sources, size=3).tasks
    assert task.ranks == (0, 1)


def test_a_file_that_ranks_see_differently_is_refused():
    with pytest.raises(DocumentError, match="/d/a is not the same file on all ranks"):
        graph_of("  s: {for: {p: {files: /d/*}}, run: noop($p)}", entries(("/d/a", 1, 0), ("/d/a", 2, 1)))


# The example

def test_the_example_gives_what_its_operations_give(tmp_path):
    ended = mpiflow(2, EXAMPLES / "sweeps" / "workflow.yaml", "--no-save", cwd=tmp_path)
    assert (ended.status, ended.err) == (0, "")
    with h5py.File(tmp_path / "results/runs.h5") as opened:
        runs = {name: item["magnetisation"][()] for name, item in opened["runs"].items()}
    assert len(runs) == 12 and "T=2.27,seed=3" in runs and "T=3.5,seed=2" not in runs
    with h5py.File(tmp_path / "results/ising.h5") as opened:
        assert opened["coldest"][()] == max(runs[f"T=1.5,seed={seed}"][-1] for seed in (1, 2, 3))
        for T, average in zip((1.5, 2.27, 3.5, 4.0), opened["average"][()], strict=True):
            np.testing.assert_allclose(average, np.mean([run for name, run in runs.items() if name.startswith(f"T={T},")]))

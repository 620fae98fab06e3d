"""Loops of steps: their items, the plain values that hold an item, and the tasks that come out."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpiflow.errors import DocumentError
from mpiflow.operations.operation import operation
from mpiflow.operations.registry import builtin_operations
from mpiflow.operations.values import concatenate
from mpiflow.peer.execute import Executor
from mpiflow.planning.lowering import lower
from mpiflow.workflow.expressions import Call, Constant, Ref, Variable
from mpiflow.workflow.loops import Hole, bound, escaped, parse_items, template
from mpiflow.workflow.parsing import ExpressionError, parse_expression
from mpiflow.workflow.reading import read_workflow


@operation
def noop(i=0):
    return np.int64(i)


@operation(linear=True)
def scaled(x, by=1, label=""):
    return np.sum(x) * by


@operation(nbytes=lambda size, i: i)
def made(i):
    return np.zeros(i, np.uint8)


REGISTRY = builtin_operations() | {item.name: dataclasses.replace(item, code="own") for item in (noop, scaled, made)}
HEAD = "mpiflow: 1\nname: l\nparams: {n: 3, list: [7, 8], price: 5$$}\ndatasets: {A: {arange: {stop: 6}, blocks: 2}}\nsteps:\n"


def graph_of(steps):
    return lower(read_workflow(HEAD + steps, "w.yaml"), REGISTRY, (), 2)


def value_of(steps, name="s"):
    """Run all tasks in one process and give the value of a step, joined as a result would be."""
    workflow = read_workflow(HEAD + steps + f"\nresults: {{{name}: out.h5}}", "w.yaml")
    graph = lower(workflow, REGISTRY, (), 2)
    executor, values = Executor(workflow, REGISTRY, graph, None), {}
    for number in range(len(graph.tasks) - 1):
        values[number] = executor.run(number, values)
    (item,) = graph.tasks[-1].inputs
    return concatenate([values[task] for task in item.tasks])


def parameters(steps, name="s"):
    graph = graph_of(steps)
    return [dict(graph.tasks[task].parameters) for task in graph.datasets[name].tasks]


# Items

@pytest.mark.parametrize(("written", "items"), [
    ("range(3)", [0, 1, 2]), ("range(1, 3)", [1, 2]), (" range( 5,1 , -2 ) ", [5, 3]), ("range(-2,0)", [-2, -1]),
    ("range(1_0)", list(range(10))), (["a", 1.5, True], ["a", 1.5, True]),
])
def test_items_are_a_list_or_a_range(written, items):
    assert list(parse_items(written)) == items


@pytest.mark.parametrize("written", [
    "range(0)", "range(3, 1)", "range(1, 2, 0)", "range()", "range(1, 2, 3, 4)", "range(1.5)", "range(a)", "range(2) + 1", "3",
    "", "range(9_999_999)", "range(" + "9" * 5000 + ")", [],
])
def test_what_gives_no_items_is_refused(written):
    with pytest.raises(ValueError, match=r"range|items"):
        parse_items(written)


# Plain values with an item in them

@pytest.mark.parametrize(("value", "expected"), [
    ("$i", 7), ("${i}", 7), ("a-$i", "a-7"), ("${i}b$i", "7b7"), ("$$i", "$i"), ("$$", "$"),
    (["$i", {"k": "x$i"}], [7, {"k": "x7"}]), ("plain", "plain"), (3, 3), ("$j", "$j"),
])
def test_an_item_is_put_into_a_plain_value(value, expected):
    assert bound(template(value, ["i"])[0], {"i": 7}) == expected


@given(st.text())
def test_an_escaped_text_stays_as_it_is(text):
    assert template(escaped(text), ["i"]) == (text, False)


@pytest.mark.parametrize(("text", "expression"), [
    ("f(A, $i)", Call("f", (Ref("A"), Variable(Hole("i"))))),
    ("f(A, k=${i})", Call("f", (Ref("A"),), (("k", Variable(Hole("i"))),))),
    ("f('$$')", Call("f", (Constant("$"),))), ("f([1, $i])", Call("f", (Variable([1, Hole("i")]),))),
    ("A * $i", Call("multiply", (Ref("A"), Variable(Hole("i"))))),
])
def test_the_variable_stands_in_expressions(text, expression):
    assert parse_expression(text, ["i"]) == expression


def test_places_in_an_expression_with_a_variable_are_those_of_the_text():
    with pytest.raises(ExpressionError) as error:
        parse_expression("f(${i}) + (A & $i)", ["i"])
    assert (str(error.value)[:8], error.value.offset) == ("'A & $i'", 11)


# Documents

@pytest.mark.parametrize(("step", "column", "message"), [
    ("{for: {i: []}, run: noop($i)}", 16, "'i' must be a list of length 1 or more or a mapping or text, not []"),
    ("{for: {i: rang(3)}, run: noop($i)}", 16, "'rang(3)' is no list and no range"),
    ("{for: {i: range(0)}, run: noop($i)}", 16, "range(0) has no items"),
    ("{for: {i: range(0, 3)}, run: noop($i)}", 16, "'range(0' is cut off; inside { } a range with a comma needs quotes"),
    ("{for: {i: [[1]]}, run: noop($i)}", 17, "element 1 of 'i' must be text or a number or true or false"),
    ("{for: 3, run: noop($i)}", 12, "'for' must be a mapping, not 3"),
    ("{for: {}, run: noop($i)}", 12, "'for' is empty"),
    ("{for: {n: [1]}, run: noop($n)}", 13, "'n' is a parameter of the document already"),
    ("{for: {item: [1]}, run: noop($itm)}", 35, "no parameter 'itm'; did you mean 'item'?"),
    ("{for: {i: [1]}, run: noop(A$i)}", 32, "'A$i': $i is a value and cannot be part of a name"),
    ("{for: {i: [1]}, run: $i}", 27, "'$i' is no dataset"),
    ("{for: {i: [1]}, run: noop($i), tags: [$i]}", 44, "no parameter 'i'"),
    ("{for: {i: [1]}, run: sum($i)}", 31, "sum needs a dataset here, not '$i'"),
    ("noop($i)", 11, "no parameter 'i'"),
])
def test_a_wrong_loop_is_one_problem_at_its_place(step, column, message):
    with pytest.raises(DocumentError) as error:
        graph_of(f"  s: {step}")
    (problem,) = error.value.problems
    assert (problem.line, problem.column) == (6, column)
    assert problem.message.startswith(message)


def test_a_loop_beside_the_steps_is_sent_into_one():
    with pytest.raises(DocumentError, match="unknown key 'for'; it belongs into a step"):
        read_workflow(HEAD + "  s: sum(A)\nfor: {i: [1]}", "w.yaml")


def test_parameters_go_into_a_loop_and_its_step():
    assert parameters("  s: {for: {i: range($n)}, run: noop($i)}") == [{"i": 0}, {"i": 1}, {"i": 2}]
    assert parameters("  s: {for: {i: $list}, run: noop($i)}") == [{"i": 7}, {"i": 8}]
    assert parameters("  s: {for: {i: [1]}, run: noop, with: {i: '$price-$i-$$'}}") == [{"i": "5$$-1-$"}]


def test_the_step_is_one_node_of_the_names():
    workflow = read_workflow(HEAD + "  s: {for: {i: range(5)}, run: A * $i}\n  t: sum(s)", "w.yaml")
    assert list(workflow.graph.edges) == [("A", "s"), ("s", "t")]


# Tasks

def test_each_item_is_a_block_in_order_and_belongs_to_the_step():
    graph = graph_of("  s: {for: {i: [3, 1, 2]}, run: noop($i)}")
    tasks = [graph.tasks[task] for task in graph.datasets["s"].tasks]
    assert [(task.step, dict(task.parameters)) for task in tasks] == [("s", {"i": 3}), ("s", {"i": 1}), ("s", {"i": 2})]


def test_an_instance_is_the_task_that_the_written_out_step_would_be():
    graph = graph_of("  s: {for: {i: range(3)}, run: noop($i)}\n  t: noop(1)\n  u: {run: noop, with: {i: 2}}")
    s, t, u = (graph.datasets[name].tasks for name in "stu")
    assert (t, u) == (s[1:2], s[2:3])


def test_blocks_of_instances_follow_each_other():
    assert value_of("  s: {for: {i: [1, 10]}, run: A * $i}").tolist() == [*range(6), *range(0, 60, 10)]
    assert len(graph_of("  s: {for: {i: [1, 10]}, run: A * $i}").datasets["s"].tasks) == 4


def test_numbers_are_joined_as_rows():
    assert value_of("  s: {for: {i: range(3)}, run: noop($i)}").tolist() == [0, 1, 2]
    assert value_of("  s: sort(t)\n  t: {for: {i: [3, 1, 2]}, run: noop($i)}").tolist() == [1, 2, 3]
    assert value_of("  s: t * 2\n  t: {for: {i: [3, 1, 2]}, run: noop($i)}").tolist() == [6, 2, 4]


def test_a_linear_operation_runs_on_each_instance():
    graph = graph_of("  s: scaled(t)\n  t: {for: {i: range(4)}, run: noop($i)}")
    assert sum(task.operation == "scaled" and task.kind == "apply" for task in graph.tasks) == 4
    assert value_of("  s: sum(t)\n  t: {for: {i: range(4)}, run: noop($i)}") == 6


def test_what_does_not_depend_on_the_item_is_computed_once():
    graph = graph_of("  s: {for: {i: range(50)}, run: 'scaled(A * 2, by=$i) + sum(A)'}")
    assert sum(task.operation == "multiply" for task in graph.tasks) == 2
    assert value_of("  s: {for: {i: range(3)}, run: 'scaled(A * 2, by=$i) + sum(A)'}").tolist() == [15, 45, 75]


def test_sizes_of_instances_follow_their_items():
    graph = graph_of("  s: {for: {i: [5, 9]}, run: made($i)}")
    assert [graph.tasks[task].nbytes for task in graph.datasets["s"].tasks] == [5, 9]


def test_ten_thousand_instances_are_compiled_in_no_time():
    text = HEAD + "  s: {for: {i: range(10000)}, run: noop($i)}"
    times = []
    for _ in range(5):
        start = time.process_time()
        assert len(lower(read_workflow(text, "w.yaml"), REGISTRY, (), 2).tasks) == 10_000
        times.append(time.process_time() - start)
    assert min(times) < 0.5         # 0.05 s on a quiet machine; written out it would be a second

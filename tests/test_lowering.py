"""From a workflow to tasks: what is split, what is shared, what the ids cover, and that the value follows the definition."""

import dataclasses
import functools
import re

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiflow.catalog.entries import SourceEntry
from mpiflow.errors import DocumentError, OperationError
from mpiflow.operations.operation import operation
from mpiflow.operations.registry import builtin_operations
from mpiflow.operations.values import concatenate
from mpiflow.peer.execute import Executor
from mpiflow.planning.lowering import lower
from mpiflow.planning.tasks import Kind, recipe_id
from mpiflow.workflow.expressions import Call, Column, Constant, Ref, Sum
from mpiflow.workflow.parsing import parse_expression
from mpiflow.workflow.reading import draft_workflow, read_workflow

law = settings(derandomize=True, deadline=None)


# Operations

@operation(linear=True)
def f(x, scale=1):
    return scale * np.sum(x, axis=0)


@operation(linear=True)
def g(x, scale=1):
    return scale * np.sum(x, axis=0)


@operation(linear=True)
def triple(x):
    return 3 * x


@operation(linear=True, combine="maximum")
def most(x):
    return np.max(x, axis=0)


@operation(linear=True, finish=lambda partial, scale, offset: partial * scale + offset)
def closed(x, scale=2, offset=0, other=None):
    return np.sum(x, axis=0)


@operation(linear=True, combine="concatenate")
def doubled(x):
    return x + x


@operation(linear=True)
def against(x, other):
    return np.sum(x, axis=0) * np.max(other)


@operation
def h(x, y=None):
    return x[::-1] if y is None else x[::-1] + y


@operation(elementwise=True)
def both(x):
    return {"plus": x + 1, "minus": x - 1}


@operation(elementwise=True)
def weighed(x, weights):
    return x * weights[:, np.newaxis]


@operation(elementwise=True)
def shorter(x):
    return x[1:]


OWN = (f, g, triple, most, closed, doubled, against, h, both, weighed, shorter)
REGISTRY = builtin_operations() | {item.name: dataclasses.replace(item, code="own") for item in OWN}


def workflow_of(steps, read=read_workflow, **datasets):
    document = {"mpiflow": 1, "name": "test", "datasets": datasets, "steps": {"s": steps} if isinstance(steps, str) else steps}
    return read(yaml.safe_dump(document, sort_keys=False), "w.yaml")


def random_rows(rows=6, blocks=1, seed=0, columns=2, **more):
    return {"random": {"shape": [rows, columns], "seed": seed}, "blocks": blocks, **more}


ABC = {name: random_rows(seed=seed) for seed, name in enumerate("ABC")}


def graph_of(steps, registry=REGISTRY, size=4, sources=(), **datasets):
    return lower(workflow_of(steps, **(datasets or ABC)), registry, sources, size)


def written(graph, name="s"):
    """Give the blocks of a dataset as expressions of the tasks that make them."""
    return [_written(graph, number) for number in graph.datasets[name].tasks]


def _written(graph, number):
    task = graph.tasks[number]
    if task.kind is Kind.LOAD:
        block = task.block
        return f"{block.dataset}[{block.start}:{block.stop}]"
    arguments = []
    for item in task.inputs:
        parts = [_written(graph, needed) for needed in item.tasks]
        text = parts[0] if len(parts) == 1 else f"<{' '.join(parts)}>"
        arguments.append(text + (f"|{item.cut[0]}:{item.cut[1]}" if item.cut else ""))
    arguments += [f"{name}={value!r}" for name, value in task.parameters]
    return f"{task.operation}{'' if task.kind is Kind.APPLY else '.' + task.kind}({', '.join(arguments)})"


# Scenarios of the thesis: linear, non-linear and mixed, on one, two and three datasets

@pytest.mark.parametrize(("step", "tasks"), [
    ("f(A)", "f(A[0:6])"),
    ("f(A + B)", "f.combine(f(A[0:6]), f(B[0:6]))"),
    ("f(A + B + C)", "f.combine(f.combine(f(A[0:6]), f(B[0:6])), f(C[0:6]))"),
    ("h(A)", "h(A[0:6])"),
    ("h(A + B)", "h(add(A[0:6], B[0:6]))"),
    ("h(A + B + C)", "h(add(add(A[0:6], B[0:6]), C[0:6]))"),
    ("f(A + g(B + C))", "f.combine(f.combine(f(A[0:6]), f(g(B[0:6]))), f(g(C[0:6])))"),
])
def test_a_scenario_of_the_thesis_becomes_the_tasks_that_it_should(step, tasks):
    assert written(graph_of(step)) == [tasks]


@pytest.mark.parametrize(("step", "tasks"), [
    ("f(A + h(B + C))", "f.combine(f(A[0:6]), f(h(add(B[0:6], C[0:6]))))"),
    ("h(A + g(B + C))", "h(add(A[0:6], g.combine(g(B[0:6]), g(C[0:6]))))"),
    ("f(most(A + B))", "f(most.combine(most(A[0:6]), most(B[0:6])))"),
    ("f(closed(A + B))", "f(closed.finish(closed.combine(closed(A[0:6]), closed(B[0:6])), ))"),
    ("f(g(triple(A + B) + C))", "f.combine(f.combine(f(g(triple(A[0:6]))), f(g(triple(B[0:6])))), f(g(C[0:6])))"),
    ("f(triple(h(A)))", "f(triple(h(A[0:6])))"),
    ("f(A - B)", "f(subtract(A[0:6], B[0:6]))"),
    ("f(2 * (A + B))", "f(multiply(add(A[0:6], B[0:6]), x=2))"),
    ("f(A + 1)", "f(add(A[0:6], y=1))"),
    ("f(A + A)", "f.combine(f(A[0:6]), f(A[0:6]))"),
])
def test_only_sums_inside_operations_that_add_up_are_taken_apart(step, tasks):
    assert written(graph_of(step)) == [tasks.replace(", )", ")")]


def test_many_terms_are_combined_along_a_binary_tree():
    sources = {name: random_rows(seed=seed, columns=1) for seed, name in enumerate("ABCDE")}
    a, b, c, d, e = (f"f({name}[0:6])" for name in "ABCDE")
    assert written(graph_of("f(A + B + C + D + E)", **sources)) == [
        f"f.combine(f.combine(f.combine({a}, {b}), f.combine({c}, {d})), {e})"]


def test_a_sum_of_a_thousand_terms_is_no_deep_recursion():
    graph = graph_of("h(" + " + ".join(["A", "B"] * 500) + ")")
    assert written(graph)[0].count("A[0:6]") == 500


def test_blocks_are_combined_along_a_binary_tree_over_their_numbers():
    graph = graph_of("f(A + B)", A=random_rows(6, 3), B=random_rows(6, 2, seed=1))
    assert written(graph) == [
        "f.combine(f.combine(f.combine(f(A[0:2]), f(A[2:4])), f.combine(f(A[4:6]), f(B[0:3]))), f(B[3:6]))"]


def test_an_inner_linear_operation_is_complete_before_the_outer_one_starts():
    graph = graph_of("f(g(A + B))", A=random_rows(6, 2), B=random_rows(6, 1, seed=1))
    assert written(graph) == ["f.combine(f(g.combine(g(A[0:3]), g(A[3:6]))), f(g(B[0:6])))"]


def test_a_non_linear_operation_gets_all_blocks_joined():
    assert written(graph_of("h(A)", A=random_rows(6, 3))) == ["h(<A[0:2] A[2:4] A[4:6]>)"]


def test_a_linear_operation_gets_its_other_arguments_whole():
    graph = graph_of("against(A, B)", A=random_rows(6, 2), B=random_rows(4, 2, seed=1))
    assert written(graph) == ["against.combine(against(A[0:3], <B[0:2] B[2:4]>), against(A[3:6], <B[0:2] B[2:4]>))"]


def test_an_operation_that_concatenates_keeps_the_blocks_of_all_terms():
    graph = graph_of("doubled(A + B)", A=random_rows(6, 2), B=random_rows(4, 1, seed=1))
    assert written(graph) == ["doubled(A[0:3])", "doubled(A[3:6])", "doubled(B[0:4])"]


def test_finish_gets_the_arguments_that_it_names_and_no_others():
    graph = graph_of("closed(A, scale=3, offset=B, other=C)")
    assert written(graph)[0].startswith("closed.finish(closed(") and written(graph)[0].endswith(", B[0:6], scale=3)")


def test_parameters_of_in_and_with_are_those_of_a_call():
    steps = {"s": {"run": "f", "in": {"x": "A + B"}, "with": {"scale": 3}}, "t": "f(A + B, scale=3)"}
    graph = graph_of(steps)
    assert graph.datasets["s"].id == graph.datasets["t"].id


# Elementwise operations

def test_datasets_that_are_cut_alike_stay_cut():
    graph = graph_of("A * B", A=random_rows(6, 2), B=random_rows(6, 2, seed=1))
    assert written(graph) == ["multiply(A[0:3], B[0:3])", "multiply(A[3:6], B[3:6])"]


def test_a_dataset_in_one_block_is_cut_to_the_rows_of_each_block():
    graph = graph_of("A * B", A=random_rows(6, 2), B=random_rows(6, 1, seed=1))
    assert written(graph) == ["multiply(A[0:3], B[0:6]|0:3)", "multiply(A[3:6], B[0:6]|3:6)"]


def test_a_result_in_one_block_is_given_to_each_block():
    graph = graph_of("A - mean(A)", A=random_rows(6, 2))
    assert [text.count("|") for text in written(graph)] == [1, 1]


def test_datasets_that_are_cut_unalike_are_gathered():
    graph = graph_of("A * B", A=random_rows(6, 2), B=random_rows(6, 3, seed=1))
    assert written(graph) == ["multiply(<A[0:3] A[3:6]>, <B[0:2] B[2:4] B[4:6]>)"]


def test_a_chain_of_elementwise_operations_stays_cut():
    graph = graph_of("sqrt(A * 2) + A", A=random_rows(6, 2))
    assert written(graph)[1] == "add(sqrt(multiply(A[3:6], y=2)), A[3:6])"


def test_blocks_of_unknown_length_stay_cut_with_themselves_alone():
    graph = graph_of({"d": "doubled(A)", "same": "d * d", "other": "d * A"}, A=random_rows(6, 2))
    assert len(written(graph, "same")) == 2 and len(written(graph, "other")) == 1


def test_concatenate_keeps_the_blocks_where_they_are():
    graph = graph_of("concatenate(A, B)", A=random_rows(6, 2), B=random_rows(3, 1, seed=1))
    assert written(graph) == ["A[0:3]", "A[3:6]", "B[0:3]"]


def test_concatenated_datasets_are_aligned_by_all_their_rows():
    graph = graph_of({"c": "concatenate(A, B)", "d": "c * -c"}, A=random_rows(6, 2), B=random_rows(3, 1, seed=1))
    assert written(graph, "d")[2] == "multiply(B[0:3], negative(B[0:3]))"


def test_a_dataset_in_one_block_is_cut_to_the_rows_of_concatenated_blocks():
    sources = {"A": random_rows(6, 2), "B": random_rows(3, 1, seed=1), "W": random_rows(9, 1, seed=2)}
    assert [text.partition("|")[2] for text in written(graph_of("concatenate(A, B) * W", **sources))] == ["0:3)", "3:6)", "6:9)"]


def test_a_column_is_taken_from_each_block():
    graph = graph_of("both(A).plus", A=random_rows(6, 2))
    assert written(graph) == ["column(both(A[0:3]), name='plus')", "column(both(A[3:6]), name='plus')"]


def test_columns_of_a_table_of_known_rows_stay_aligned():
    graph = graph_of({"t": "both(A)", "s": "t.plus * t.minus"}, A=random_rows(6, 2))
    assert len(written(graph)) == 2


def test_plain_values_make_a_dataset_too():
    assert written(graph_of("1 + 2")) == ["add(x=1, y=2)"]


# Identity

def ids(graph, name="s"):
    return graph.datasets[name].id


def test_what_is_asked_twice_is_computed_once():
    graph = graph_of({"one": "f(A + B)", "two": "f(A + B)"})
    assert graph.datasets["one"].tasks == graph.datasets["two"].tasks and len(graph.tasks) == 5


def test_a_part_that_two_steps_have_in_common_is_computed_once():
    assert len(graph_of({"one": "f(A + B)", "two": "f(A + C)"}).tasks) == 3 + 3 + 2


def test_two_datasets_from_one_recipe_are_loaded_once():
    assert len(graph_of("h(A + B)", A=random_rows(), B=random_rows()).tasks) == 3


def test_ids_do_not_depend_on_names_tags_or_units():
    other = graph_of("f(X + Y)", X=random_rows(seed=0, tags=["x"]), Y=random_rows(seed=1, unit="nm"))
    assert ids(other) == ids(graph_of("f(A + B)"))


@pytest.mark.parametrize("size", [1, 2, 3, 64])
@pytest.mark.parametrize("rank", [0, 1, 70])
def test_ids_do_not_depend_on_ranks(size, rank):
    pinned = graph_of("f(A + h(B))", size=size, A=random_rows(seed=0, rank=rank), B=random_rows(seed=1))
    assert [task.id for task in pinned.tasks] == [task.id for task in graph_of("f(A + h(B))").tasks]


@pytest.mark.parametrize("step", ["f(A + C)", "g(A + B)", "f(A + B, scale=2)", "f(A - B)", "f(B + A)"])
def test_ids_depend_on_operation_parameters_and_inputs(step):
    assert ids(graph_of(step)) != ids(graph_of("f(A + B)"))


@pytest.mark.parametrize("values", [
    ("1", "1.0"), ("1", "True"), ("'1'", "1"), ("[1, 2]", "[2, 1]"), ("None", "'None'"), ("0.0", "-0.0")], ids=str)
def test_ids_tell_parameters_apart(values):
    one, other = (ids(graph_of(f"f(A, scale={value})")) for value in values)
    assert one != other


def test_ids_depend_on_the_code_of_an_operation():
    changed = REGISTRY | {"f": dataclasses.replace(REGISTRY["f"], code="changed")}
    assert ids(graph_of("f(A)", changed)) != ids(graph_of("f(A)"))


@pytest.mark.parametrize("changed", [{"blocks": 2}, {"seed": 9}, {"rows": 7}])
def test_ids_depend_on_what_is_generated_and_how_it_is_cut(changed):
    assert ids(graph_of("f(A)", A=random_rows(**changed))) != ids(graph_of("f(A)", A=random_rows()))


def test_ids_are_the_same_in_every_run():
    assert recipe_id(Kind.APPLY, "f", [1, 2.5, None, True, "é"], {"b": 1, "a": 2}) == "d1d99576325af38452f0ece136e72796"


def test_tasks_come_after_those_that_they_need():
    graph = graph_of({"s": "f(A + h(B)) - t", "t": "closed(C, offset=A)"}, A=random_rows(6, 3), B=ABC["B"], C=ABC["C"])
    assert all(needed < number for number, task in enumerate(graph.tasks) for needed in task.needs)


# What is declared

def test_declared_sizes_and_times_are_taken():
    @operation(nbytes=100, seconds=lambda nbytes: nbytes / 2)
    def sized(x):
        return x

    graph = graph_of("sized(A)", REGISTRY | {"sized": sized})
    assert (graph.tasks[-1].nbytes, graph.tasks[-1].seconds) == (100, 6 * 2 * 8 / 2)


@pytest.mark.parametrize(("step", "nbytes"), [
    ("h(A)", 96), ("h(A, D)", 96), ("h(D, A)", 480), ("f(A)", 96), ("A * D", 480), ("D * A", 480), ("1 + 2", 8), ("sum(A)", 8),
    ("count(A)", 8), ("both(A).plus", 48)])
def test_what_declares_no_size_is_as_large_as_its_first_argument_or_as_its_largest_if_elementwise(step, nbytes):
    graph = graph_of(step, **ABC, D=random_rows(6, columns=10))
    assert graph.tasks[graph.datasets["s"].tasks[0]].nbytes == nbytes


def test_what_declares_no_time_takes_as_long_as_all_its_bytes_need():
    sizes = (10**6, 2 * 10**6)
    one, other = (graph_of("h(A, B)", A=random_rows(num), B=random_rows(num, seed=1)).tasks[-1].seconds for num in sizes)
    assert other == pytest.approx(2 * one, rel=0.01)


def test_a_negative_estimate_is_zero():
    @operation(nbytes=-1)
    def sized(x):
        return x

    assert graph_of("sized(A)", REGISTRY | {"sized": sized}).tasks[-1].nbytes == 0


@pytest.mark.parametrize(("declared", "message"), [
    ({"nbytes": lambda n: 1 / 0}, "its nbytes for 96 bytes raises ZeroDivisionError: division by zero"),
    ({"seconds": lambda n: None}, "its seconds for 96 bytes raises TypeError"),
    ({"seconds": float("nan")}, "its seconds for 96 bytes gives nan"),
    ({"nbytes": lambda n: 10.0**400}, "its nbytes for 96 bytes raises OverflowError"),
    ({"nbytes": float("inf")}, "its nbytes for 96 bytes gives inf"),
])
def test_an_estimate_that_is_none_is_a_problem_of_the_step_that_asks(declared, message):
    sized = operation(name="sized", **declared)(lambda x: x)
    assert message in refused("sized(A)", REGISTRY | {"sized": sized})[0]


def test_what_is_added_up_is_as_large_as_a_part_and_what_is_concatenated_as_all_parts():
    @operation(linear=True, combine="concatenate", finish=np.sort, nbytes=10)
    def joined(x):
        return x

    graph = graph_of("f(A + B) - joined(A + B)", REGISTRY | {"f": dataclasses.replace(f, nbytes=10), "joined": joined})
    assert {task.operation: task.nbytes for task in graph.tasks if task.kind is Kind.COMBINE} == {"f": 10, "joined": 20}


# Names and results

def test_a_dataset_that_nobody_reads_is_not_loaded():
    graph = graph_of("f(A)")
    assert list(graph.datasets) == ["A", "s"] and len(graph.tasks) == 2


def test_datasets_keep_their_units_and_tags():
    steps = {"s": {"run": "f(A)", "unit": "nm", "tags": ["result"]}}
    graph = graph_of(steps, A=random_rows(unit="pm", tags=["md"]))
    assert [(entry.name, entry.made_by, entry.unit, entry.tags) for entry in graph.datasets.values()] == [
        ("A", "dataset", "pm", ("md",)), ("s", "step", "nm", ("result",))]


def test_the_unit_of_a_file_is_that_of_its_dataset():
    source = SourceEntry("A", "/a.npy", 48, 1, 2, (6,), "<f8", "nm", (0,))
    assert graph_of("f(A)", sources=[source], A={"file": "/a.npy"}).datasets["A"].unit == "nm"


def test_results_of_one_file_are_written_together():
    document = {"mpiflow": 1, "name": "t", "datasets": ABC, "steps": {"s": "f(A)", "t": "h(B)"},
                "results": {"s": "x.h5", "t": "./x.h5", "A": "a.npy"}}
    graph = lower(read_workflow(yaml.safe_dump(document), "w.yaml"), REGISTRY, (), 2)
    assert {dict(task.parameters)["file"]: [item.argument for item in task.inputs] for task in graph.tasks
            if task.kind is Kind.WRITE} == {"x.h5": ["s", "t"], "a.npy": ["A"]}


# Pins

def npy(*ranks, name="A"):
    return SourceEntry(name, f"/{name}.npy", 48, 1, 2, (6,), "<f8", "", ranks)


def loaders(size, sources=(), **dataset):
    graph = graph_of("f(A)", size=size, sources=sources, A=dataset)
    return graph.tasks[0].ranks


def test_a_pinned_dataset_is_made_by_its_rank_modulo_size():
    assert loaders(4, **random_rows(rank=6)) == (2,)


def test_a_dataset_that_is_not_pinned_can_be_made_anywhere():
    assert loaders(4, **random_rows()) is None


def test_a_file_is_read_by_a_rank_that_sees_it():
    assert loaders(4, [npy(1, 3)], file="/A.npy") == (1, 3)


def test_a_file_that_all_ranks_see_can_be_read_anywhere():
    assert loaders(2, [npy(0, 1)], file="/A.npy") is None


def test_a_pinned_file_is_read_by_its_rank():
    assert loaders(4, [npy(1, 3)], file="/A.npy", rank=3) == (3,)


# Errors

def refused(steps, registry=REGISTRY, sources=(), size=4, **datasets):
    with pytest.raises(DocumentError) as error:
        lower(workflow_of(steps, draft_workflow, **(datasets or ABC)), registry, sources, size)
    return str(error.value).splitlines()


@pytest.mark.parametrize(("step", "message"), [
    ("moost(A)", "no operation 'moost'; did you mean 'most'?"),
    ("f(A, B, C)", "f takes 2 arguments (x, scale), not 3"),
    ("f()", "f: argument 'x' is missing; it takes x, scale"),
    ("f(scale=2)", "f: argument 'x' is missing; it takes x, scale"),
    ("f(A, x=B)", "f: argument 'x' is given twice"),
    ("f(A, skale=2)", "f has no argument 'skale'; did you mean 'scale'?"),
    ("h(A, zzz=2)", "h has no argument 'zzz'; it takes x, y"),
    ("f(3)", "f needs a dataset here, not 3"),
    ("f(x='text')", "f needs a dataset here, not 'text'"),
    ("concatenate()", "concatenate: argument 'first' is missing; it takes first, others"),
    ("concatenate(A, 3)", "concatenate needs a dataset here, not 3"),
    ("concatenate(A, others=B)", "concatenate has no argument 'others'; it takes first, others"),
    ("f(A + B + 1)", "f is linear and takes a sum of datasets apart, but 1 is no dataset; make the sum a step of its own"),
    ("h(f(A + g(B + C + 'x')))", "g is linear and takes a sum of datasets apart, but 'x' is no dataset; "
                                 "make the sum a step of its own"),
])
def test_a_call_that_cannot_work_is_one_problem_that_says_why(step, message):
    problems = refused(step)
    assert len(problems) == 1 and problems[0].endswith(f": {message}")


def test_a_problem_points_to_the_call_inside_its_expression():
    text = "mpiflow: 1\nname: t\ndatasets: {A: {arange: {stop: 3}}}\nsteps:\n  s: h(A + nope(A))\n"
    with pytest.raises(DocumentError, match=r"^w.yaml:5:12: no operation 'nope'"):
        lower(read_workflow(text, "w.yaml"), REGISTRY, (), 1)


@pytest.mark.parametrize(("step", "line"), [
    ({"run": "nope", "in": {"x": "A"}}, 5), ({"run": "f", "in": {"x": "A"}, "with": {"skale": 2}}, 9),
    ({"run": "f", "in": {"x": "A", "y": "B"}}, 8), ({"run": "f", "with": {"x": 2}}, 7)], ids=str)
def test_a_problem_points_to_the_line_of_its_argument(step, line):
    text = "mpiflow: 1\nname: t\nsteps:\n  s:\n" + "".join(
        f"    {row}\n" for row in yaml.safe_dump(step, sort_keys=False).splitlines())
    text += "datasets: {A: {arange: {stop: 3}}, B: {arange: {stop: 3}}}\n"
    with pytest.raises(DocumentError, match=f"^w.yaml:{line}:"):
        lower(read_workflow(text, "w.yaml"), REGISTRY, (), 1)


def test_all_problems_come_in_one_go_those_of_the_text_too():
    steps = {"a": "nope(A)", "b": "f(A, B, C)", "c": "f(A", "d": "f(Z)"}
    missing = refused(steps, A={"file": "/none.npy"}, B=random_rows(), C={"full": {"shape": [-1], "value": 0}})
    words = ["no operation", "takes 2 arguments", "not an expression", "no dataset or step 'Z'", "no rank sees", "shape"]
    assert len(missing) == len(words) and all(any(word in line for line in missing) for word in words)


def test_a_file_pinned_to_a_rank_that_does_not_see_it_is_refused():
    assert refused("f(A)", sources=[npy(1, 3)], A={"file": "/A.npy", "rank": 2})[0].endswith(
        "rank 2 does not see /A.npy; ranks 1, 3 do")


# The value follows the definition, wherever and in whatever pieces it is computed

def run(workflow, size):
    """Compute every task of a workflow in this process; give the blocks of ``s``."""
    graph = lower(workflow, REGISTRY, (), size)
    executor = Executor(workflow, REGISTRY, graph, None)
    values = {}
    for number in range(len(graph.tasks)):
        values[number] = executor.run(number, values)
    return concatenate([values[task] for task in graph.datasets["s"].tasks])


def evaluate(expression, values):
    """Compute an expression on whole datasets, as the definition at the head of lowering.py says."""
    match expression:
        case Ref(name=name):
            return values[name]
        case Constant(value=value):
            return value
        case Sum(terms=terms):
            return sum(evaluate(term, values) for term in terms)
        case Column(table=table, name=name):
            return evaluate(table, values)[name]
        case Call(operation=name, arguments=(first, *others)):
            function = REGISTRY[name]
            others = [evaluate(item, values) for item in others]
            if not function.linear:
                return function(evaluate(first, values), *others)
            partial, *parts = [function(term, *others) for term in summands(first, values)]
            for part in parts:
                partial = function.merge(partial, part)
            return partial if function.finish is None else function.finish(partial, **function.defaults)
    raise AssertionError(expression)


def summands(expression, values):
    if isinstance(expression, Sum) and not any(isinstance(term, Constant) for term in expression.terms):
        return [part for term in expression.terms for part in summands(term, values)]
    if isinstance(expression, Call) and REGISTRY[expression.operation].additive:
        first, *others = expression.arguments
        if isinstance(first, (Sum, Call)):
            others = [evaluate(item, values) for item in others]
            return [REGISTRY[expression.operation](part, *others) for part in summands(first, values)]
    return [evaluate(expression, values)]


PATTERNS = {    # X is a matrix (rows, 2), V a row (2,), S a number, J any number of rows of 2
    "X": ["(X + X)", "(X - X)", "(X + X + X)", "(X * 3)", "add(2, X)", "-X", "clip(X, -5, 4)", "where(X < X, X, 0)", "(X - V)",
          "(S * X)", "both(X).minus", "both(X).plus", "h(X)", "h(X, X)", "minimum(X, V)"],
    "J": ["concatenate(X, J)", "doubled(X)", "doubled(J)", "X"],
    "V": ["f(J)", "f(X + X)", "f(J, 2)", "f(h(X) + 1)", "most(J)", "most(X + X)", "closed(J)", "closed(X + X)", "triple(V)",
          "(V + V)", "triple(V + f(X + X))", "triple(V + triple(V + V))", "g(X + h(X + X))", "against(J, X)", "h(V + V)",
          "triple(1 + h(V))"],
    "S": ["sum(J)", "min(J)", "max(X + X)", "sum(V + V)", "sum(V + f(X + X))"],
}
NAMES = {"X": ["A", "B", "C"], "J": ["A", "B", "C"], "V": ["f(A)", "f(B)"], "S": ["sum(C)"]}


@st.composite
def expressions(draw, depth=3):
    def expression(kind, depth):
        pattern = draw(st.sampled_from(NAMES[kind] + PATTERNS[kind] * (depth > 0)))
        return pattern if depth == 0 else re.sub("[XJVS]", lambda letter: expression(letter[0], depth - 1), pattern)

    return expression(draw(st.sampled_from(sorted(PATTERNS))), depth)


placements = st.fixed_dictionaries({name: st.fixed_dictionaries(
    {"blocks": st.integers(1, 4)}, optional={"rank": st.integers(0, 9)}) for name in "ABC"})


def drawn(text, num_rows, placement, whole_numbers):
    """The workflow that computes ``text`` from datasets of small whole numbers, or of any numbers in [0, 1)."""
    datasets = {f"{name}0" if whole_numbers else name: random_rows(num_rows, seed=ord(name)) | placement[name] for name in "ABC"}
    steps = {name: f"astype(floor({name}0 * 19 - 9), 'int64')" for name in "ABC"} if whole_numbers else {}
    return workflow_of({**steps, "s": text}, **datasets)


@functools.cache
def whole_datasets(num_rows):
    return {name: run(drawn(name, num_rows, {other: {} for other in "ABC"}, whole_numbers=True), 1) for name in "ABC"}


@settings(law, max_examples=400)
@given(expressions(), st.integers(1, 7), placements, st.integers(1, 9))
def test_any_expression_over_any_blocks_has_the_value_that_the_definition_gives(text, num_rows, placement, size):
    expected = np.asarray(evaluate(parse_expression(text), whole_datasets(num_rows)))
    value = run(drawn(text, num_rows, placement, whole_numbers=True), size)
    assert value.shape == expected.shape and np.array_equal(value, expected)


@settings(law, max_examples=200)
@given(expressions(), st.integers(1, 7), placements, placements, st.integers(1, 9), st.integers(1, 9))
def test_the_bits_of_a_value_depend_neither_on_the_number_of_ranks_nor_on_pins(text, num_rows, one, other, size, other_size):
    other = {name: {**other[name], "blocks": one[name]["blocks"]} for name in "ABC"}
    first = run(drawn(text, num_rows, one, whole_numbers=False), size)
    second = run(drawn(text, num_rows, other, whole_numbers=False), other_size)
    assert first.tobytes() == second.tobytes() and first.shape == second.shape


def computed(step, **datasets):
    return run(workflow_of(step, **datasets), 3)


@pytest.mark.parametrize("blocks", [2, 3])
def test_a_row_is_broadcast_down_a_matrix_even_if_it_has_as_many_elements_as_the_matrix_has_rows(blocks):
    matrix = {"random": {"shape": [3, 3]}}
    assert np.array_equal(computed("A - most(A)", A=matrix | {"blocks": blocks}), computed("A - most(A)", A=matrix))


def test_blocks_of_a_row_are_not_broadcast_down_blocks_of_a_matrix():
    with pytest.raises(OperationError, match="1 dimensions that is cut into blocks cannot be broadcast to 2"):
        computed("A * v", A={"random": {"shape": [6, 3]}, "blocks": 2}, v={"random": {"shape": [6]}, "blocks": 2})


@pytest.mark.parametrize("blocks", [1, 2])
def test_an_operation_on_rows_gets_the_same_rows_of_arguments_with_other_dimensions(blocks):
    weights = {"random": {"shape": [4]}, "blocks": blocks}
    assert np.array_equal(computed("weighed(A, w)", A=random_rows(4, 2), w=weights), computed(
        "weighed(A, w)", A=random_rows(4), w={"random": {"shape": [4]}}))


def test_an_operation_that_promises_rows_and_breaks_its_word_fails():
    with pytest.raises(OperationError, match="elementwise, but for 3 rows the result has shape"):
        computed("shorter(A)", A=random_rows(6, 2))

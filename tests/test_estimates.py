"""Sizes and times that are expected of tasks: exact for built-in operations, and as declared for others."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from launching import EXAMPLES

from mpiflow.catalog.catalog import merge_sources
from mpiflow.operations.operation import operation
from mpiflow.operations.registry import builtin_operations
from mpiflow.operations.values import nbytes
from mpiflow.peer.execute import Executor
from mpiflow.peer.reading import read
from mpiflow.planning.lowering import lower
from mpiflow.planning.tasks import Kind
from mpiflow.workflow.reading import read_workflow

law = settings(derandomize=True, deadline=None, max_examples=60)


def sizes(workflow, registry, graph, results):
    """Run all tasks in one process; give the expected and the real size of each that is no writing."""
    executor, values = Executor(workflow, registry, graph, results), {}
    for number in range(len(graph.tasks)):
        values[number] = executor.run(number, values)
    return [(task, task.nbytes, nbytes(values[number])) for number, task in enumerate(graph.tasks) if task.kind is not Kind.WRITE]


def wrong(found):
    return [(task.step, task.operation, str(task.kind), expected, real) for task, expected, real in found if expected != real]


def of_steps(steps, datasets, own=(), results=None):
    registry = builtin_operations() | {item.name: dataclasses.replace(item, code="own") for item in own}
    document = {"mpiflow": 1, "name": "test", "datasets": datasets, "steps": steps}
    workflow = read_workflow(yaml.safe_dump(document, sort_keys=False), "w.yaml")
    return sizes(workflow, registry, lower(workflow, registry, (), 2), results)


# Examples

@pytest.mark.parametrize("file", sorted(path.name for path in (EXAMPLES / "scenarios").glob("*.yaml")))
def test_every_size_in_the_scenarios_is_known_in_advance(file, tmp_path):
    local = read(EXAMPLES / "scenarios" / file, {"n": "10_000"}, 0)
    graph = lower(local.workflow, local.registry, (), 2)
    assert not wrong(sizes(local.workflow, local.registry, graph, tmp_path))


def test_every_size_in_the_example_of_adenylate_kinase_is_known_in_advance(tmp_path):
    local = read(EXAMPLES / "adk" / "workflow.yaml", {}, 0)
    graph = lower(local.workflow, local.registry, merge_sources(local.sources), 1)
    found = sizes(local.workflow, local.registry, graph, tmp_path)
    assert not wrong([item for item in found if item[0].operation != "picture"])        # who knows how well a PNG is packed


# Built-in operations

DATA = {
    "a": {"random": {"shape": [13, 3], "seed": 1}, "blocks": 3}, "b": {"random": {"shape": [13, 3], "seed": 2}, "blocks": 3},
    "f": {"random": {"shape": [13, 3], "dtype": "float32"}, "blocks": 3}, "i": {"arange": {"stop": 13, "dtype": "int32"}},
    "v": {"normal": {"shape": [13]}, "blocks": 2}, "u": {"full": {"shape": [7], "value": 3, "dtype": "uint8"}, "blocks": 2},
    "row": {"full": {"shape": [3], "value": 2, "dtype": "float32"}}, "c": {"random": {"shape": [5, 3]}, "blocks": 2},
}


@pytest.mark.parametrize("step", [
    "a", "a + b", "a * 2", "f * 2", "f * 2.5", "f + a", "f - row", "i / 2", "i // 2", "i * 2", "i + v", "u + 1", "u * u", "a < b",
    "logical_not(u)", "isfinite(a)", "sqrt(f)", "sqrt(i)", "a ** 2", "-u", "where(a < b, f, 0)", "where(a < b, f, b)",
    "clip(f, 0.2, 0.4)",
    "astype(a, 'float32')", "astype(i, 'int8')", "a + [1, 2, 3]", "u + [1]", "1 + 2", "1 / 2", "a + mean(a, axis=0)",
    "absolute(a - mean(a))",
    "sum(a)", "sum(a, axis=0)", "sum(f, axis=0)", "sum(i)", "sum(u)", "sum(a + f)", "count(a)", "mean(f)",
    "mean(a, axis=0)", "min(f)",
    "max(u, axis=0)", "max(f, axis=0)", "moments(a)", "moments(a, axis=0).std", "moments(f, axis=0).count", "variance(a, axis=0)",
    "std(f)", "std(v, axis=0)", "histogram(a, range=[0, 1])", "histogram(f, range=[0, 1], bins=7).edges", "concatenate(a, c)",
    "sort(concatenate(a, f))", "sort(a, axis=None)", "sort(a, axis=1)", "median(a)", "median(f, axis=0)", "median(a, axis=-1)",
    "normalise(f)", "normalise(i)", "compare(a, b)", "compare(f, a).rms", "sum(a + sum(b, axis=0))", "mean(sum(a, axis=0) + row)",
    "sort(i + v)", "hypot(f, 1)", "a % 2", "minimum(u, 3)",
])
def test_sizes_of_built_in_operations_are_exact(step):
    assert not wrong(of_steps({"s": step}, DATA))


@pytest.mark.parametrize("run", ["a * $k", "sum(f * $k)", "moments(a + $k, axis=0)", "median(v)", "clip(f, 0, $k)"])
def test_sizes_in_loops_are_exact(run):
    assert not wrong(of_steps({"s": {"for": {"k": [1, 2.5]}, "run": run}, "t": "sort(s)" if run[0] == "a" else "a"}, DATA))


EXPRESSIONS = st.recursive(
    st.sampled_from(["a", "b", "f", "row", "2", "0.5"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "<"]), inner).map(lambda t: f"add(({t[0]}), 0) {t[1]} ({t[2]})"),
        inner.map(lambda x: f"sqrt(absolute({x}))"), inner.map(lambda x: f"astype(add({x}, 0), 'float32')"),
        st.tuples(st.sampled_from(["sum", "mean", "max",
        "std"]), inner).map(lambda t: f"{t[0]}(add({t[1]}, 0), axis=0)")), max_leaves=5)


@law
@given(EXPRESSIONS)
def test_sizes_of_any_expression_are_exact(expression):
    try:
        found = of_steps({"s": f"add({expression}, 0)"}, DATA)
    except Exception:           # an expression that fails has no sizes
        return
    assert not wrong(found)


# Declarations

@operation(nbytes=lambda size, num=3: {"x": 8 * num, "y": size}, seconds=lambda size, wait: wait)
def table(data, num=3, wait=0.5):
    return {"x": np.zeros(num), "y": data}


@operation(linear=True, combine="concatenate", nbytes=lambda size, other: size + other)
def beside(x, other):
    return np.concatenate([x, other])


@operation(linear=True, nbytes=8, combine_nbytes=lambda left, right: left + right, finish=lambda p, times: np.repeat(p, times),
           combine=lambda left, right: np.append(left, right), finish_nbytes=lambda size, times: size * times)
def grown(x, times=2):
    return np.sum(x)


@pytest.mark.parametrize("step", [
    "table(v)", "table(v, num=5)", "table(v).x", "table(v, 4).y", "sum(table(v, num=7).x)", "beside(v, v)",
    "grown(v)", "grown(a, times=3)", "column(table(v), 'x')",
])
def test_declared_sizes_may_depend_on_arguments(step):
    assert not wrong(of_steps({"s": step}, DATA, (table, beside, grown)))


@pytest.mark.parametrize(("step", "seconds"), [("table(v)", 0.5), ("table(v, wait=2)", 2.0)])
def test_a_declared_time_may_depend_on_arguments(step, seconds):
    found = of_steps({"s": step}, DATA, (table,))
    assert [task.seconds for task, _, _ in found if task.operation == "table"] == [seconds]


@pytest.mark.parametrize(("declared", "message"), [
    ({"nbytes": lambda size, files: files}, "nbytes asks for files, which the operation has not"),
    ({"seconds": {"a": 1}}, "seconds must be a number or a function"),
    ({"combine_nbytes": 1}, "combine_nbytes needs linear=True"), ({"finish_nbytes": 1}, "finish_nbytes needs finish"),
])
def test_a_declaration_that_cannot_work_is_refused(declared, message):
    with pytest.raises(ValueError, match=message):
        operation(name="wrong", **declared)(lambda x: x)

"""Operations with a halo, and on pairs of blocks: the value is the same however datasets are cut, and only edges travel."""

import dataclasses

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiflow.errors import DocumentError, OperationError
from mpiflow.operations.operation import operation
from mpiflow.operations.registry import ModuleError, builtin_operations, load_module
from mpiflow.operations.values import concatenate
from mpiflow.peer.execute import Executor
from mpiflow.planning.lowering import lower
from mpiflow.planning.machine import Machine
from mpiflow.planning.neighbours import surroundings
from mpiflow.planning.plan import make_plan
from mpiflow.workflow.reading import read_workflow

law = settings(derandomize=True, deadline=None, max_examples=60)
CUTS = ((5, 5), (4, 3), (12, 1))


# Operations

@operation(halo=1, elementwise=True)
def smooth(x, *, before, after):
    """Mean of a row and its neighbours, as many as it has."""
    padded = np.pad(x, ((1 - before, 1 - after), (0, 0)))
    num = np.pad(np.ones(len(x)), (1 - before, 1 - after))
    return (padded[:-2] + padded[1:-1] + padded[2:]) / (num[:-2] + num[1:-1] + num[2:])[:, np.newaxis]


@operation(halo=(0, "lag"), linear=True)
def lagged(x, lag=1, *, after):
    """Sum of x[t + lag] * x[t]."""
    own = len(x) - after
    return np.sum(x[lag:own + lag] * x[:len(x) - lag][:own]) if len(x) > lag else 0.0


@operation(halo=("back", 0), elementwise=True)
def backwards(x, weights, back, before):
    """Difference to an earlier row, weighed; the row itself where there is none."""
    own = x[before:]
    earlier = np.concatenate([np.zeros((back - before, x.shape[1])), x])[:len(own)]
    return (own - earlier) * weights[:, np.newaxis]


@operation(pairs=True)
def products(x, y):
    return x @ y.T


@operation(pairs=True, symmetric=True)
def distances(x, y):
    return np.sqrt(np.square(x[:, np.newaxis] - y).sum(axis=2))


@operation(pairs=True, symmetric=True, linear=True, finish=lambda total, scale: scale * total)
def farther(x, y, scale=1, *, row, column):
    """Sum of the distances of all pairs of rows, each once, with the distance of their numbers."""
    apart = column - row + np.subtract.outer(-np.arange(len(x)), -np.arange(len(y)))
    return np.sum(np.where(apart > 0, apart * distances(x, y), 0))


@operation(pairs=True)
def flat(x, y):
    return np.zeros(3)


@operation(pairs=True)
def misshapen(x, y):
    return np.zeros((1, len(y)))


@operation(linear=True, combine="concatenate")
def unknown(x):
    """The same rows, but nobody knows how many."""
    return x


OWN = (smooth, lagged, backwards, products, distances, farther, flat, misshapen, unknown)
REGISTRY = builtin_operations() | {item.name: dataclasses.replace(item, code="own") for item in OWN}


def graph_of(step, size=1, **blocks):
    """Lower one step on datasets of 12 rows, cut as given."""
    datasets = {name: {"normal": {"shape": [12, 3], "seed": seed}, "blocks": num}
                for seed, (name, num) in enumerate(blocks.items())}
    datasets["w"] = {"arange": {"stop": 12}}
    document = {"mpiflow": 1, "name": "test", "datasets": datasets, "steps": step if isinstance(step, dict) else {"s": step}}
    workflow = read_workflow(yaml.safe_dump(document, sort_keys=False), "w.yaml")
    return workflow, lower(workflow, REGISTRY, (), size)


def value(step, **blocks):
    workflow, graph = graph_of(step, **blocks)
    executor, values = Executor(workflow, REGISTRY, graph, None), {}
    for number in range(len(graph.tasks)):
        values[number] = executor.run(number, values)
    return concatenate([values[task] for task in graph.datasets["s"].tasks])


# Values

@pytest.mark.parametrize("step", [
    "smooth(x)", "smooth(smooth(x + y))", "smooth(unknown(x))", "backwards(x, w, 1)", "backwards(x, w, 3)", "backwards(x, w, 50)",
    "products(x, y)", "products(x, y + x)", "products(x)", "distances(x)", "distances(x, y)", "distances(unknown(x))",
])
def test_rows_are_the_same_however_datasets_are_cut(step):
    expected = value(step, x=1, y=1)
    assert expected.shape[0] == 12
    for x, y in CUTS:
        np.testing.assert_allclose(value(step, x=x, y=y), expected, rtol=1e-12)


@pytest.mark.parametrize("step", [
    *(f"lagged(x, {lag})" for lag in (0, 1, 5, 11, 12, 40)), "lagged(x + y, lag=4)", "lagged(concatenate(x, y), 3)",
    "lagged(unknown(x))", "farther(x)", "farther(x, scale=3)", "farther(unknown(x))"])
def test_sums_are_the_same_however_datasets_are_cut(step):
    expected = value(step, x=1, y=1)
    for x, y in CUTS:
        np.testing.assert_allclose(value(step, x=x, y=y), expected, rtol=1e-10)


def test_a_halo_reaches_as_far_as_it_says():
    rows = value("concatenate(x)", x=1)
    np.testing.assert_allclose(value("lagged(x, 2)", x=5), np.sum(rows[2:] * rows[:-2]))
    np.testing.assert_allclose(value("smooth(x)", x=4)[1:-1], (rows[:-2] + rows[1:-1] + rows[2:]) / 3)


def test_pairs_are_the_blocks_of_a_matrix():
    rows, others = value("concatenate(x)", x=1), value("concatenate(y)", x=1, y=1)
    np.testing.assert_allclose(value("products(x, y)", x=5, y=3), rows @ others.T)
    apart = np.sqrt(np.square(rows[:, np.newaxis] - rows).sum(axis=2))
    np.testing.assert_array_equal(value("distances(x)", x=5), apart)
    lags = np.arange(12) - np.arange(12)[:, np.newaxis]
    np.testing.assert_allclose(value("farther(x)", x=5), np.sum(np.where(lags > 0, lags * apart, 0)))


def test_the_halo_can_depend_on_the_variable_of_a_loop():
    looped = value({"s": {"for": {"k": [0, 2, 7]}, "run": "lagged(x, lag=$k)"}}, x=4)
    np.testing.assert_array_equal(looped, [value(f"lagged(x, {lag})", x=4) for lag in (0, 2, 7)])


# Tasks

@law
@given(lengths=st.lists(st.integers(0, 4), min_size=1, max_size=6), before=st.integers(0, 9), after=st.integers(0, 9))
def test_surroundings_are_the_rows_around_a_block(lengths, before, after):
    starts = np.concatenate([[0], np.cumsum(lengths)]).tolist()
    for block, length in enumerate(lengths):
        found = surroundings(starts, block, before, after)
        rows = [starts[piece.block] + row for piece in found.pieces for row in range(piece.start, piece.stop)]
        assert rows == list(range(max(0, starts[block] - before), min(starts[-1], starts[block + 1] + after)))
        assert found.before + length + found.after == len(rows)
        assert block in [piece.block for piece in found.pieces]


def operations(graph):
    names = [task.operation for task in graph.tasks if task.operation]
    return {name: names.count(name) for name in dict.fromkeys(names)}


def test_only_edges_travel():
    _, graph = graph_of("smooth(x)", size=4, x=4)
    assert operations(graph) == {"_rows": 6, "smooth": 4}
    plan = make_plan(graph, Machine((0,) * 4), seconds=[1.0 if task.operation != "_rows" else 0.0 for task in graph.tasks])
    assert plan.nbytes == 6 * 3 * 8


def test_a_symmetric_matrix_has_each_pair_once():
    assert operations(graph_of("distances(x)", x=4)[1]) == {"distances": 10, "_beside": 4}
    assert operations(graph_of("distances(x, y)", x=4, y=2)[1]) == {"distances": 8, "_beside": 4}
    assert operations(graph_of("products(x, x)", x=4)[1]) == {"products": 16, "_beside": 4}


# Mistakes

@pytest.mark.parametrize(("declared", "message"), [
    ({"halo": 1}, "halo needs elementwise=True or linear=True"),
    ({"halo": -1, "linear": True}, "halo must be a number of rows"),
    ({"halo": True, "linear": True}, "halo must be a number of rows"),
    ({"halo": (1, 2, 3), "linear": True}, "halo must be a number of rows"),
    ({"halo": "lag", "linear": True}, "halo names 'lag', which is no further argument"),
    ({"halo": "x", "linear": True}, "halo names 'x', which is no further argument"),
    ({"halo": 1, "linear": True}, "halo needs a parameter 'before'"),
    ({"halo": (0, 1), "linear": True}, "halo needs a parameter 'after'"),
    ({"symmetric": True}, "symmetric=True needs pairs=True"),
    ({"pairs": True, "elementwise": True}, "pairs=True excludes elementwise=True"),
    ({"pairs": True, "halo": 1}, "pairs=True excludes halo"),
    ({"pairs": True, "linear": True, "combine": "concatenate"}, "combine='concatenate' has no meaning"),
])
def test_declarations_that_contradict_each_other(declared, message):
    with pytest.raises(ValueError, match=message):
        operation(name="odd", **declared)(lambda x, y: x)


def test_pairs_need_two_arguments():
    with pytest.raises(ValueError, match="pairs=True needs two arguments"):
        operation(name="odd", pairs=True)(lambda x: x)


@pytest.mark.parametrize(("step", "message"), [
    ("lagged(x, 1.5)", "lag is the number of rows of the halo of lagged: it must be a whole number, 0 or more, not 1.5"),
    ("lagged(x, lag=-1)", "not -1"),
    ("lagged(x, w)", "lagged needs a plain number of rows here, for its halo"),
    ("smooth(3)", "smooth needs a dataset here, not 3"),
    ("smooth(x, before=1)", "smooth has no argument 'before'"),
    ("products(x, 2)", "products needs a dataset here, not 2"),
    ("products(y=x)", "argument 'x' is missing"),
])
def test_calls_that_do_not_fit(step, message):
    with pytest.raises(DocumentError) as caught:
        graph_of(step, x=4)
    assert message in str(caught.value)
    assert str(caught.value).count("w.yaml") == 1


@pytest.mark.parametrize(("step", "message"), [
    ("flat(x)", "operation 'flat' makes pairs, so its result needs an axis for the rows of each block"),
    ("misshapen(x)", r"operation 'misshapen' makes pairs of 3 rows and 3 rows, but the result has shape \(1, 3\)"),
])
def test_results_of_pairs_that_are_no_blocks_of_a_matrix(step, message):
    with pytest.raises(OperationError, match=message):
        value(step, x=4)


def test_what_cuts_and_joins_blocks_cannot_be_replaced(tmp_path):
    (tmp_path / "ops.py").write_text("from mpiflow import operation\n\n\n@operation\ndef _rows(x, start, stop):\n    return x\n")
    with pytest.raises(ModuleError, match="'_rows' is an operation of mpiflow itself"):
        load_module(tmp_path / "ops.py", builtin_operations())

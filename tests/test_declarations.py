"""What operations declare is tried on samples: what is false is found, and what is true is not called false."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from launching import EXAMPLES, launch, mpiflow

from mpiflow.operations.operation import operation
from mpiflow.operations.registry import builtin_operations
from mpiflow.operations.values import as_value
from mpiflow.planning.declarations import Call, Untried, declared, false_declarations, result_of, wrong_sizes
from mpiflow.planning.differences import difference

RANDOM = np.random.default_rng(7)
X = RANDOM.normal(size=24)
M = RANDOM.normal(size=(24, 3)).astype("float32")
COUNTS = np.arange(24)


def call(function, *values, parameters=None, cut=True, entire=True, **declarations):
    """A trial of a function that is declared so, called with ``values`` for its arguments."""
    item = function if not declarations else operation(name="it", **declarations)(function)
    names = item.named if not item.variadic else [""] * len(values)
    datasets = tuple((name, as_value(value)) for name, value in zip(names, values, strict=False))
    return Call(item, datasets, parameters or {}, entire, cut)


def false(*arguments, **options):
    return false_declarations(call(*arguments, **options))


def moments(x):
    return {"n": np.array(len(x)), "mean": x.mean(axis=0), "m2": ((x - x.mean(axis=0)) ** 2).sum(axis=0)}


BUILTIN = builtin_operations()


# What is true

@pytest.mark.parametrize("value", [X, M, COUNTS, np.zeros(24), 1e6 + X, np.where(X > 1, np.nan, X), X - X.mean()], ids=str)
@pytest.mark.parametrize("name", [name for name, item in BUILTIN.items() if item.linear])
def test_built_in_operations_are_as_linear_as_they_say(name, value):
    parameters = {"range": [-1, 1]} if name == "histogram" else {}
    assert false(BUILTIN[name], value, parameters=parameters) == {}


@pytest.mark.parametrize("name", [name for name, item in BUILTIN.items() if item.elementwise and len(item.parameters) == 1])
def test_built_in_operations_are_as_elementwise_as_they_say(name):
    assert false(BUILTIN[name], M) == {}


def test_arguments_with_as_many_rows_are_cut_and_others_are_whole():
    assert false(BUILTIN["add"], M, M) == false(BUILTIN["add"], M, M[0]) == false(BUILTIN["multiply"], X, np.array(2.0)) == {}
    assert false(lambda x, y: x + y[:1], X, np.ones(2), elementwise=True) == {}


def test_partial_results_may_be_joined_in_order():
    assert false(lambda x: x**2, M, linear=True, combine="concatenate", dtype="float32") == {}


@pytest.mark.parametrize("function", [
    lambda x: x / 2,                                                    # element by element
    lambda x: np.sum(x.reshape(6, -1) > 0, axis=1),                     # in groups
])
def test_what_is_in_one_block_may_be_linear_in_sums_of_datasets_only(function):
    assert set(false(function, X, linear=True, cut=False)) == {"cut"}
    assert set(false(function, X, linear=True, cut=True)) == {"linear"}


# What is false

@pytest.mark.parametrize(("function", "declarations", "wrong"), [
    (lambda x: np.sqrt(np.sum(x * x)), {}, {"linear"}),
    (lambda x: np.mean(x), {"combine": "maximum"}, {"linear"}),
    (lambda x: np.median(x), {"combine": "minimum"}, {"linear"}),
    (lambda x: x.sum(), {"finish": lambda partial, x=0: partial + 1}, set()),
    (lambda x: x.sum() + 1, {"finish": lambda partial: partial - 1}, {"linear"}),
    (lambda x: np.cumsum(x), {"combine": "concatenate"}, {"linear"}),
    (lambda x: (x[1:] + x[:-1]) / 2, {"combine": "concatenate"}, {"linear"}),
    (lambda x: x[x > 0], {}, {"linear"}),                               # parts of different length cannot be added
    (lambda x: np.mean(x), {"combine": lambda a, b: (a + b) / 2}, {"linear", "combine"}),
    (moments, {"combine": lambda a, b: {key: a[key] + b[key] for key in a}, "finish": lambda p: p["m2"] / p["n"]}, {"linear"}),
])
def test_a_false_linear_is_found(function, declarations, wrong):
    assert set(false(function, X, linear=True, **declarations)) == wrong


def test_what_only_one_kind_of_data_hides_is_found_with_random_numbers():
    (message,) = false(lambda x: np.mean(x), np.ones(24), linear=True, combine="maximum").values()
    assert "of random numbers in its place" in message


def test_a_sum_that_happens_to_be_nothing_is_not_compared_with_nothing():
    value = np.concatenate([X, -X[::-1]])
    assert false(lambda x: np.sum(x), value, linear=True) == {}


@pytest.mark.parametrize(("function", "message"), [
    (np.cumsum, "8 rows alone are not what they are among 24"), (lambda x: x - x.mean(), "8 rows alone"),
    (lambda x: x.sum(), "for 24 rows it gives the shape ()"), (lambda x: x[::2], "for 24 rows it gives the shape (12,)"),
])
def test_a_false_elementwise_is_found(function, message):
    found = false(lambda x: function(x), X, elementwise=True)
    assert list(found) == ["elementwise"] and message in found["elementwise"]


def test_a_false_dtype_is_found():
    assert false(lambda x: {"a": 2 * x, "b": x > 0}, X, elementwise=True, dtype="float32") == {
        "dtype": "it makes bool, float64"}


def test_sizes_that_are_not_made_are_noted():
    assert wrong_sizes(call(lambda x: x[:12], X, nbytes=lambda size: size // 2)) == []
    assert wrong_sizes(call(lambda x: x, X, nbytes=lambda size: 8)) == ["operation 'it': nbytes says 8, but it made 192"]
    table = call(lambda x, n: {"a": x, "n": np.array(n)}, X, parameters={"n": 2}, nbytes=lambda size, n: {"a": size, "n": n})
    assert wrong_sizes(table) == ["operation 'it': nbytes says {'a': 192, 'n': 2}, but it made {'a': 192, 'n': 8}"]
    assert wrong_sizes(call(lambda x: x, X, nbytes=8, entire=False)) == [], "of a sample nobody knows"
    assert "raises" in wrong_sizes(call(lambda x: x, X, nbytes=lambda size: 1 / 0))[0]


# What cannot be said

@pytest.mark.parametrize(("function", "value", "reason"), [
    (lambda x: 1 / 0, X, "it raises: ZeroDivisionError: division by zero"),
    (lambda x: sys.exit("no"), X, "it raises: SystemExit: no"),
    (lambda x: None, X, "it raises: OperationError: the operation returned None"),
    (lambda x: x.sum(), X[:3], "a sample of 3 rows is too small"),
    (lambda x: x.sum(), np.array(3.0), "a sample of 0 rows is too small"),
    (lambda x: x.reshape(24).sum(), X, "on 12 of 24 rows it raises: ValueError"),
])
def test_what_cannot_be_tried_is_said_with_the_reason(function, value, reason):
    with pytest.raises(Untried) as error:
        false(function, value, linear=True)
    assert reason in str(error.value)


def test_a_linear_operation_on_several_terms_merges_them():
    item = operation(linear=True, name="it", finish=lambda partial: 10 * partial)(lambda x: x.sum())
    trial = Call(item, (("x", as_value(np.ones(4))),))
    assert result_of(trial, [np.ones(4), np.ones(3), np.ones(2)]) == 90


def test_only_what_is_declared_is_tried():
    assert declared(operation(lambda_)) == ()
    item = operation(linear=True, combine=max, dtype="f8", nbytes=8)(lambda_)
    assert declared(item) == ("linear", "combine", "dtype", "nbytes")
    assert declared(operation(linear=True, nbytes=8)(lambda_), entire=False) == ("linear",)


def lambda_(x):
    return x


@pytest.mark.parametrize(("one", "other", "says"), [
    (1.0, 1.0 + 1e-12, ""), (1.0, 1.1, "1.1 instead of 1"), (np.nan, np.nan, ""), (np.nan, 1.0, "1 instead of nan"),
    (3, 3, ""), (3, 4, "4 instead of 3"), (np.array(["a"]), np.array(["b"]), "they differ"),
    ([1.0, 2], [1.0], "shape (1,) instead of (2,)"),
    ({"a": 1.0}, {"b": 1.0}, "the columns differ"), ({"a": [1, 2]}, {"a": [1, 5]}, "column 'a': 5 instead of 2 at [1]"),
])
def test_differences_are_named(one, other, says):
    assert difference(as_value(one if not isinstance(one, list) else np.array(one)),
                      as_value(other if not isinstance(other, list) else np.array(other)), [], 1e-8) == says


# As a user meets it

OPS = """
import numpy as np
from mpiflow import operation

@operation(linear=True)
def rms(x):
    return np.sqrt(np.mean(x * x))

@operation(linear=True, finish=lambda p: p["a"] / p["n"])
def good(x, weights):
    return {"a": (x * weights).sum(axis=0), "n": np.array(len(x))}

@operation(linear=True, nbytes=lambda nbytes: nbytes)
def fails(x):
    raise RuntimeError("no data here")

@operation(elementwise=True, nbytes=lambda nbytes: 8)
def after(x, y):
    return x

@operation(elementwise=True)
def named(x, power):
    return x ** power
"""
DOCUMENT = """
mpiflow: 1
name: declarations
operations: [ops.py]
datasets:
  many: {normal: {shape: [1_000_000, 2], seed: 1}, blocks: 4}
  few: {file: few.npy}
steps:
  right: good(many + many, few)
  broken: fails(many)
  behind: {run: after, in: {x: many, y: broken}}
  each: {run: named, in: {x: many}, with: {power: $i}, for: {i: [2, 3]}}
  beside: {run: after, in: {x: few, y: right}}
  wrong: 1 + rms(column(moments(many, axis=0), 'mean') + few)
"""


def test_check_says_what_is_false_what_is_not_and_what_it_could_not_try(tmp_path):
    (tmp_path / "ops.py").write_text(OPS)
    (tmp_path / "w.yaml").write_text(DOCUMENT)
    np.save(tmp_path / "few.npy", np.arange(2.0))
    ended = mpiflow(None, "check", "w.yaml", cwd=tmp_path)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "tried on a sample: good (linear)",
        "tried on a sample: named (elementwise)",
        "tried on a sample: after (elementwise, nbytes)",
        "not tried: fails: it raises: RuntimeError: no data here",
        "not tried: rms: a sample of 2 rows is too small",
        "note: operation 'after': nbytes says 8, but it made 16",
        "w.yaml: right: 2 datasets, 6 steps, 47 tasks"], ended.out
    (tmp_path / "w.yaml").write_text(DOCUMENT.replace("column(moments(many, axis=0), 'mean') + few", "many - 1"))
    ended = mpiflow(None, "check", "w.yaml", cwd=tmp_path)
    assert ended.status == 2 and "\n" not in ended.err.strip()
    assert ended.err.startswith("mpiflow: error: w.yaml:14:14: operation 'rms' is not linear: what 6000 and 6000 rows give, ")
    ended = mpiflow(None, "check", "--no-samples", "w.yaml", cwd=tmp_path)
    assert (ended.status, len(ended.out.splitlines())) == (0, 1)


def test_the_declarations_of_the_main_example_hold():
    file = EXAMPLES / "adk" / "workflow.yaml"
    ended = launch([sys.executable, "-m", "mpiflow", "check", str(file)])
    assert (ended.status, ended.err) == (0, "")
    assert "not tried" not in ended.out and "note" not in ended.out and ended.out.count("linear") == 7

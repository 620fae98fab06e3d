"""Built-in operations: each against numpy; the linear ones in one piece and in any pieces."""

import functools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mpiflow.errors import OperationError
from mpiflow.operations.registry import builtin_operations
from mpiflow.operations.values import as_value, columns

law = settings(derandomize=True, deadline=None)
BUILTIN = builtin_operations()
LINEAR = [name for name, operation in BUILTIN.items() if operation.linear]
POPULATION = {"count": np.size, "mean": np.mean, "variance": np.var, "std": np.std}
EXPECTED = {
    "sum": np.sum, "count": lambda x, axis=None: len(x), "mean": np.mean, "min": np.min, "max": np.max, "variance": np.var,
    "std": np.std, "moments": lambda x, axis=None: {
        "count": np.int64(x.size if axis is None else len(x)), "mean": np.mean(x, axis), "variance": np.var(x, axis),
        "std": np.std(x, axis)},
    "histogram": lambda x, **given: dict(zip(("counts", "edges"), np.histogram(x, **given), strict=True)),
}


def evaluate(name, blocks, **parameters):
    """Run a linear operation as tasks do: on each block, merged along a binary tree, finished."""
    operation = BUILTIN[name]
    level = [as_value(operation(block, **parameters)) for block in blocks]
    while len(level) > 1:
        pairs = [as_value(operation.merge(level[i], level[i + 1])) for i in range(0, len(level) - 1, 2)]
        level = pairs + level[2 * len(pairs):]
    if operation.finish is None:
        return level[0]
    given = {name: value for name, value in parameters.items() if name in operation.closing}
    return as_value(operation.finish(level[0], **(operation.defaults | given)))


def agree(one, other, exact=False):
    for (name, a), (other_name, b) in zip(columns(one), columns(as_value(other)), strict=True):
        assert name == other_name and a.shape == b.shape
        if exact:
            np.testing.assert_array_equal(a, b)
        else:
            scale = max(1.0, float(np.max(np.abs(b), initial=0)))
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * scale)


def cut(x, edges):
    """Rows of ``x`` in blocks between ``edges``; equal edges make empty blocks."""
    return np.split(x, sorted(min(edge, len(x)) for edge in edges))


numbers = {
    "int64": st.integers(-2**40, 2**40), "uint8": st.integers(0, 255), "bool": st.booleans(),
    "float64": st.floats(-1e6, 1e6), "float32": st.floats(-1e6, 1e6, width=32),
}


@st.composite
def matrices(draw, kinds=tuple(numbers), least=1):
    kind = draw(st.sampled_from(kinds))
    shape = draw(st.tuples(st.integers(least, 12), st.integers(1, 3)))
    return draw(arrays.arrays(kind, shape, elements=numbers[kind]))


# Linear ones

def test_every_linear_operation_is_tested_here():
    assert set(LINEAR) == set(EXPECTED)


@law
@given(matrices(), st.lists(st.integers(1, 11), max_size=5), st.sampled_from(sorted(set(LINEAR) - {"histogram", "count"})),
       st.sampled_from([None, 0]))
def test_any_cut_agrees_with_numpy(x, edges, name, axis):
    blocks = [block for block in cut(x, edges) if len(block)]
    agree(evaluate(name, blocks, axis=axis), EXPECTED[name](x.astype(np.float64) if x.dtype == np.float32 else x, axis=axis))


@law
@given(matrices(("int64", "uint8", "bool")), st.lists(st.integers(1, 11), max_size=5), st.sampled_from(["sum", "min", "max"]),
       st.sampled_from([None, 0]))
def test_any_cut_of_integers_agrees_with_numpy_to_the_last_bit_and_in_dtype(x, edges, name, axis):
    value = evaluate(name, [block for block in cut(x, edges) if len(block)], axis=axis)
    agree(value, EXPECTED[name](x, axis=axis), exact=True)
    assert value.dtype == np.asarray(EXPECTED[name](x, axis=axis)).dtype


@law
@given(matrices(least=0), st.lists(st.integers(0, 11), max_size=5))
def test_any_cut_counts_all_rows(x, edges):
    assert evaluate("count", cut(x, edges)) == len(x)


@law
@given(matrices(("int64", "uint8", "float64", "float32"), least=0), st.lists(st.integers(0, 11), max_size=5), st.integers(1, 7))
def test_any_cut_gives_the_same_histogram_as_numpy(x, edges, bins):
    whole = x.astype(np.float64) if x.dtype.kind == "f" else x
    agree(evaluate("histogram", cut(x, edges), range=[-3, 100], bins=bins),
          EXPECTED["histogram"](whole, range=(-3, 100), bins=bins), exact=True)


@law
@given(matrices(("int64", "float64")), st.lists(st.integers(0, 11), max_size=5), st.sampled_from([None, 0]),
       st.sampled_from(["sum", "mean", "moments", "variance", "std"]))
def test_empty_blocks_change_nothing(x, edges, axis, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agree(evaluate(name, cut(x, edges), axis=axis), EXPECTED[name](x, axis=axis))


@pytest.mark.parametrize("name", ["min", "max"])
def test_the_least_and_greatest_of_an_empty_block_fail_clearly(name):
    with pytest.raises(ValueError, match="no identity"):
        BUILTIN[name](np.zeros((0, 3)))


@pytest.mark.parametrize(("name", "expected"), [("sum", 0.0), ("count", 0)])
def test_no_rows_have_a_sum_and_a_count(name, expected):
    assert evaluate(name, [np.zeros((0, 3))]) == expected


@pytest.mark.parametrize("name", ["mean", "variance", "std"])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_no_rows_have_no_mean(name):
    assert np.isnan(evaluate(name, [np.zeros((0, 3))]))


@pytest.mark.parametrize("name", sorted(set(LINEAR) - {"count", "histogram"}))
@pytest.mark.parametrize("axis", [1, -1, (0, 1), "rows"])
def test_an_axis_across_blocks_is_all_that_is_possible(name, axis):
    with pytest.raises(ValueError, match="axis must be 0 or left out"):
        BUILTIN[name](np.zeros((2, 3)), axis=axis)


@pytest.mark.parametrize("name", sorted(set(LINEAR) - {"histogram"}))
def test_a_table_is_no_array(name):
    with pytest.raises((AttributeError, TypeError)):
        BUILTIN[name]({"a": np.zeros(3)})


@pytest.mark.parametrize(("dtype", "expected"), [
    ("float16", "float64"), ("float32", "float64"), ("float64", "float64"), ("complex64", "complex128"), ("int8", "int64"),
    ("uint8", "uint64"), ("uint64", "uint64"), ("bool", "int64"),
])
def test_sums_are_made_in_double_precision_or_64_bits(dtype, expected):
    assert evaluate("sum", [np.ones(3, dtype)]).dtype == expected


def test_a_large_unsigned_sum_is_exact():
    assert evaluate("sum", [np.array([2**63, 1], np.uint64), np.array([2], np.uint64)]) == 2**63 + 3


def test_a_float32_mean_does_not_lose_what_its_sum_would():
    assert evaluate("mean", [np.full(1000, 16_777_217.0, np.float32), np.full(24, 1, np.float32)]) == (16_777_216_000 + 24) / 1024


def test_the_variance_of_complex_numbers_is_real():
    x = np.array([1 + 1j, 2 - 3j, 4j])
    agree(evaluate("moments", [x[:1], x[1:]]), EXPECTED["moments"](x))
    assert evaluate("variance", [x[:1], x[1:]]).dtype == np.float64


def test_moments_far_from_zero_keep_their_digits():
    x = 1e9 + np.arange(100.0)
    agree(evaluate("variance", np.split(x, 10)), np.var(np.arange(100.0)))


def test_a_histogram_leaves_out_what_is_not_in_its_range():
    assert evaluate("histogram", [np.array([-1.0, 0.5, np.nan, np.inf, 2.5])], range=[0, 2], bins=2)["counts"].tolist() == [1, 0]


def test_a_histogram_of_no_width_has_the_edges_that_numpy_gives_it():
    agree(evaluate("histogram", [np.ones(3)], range=[1, 1]), EXPECTED["histogram"](np.ones(3), range=(1, 1)))


@pytest.mark.parametrize("bins", ["auto", [0, 1, 2], 2.5])
def test_bins_that_depend_on_a_block_are_refused(bins):
    with pytest.raises(TypeError):
        BUILTIN["histogram"](np.zeros(3), range=[0, 1], bins=bins)


@law
@given(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=9), st.integers(1, 8), st.integers(1, 8))
def test_moments_merge_in_any_grouping(numbers, one, other):
    blocks = [block for block in cut(np.array(numbers), [one, other]) if len(block)]
    partial = [BUILTIN["moments"](block) for block in blocks]
    agree(functools.reduce(BUILTIN["moments"].merge, partial), functools.reduce(
        lambda left, right: BUILTIN["moments"].merge(right, left), partial[::-1]))


# Elementwise ones

UNARY = ("negative", "positive", "absolute", "sqrt", "exp", "log", "log10", "sin", "cos", "tanh", "square", "floor", "ceil",
         "rint", "isfinite", "logical_not")
BINARY = ("add", "subtract", "multiply", "divide", "floor_divide", "remainder", "power", "less", "less_equal", "greater",
          "greater_equal", "equal", "not_equal", "minimum", "maximum", "logical_and", "logical_or", "hypot", "arctan2")
POSITIVE = np.linspace(0.5, 4, 12).reshape(4, 3)


def test_every_elementwise_operation_is_tested_here():
    elementwise = {name for name, operation in BUILTIN.items() if operation.elementwise}
    assert elementwise == {*UNARY, *BINARY, "clip", "where", "astype", "convert"}


@pytest.mark.parametrize("name", UNARY)
def test_a_function_of_one_array_is_numpys(name):
    assert np.array_equal(BUILTIN[name](POSITIVE), getattr(np, name)(POSITIVE))


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("other", [POSITIVE[::-1], POSITIVE[0], 2.0], ids=["array", "row", "number"])
def test_a_function_of_two_arrays_is_numpys_and_broadcasts(name, other):
    assert np.array_equal(BUILTIN[name](POSITIVE, other), getattr(np, name)(POSITIVE, other))


@pytest.mark.parametrize("name", [*BINARY, "clip", "where"])
def test_a_function_that_broadcasts_says_so(name):
    assert BUILTIN[name].broadcast


def test_clip_where_and_astype_are_numpys():
    x = np.array([-1.0, 0.25, 3.0])
    assert BUILTIN["clip"](x, 0, 1).tolist() == [0, 0.25, 1]
    assert BUILTIN["where"](x > 0, x, 0).tolist() == [0, 0.25, 3]
    assert BUILTIN["astype"](x, "int32").dtype == np.int32


# Those that need whole datasets

def test_normalise_gives_mean_zero_and_deviation_one():
    x = BUILTIN["normalise"](np.array([[1, 2], [3, 10]], np.int32))
    assert (x.mean(), x.std()) == (pytest.approx(0, abs=1e-15), pytest.approx(1))


@pytest.mark.parametrize("x", [np.full((2, 2), 7.0), np.array(3)], ids=str)
def test_normalise_of_equal_elements_is_zero(x):
    assert not BUILTIN["normalise"](x).any()


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_median_is_numpys(axis):
    assert np.array_equal(BUILTIN["median"](POSITIVE, axis=axis), np.median(POSITIVE, axis=axis))


def test_sort_is_numpys_and_leaves_its_input_alone():
    x = as_value(np.array([[3, 1], [2, 5]]))
    assert BUILTIN["sort"](x).tolist() == [[2, 1], [3, 5]] and x[0, 0] == 3


def test_compare_says_how_far_apart_two_datasets_are():
    table = as_value(BUILTIN["compare"](np.array([1, 2, 3]), np.array([1, 2, 7])))
    assert (bool(table["equal"]), float(table["max_abs"]), float(table["rms"])) == (False, 4.0, pytest.approx(4 / 3**0.5))


@pytest.mark.parametrize("x", [np.zeros(0), np.array(3), np.array([True, False]), np.arange(3, dtype=np.uint8)], ids=str)
def test_a_dataset_is_equal_to_itself(x):
    table = as_value(BUILTIN["compare"](x, x))
    assert table["equal"] and table["max_abs"] == table["rms"] == 0


def test_compare_does_not_broadcast():
    with pytest.raises(ValueError, match="cannot be compared"):
        BUILTIN["compare"](np.zeros(3), np.zeros(1))


def test_concatenate_joins_arrays_and_tables():
    join = BUILTIN["concatenate"]
    assert join(np.array([1]), np.array([2, 3])).tolist() == [1, 2, 3]
    assert join({"a": np.array([1])}, {"a": np.array([2])})["a"].tolist() == [1, 2]


def test_concatenate_refuses_what_does_not_fit():
    with pytest.raises(OperationError):
        BUILTIN["concatenate"](np.zeros((1, 2)), np.zeros((1, 3)))


def test_column_takes_one_array_of_a_table():
    assert BUILTIN["column"]({"a": np.array([1]), "b": np.array([2])}, "b") == 2


@pytest.mark.parametrize(("table", "message"), [
    ({"a": np.zeros(1), "b": np.zeros(1)}, "no column 'c'; there are a, b"), (np.zeros(1), "one array, not a table")], ids=str)
def test_a_column_that_is_not_there_is_named(table, message):
    with pytest.raises(KeyError, match=message):
        BUILTIN["column"](table, "c")


# Every estimate

def test_a_column_is_expected_to_be_half_of_its_table():
    assert BUILTIN["column"].nbytes(1000) == 500

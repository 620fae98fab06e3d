"""Values: what operations may return, and how partial results are merged."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiflow.errors import OperationError
from mpiflow.operations.values import COMBINES, as_value, columns, concatenate, from_columns, nbytes, ndim, rows_of

law = settings(derandomize=True, deadline=None)


@pytest.mark.parametrize("result", [
    None, object(), [1, None], {"a": None}, {"a": {"b": 1}}, np.array([object()]), [[1], [2, 3]], {1, 2}, lambda: 1,
    np.zeros(2, [("a", "O")]),
])
def test_what_is_no_array_of_fixed_size_elements_is_refused(result):
    with pytest.raises(OperationError):
        as_value(result)


def test_a_masked_array_is_refused_because_its_masked_elements_would_count():
    with pytest.raises(OperationError, match="filled"):
        as_value(np.ma.masked_array([1, 2], [False, True]))


def test_a_masked_array_without_masked_elements_is_an_array():
    assert type(as_value(np.ma.masked_array([1, 2]))) is np.ndarray


@pytest.mark.parametrize("table", [{}, {"": 1}, {"a/b": 1}, {".": 1}, {3: 1}], ids=repr)
def test_a_table_needs_columns_with_names(table):
    with pytest.raises(OperationError):
        as_value(table)


@pytest.mark.parametrize("number", [3, 2.5, True, 1j, np.float32(1), np.array(7), "text", b"bytes"], ids=repr)
def test_a_number_stays_without_dimensions(number):
    value = as_value(number)
    assert value.shape == () and value == number


@pytest.mark.parametrize("array", [
    np.zeros((3, 4)).T, np.arange(10)[::2], np.arange(4, dtype=">i2"), np.zeros(2, [("a", ">f8")]), np.zeros((0, 3)), [1, 2],
], ids=str)
def test_arrays_become_native_contiguous_and_read_only_with_the_same_elements(array):
    value = as_value(array)
    assert value.flags.c_contiguous and value.dtype.isnative and not value.flags.writeable
    assert np.array_equal(value, array) and value.shape == np.shape(array)


def test_the_array_of_the_operation_is_not_copied():
    array = np.zeros(3)
    assert np.shares_memory(as_value(array), array)


@pytest.mark.parametrize("part", [lambda buffer: buffer, lambda buffer: buffer[1:], lambda buffer: buffer[1:][:2]])
def test_a_buffer_that_the_operation_has_kept_cannot_change_its_value_any_more(part):
    buffer = np.zeros(5)
    as_value(part(buffer))
    with pytest.raises(ValueError, match="read-only"):
        buffer[2] = 1


def test_a_table_keeps_the_order_of_its_columns():
    assert list(as_value({"b": 1, "a": [2, 3]})) == ["b", "a"]


def test_columns_of_an_array_have_no_name_and_can_be_undone():
    array = np.arange(3)
    assert from_columns(columns(array)) is array


def test_columns_of_a_table_with_one_column_can_be_undone():
    assert from_columns(columns({"a": np.arange(3)})).keys() == {"a"}


def test_size_and_dimensions_of_a_table_are_those_of_its_columns():
    table = as_value({"a": np.zeros((2, 3)), "b": np.float32(1)})
    assert (nbytes(table), ndim(table)) == (52, 2)


def test_rows_of_cuts_what_has_all_rows_and_gives_the_rest_whole():
    table = {"rows": np.arange(8).reshape(4, 2), "other": np.arange(3), "number": np.array(1)}
    cut = rows_of(table, (1, 3, 4), 0)
    assert cut["rows"].tolist() == [[2, 3], [4, 5]] and cut["other"].shape == (3,) and cut["number"].shape == ()


def test_rows_of_gives_whole_what_has_too_few_dimensions():
    assert rows_of(np.arange(4), (1, 3, 4), 2).shape == (4,)


@pytest.mark.parametrize(("name", "expected"), [("add", [5, 7]), ("minimum", [1, 2]), ("maximum", [4, 5])])
def test_combine_by_name_works_element_by_element(name, expected):
    assert COMBINES[name](np.array([1, 2]), np.array([4, 5])).tolist() == expected


def test_combine_merges_tables_column_by_column():
    merged = COMBINES["add"]({"n": np.array(1), "x": np.array([1.0])}, {"n": np.array(2), "x": np.array([0.5])})
    assert (merged["n"], merged["x"].tolist()) == (3, [1.5])


@pytest.mark.parametrize(("left", "right"), [
    (np.zeros(3), np.zeros(1)), (np.zeros(3), np.zeros(())), (np.zeros((2, 2)), np.zeros(2)),
    ({"a": np.zeros(1)}, {"b": np.zeros(1)}), ({"a": np.zeros(1)}, {"a": np.zeros(1), "b": np.zeros(1)}),
    ({"a": np.zeros(1)}, np.zeros(1)),
], ids=str)
@pytest.mark.parametrize("name", ["add", "minimum", "maximum"])
def test_partial_results_of_unequal_form_are_not_broadcast(name, left, right):
    with pytest.raises(OperationError, match="differ in shape"):
        COMBINES[name](left, right)


@law
@given(st.lists(st.integers(0, 4), min_size=1, max_size=5))
def test_concatenate_joins_rows_in_order(lengths):
    parts = [np.full((length, 2), number) for number, length in enumerate(lengths)]
    assert np.array_equal(concatenate(parts), np.repeat(np.arange(len(lengths)), lengths)[:, None].repeat(2, axis=1))


def test_concatenate_joins_tables_column_by_column():
    joined = concatenate([{"a": np.array([1]), "b": np.array([[2.0]])}, {"a": np.array([3]), "b": np.array([[4.0]])}])
    assert joined["a"].tolist() == [1, 3] and joined["b"].tolist() == [[2], [4]]


def test_concatenate_takes_a_single_number_for_a_row():
    joined = concatenate([{"a": np.float64(1), "b": np.array([1])}, {"a": np.array([2.0, 3.0]), "b": np.array(4)}])
    assert (joined["a"].tolist(), joined["b"].tolist()) == ([1, 2, 3], [1, 4])


def test_concatenate_of_one_value_is_that_value():
    value = np.array(5)
    assert concatenate([value]) is value


@pytest.mark.parametrize(("left", "right"), [
    (np.zeros((2, 3)), np.zeros((2, 4))), (np.zeros(2), np.zeros((2, 1))),
    ({"a": np.zeros(1)}, {"b": np.zeros(1)}), ({"a": np.zeros(1)}, np.zeros(1)), (np.zeros(1), np.zeros(1, "M8[s]")),
], ids=str)
def test_concatenate_refuses_what_does_not_fit(left, right):
    with pytest.raises(OperationError, match="joined"):
        concatenate([left, right])

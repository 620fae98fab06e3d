"""Memory for received blocks: used again when nobody uses it, never before, and not kept for long."""

import numpy as np
import pytest

from mpiflow.operations.values import as_value
from mpiflow.peer.buffers import KEEP, LEAST, Buffers

BYTE = np.dtype(np.uint8)


def place(array):
    return array.__array_interface__["data"][0]


def test_memory_is_used_again_when_its_array_is_gone():
    buffers = Buffers()
    first = place(buffers.empty((LEAST,), BYTE))
    again = buffers.empty((LEAST // 8,), np.dtype("f8"))
    assert place(again) == first and again.dtype == np.float64 and buffers.nbytes == LEAST


@pytest.mark.parametrize("use", [lambda a: a, lambda a: a[5:], lambda a: a.view("u4"), memoryview, lambda a: a.reshape(2, -1)[1]],
                         ids=["array", "slice", "view", "memoryview", "row"])
def test_memory_in_use_is_not_given_away(use):
    buffers = Buffers()
    array = buffers.empty((LEAST,), BYTE)
    used, where = use(array), place(array)
    del array
    assert place(buffers.empty((LEAST,), BYTE)) != where
    del used


@pytest.mark.parametrize("use", [lambda a: a, lambda a: a[:10], lambda a: a.view("u4")], ids=["array", "slice", "view"])
def test_memory_whose_array_became_a_value_can_be_written_again(use):
    buffers = Buffers()
    array = buffers.empty((LEAST,), BYTE)
    where, value = place(array), as_value(use(array))
    assert not value.flags.writeable
    del array, value
    again = buffers.empty((LEAST,), BYTE)
    assert place(again) == where and again.flags.writeable and buffers.memory(LEAST).flags.writeable


def test_all_memory_begins_at_the_same_place_of_a_page_and_is_as_large_as_asked_for():
    buffers = Buffers()
    arrays = [buffers.empty((LEAST + 1000 * number,), BYTE) for number in range(5)]
    assert {place(array) % 4096 for array in arrays} == {16}
    for number, array in enumerate(arrays):
        array[:] = number
    assert [(len(array), array.min(), array.max()) for array in arrays] == [(LEAST + 1000 * n, n, n) for n in range(5)]


def test_memory_that_is_far_too_large_is_left_for_others():
    buffers = Buffers()
    where = place(buffers.empty((2 * LEAST,), BYTE))
    assert place(buffers.empty((LEAST,), BYTE)) != where


def test_small_arrays_are_not_our_business():
    buffers = Buffers()
    assert buffers.empty((0, 3), np.dtype("f8")).shape == (0, 3) and buffers.nbytes == 0


def test_unused_memory_goes_back_after_a_while():
    buffers = Buffers()
    buffers.empty((LEAST,), BYTE)
    buffers.trim(10.0)
    assert buffers.nbytes == LEAST
    buffers.trim(10.0 + 2 * KEEP)
    assert buffers.nbytes == 0


def test_memory_in_use_stays_however_long():
    buffers = Buffers()
    array = buffers.empty((LEAST,), BYTE)
    for now in (1.0, 100.0, 1000.0):
        buffers.trim(now)
    assert buffers.nbytes == array.nbytes

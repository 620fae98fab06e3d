"""Generated datasets: a row is the same in whatever block it is made."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiflow.storage.generate import generate
from mpiflow.workflow.model import Arange, Full, Normal, Random

law = settings(derandomize=True, deadline=None)
shapes = st.tuples(st.integers(0, 40), st.integers(1, 3), st.integers(0, 2)).map(list) | st.integers(0, 40).map(lambda n: [n])
floats = st.sampled_from(["float32", "float64"])
large = st.sampled_from([0, 2**24 - 5, 2**31 - 60, 2**53 - 5])
generators = st.one_of(
    st.builds(Random, shape=shapes, seed=st.integers(0, 2**64), low=st.integers(-5, 0), high=st.floats(1, 5), dtype=floats),
    st.builds(Normal, shape=shapes, seed=st.integers(0, 2**64), mean=st.floats(-5, 5), std=st.floats(0, 5), dtype=floats),
    st.builds(Full, shape=shapes, value=st.integers(-5, 5), dtype=st.sampled_from(["int32", "int64", "float32", "float64"])),
    st.builds(lambda start, num, dtype: Arange(start=start, stop=start + num, dtype=dtype), large, st.integers(0, 40),
              st.sampled_from(["int64", "float32", "float64"])))


def num_rows(settings):
    return settings.stop - settings.start if isinstance(settings, Arange) else settings.shape[0]


@settings(law, max_examples=300)
@given(generators, st.lists(st.integers(0, 40), max_size=5))
def test_rows_do_not_depend_on_the_cut(settings, edges):
    num = num_rows(settings)
    edges = [0, *sorted(min(edge, num) for edge in edges), num]
    parts = [generate(settings, start, stop) for start, stop in itertools.pairwise(edges)]
    assert np.concatenate(parts).tobytes() == generate(settings, 0, num).tobytes()


@law
@given(generators)
def test_dtype_and_shape_are_those_asked_for(settings):
    array = generate(settings, 0, num_rows(settings))
    assert array.dtype == settings.dtype and list(array.shape) == getattr(settings, "shape", [num_rows(settings)])


def test_uniform_numbers_fill_their_range_evenly():
    x = generate(Random(shape=[20_000], seed=3, low=-1, high=3), 0, 20_000)
    counts = np.histogram(x, bins=4, range=(-1, 3))[0]
    assert counts.sum() == 20_000 and counts.min() > 4700 and x.min() >= -1 and x.max() < 3


def test_normal_numbers_have_the_mean_and_deviation_asked_for():
    x = generate(Normal(shape=[20_000], seed=3, mean=5, std=2), 0, 20_000)
    z = (x - 5) / 2
    assert abs(z.mean()) < 0.02 and abs(z.std() - 1) < 0.02 and abs((z**3).mean()) < 0.06 and abs((z**4).mean() - 3) < 0.15


def test_neighbouring_normal_numbers_are_not_correlated():
    x = generate(Normal(shape=[20_000], seed=3), 0, 20_000)
    assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 0.02


def test_seeds_give_different_numbers():
    one, other = (generate(Random(shape=[1000], seed=seed), 0, 1000) for seed in (1, 2))
    assert not np.intersect1d(one, other).size


def test_the_numbers_of_a_seed_do_not_change_between_versions():
    assert generate(Random(shape=[4], seed=1), 1, 3).tolist() == [0.9504636963259353, 0.14415961271963373]


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "float64"])
def test_arange_counts_up_to_its_stop(dtype):
    assert generate(Arange(start=-2, stop=3, dtype=dtype), 1, 5).tolist() == [-1, 0, 1, 2]


def test_full_is_one_value_everywhere():
    assert generate(Full(shape=[5, 2], value=2.5), 3, 5).tolist() == [[2.5, 2.5], [2.5, 2.5]]

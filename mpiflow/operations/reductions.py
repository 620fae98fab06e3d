"""Built-in linear operations: partial results over blocks, merged and closed.

Every ``axis`` is None (over all elements) or 0 (over rows); float32 is summed in float64, complex64 in complex128.
"""

from __future__ import annotations

from operator import index

import numpy as np

from mpiflow.operations.operation import operation


def _checked(axis):
    if axis not in (None, 0):
        raise ValueError(f"axis must be 0 or left out, not {axis!r}: blocks are cut along axis 0")
    return axis


def _sum(x, axis):
    """Sum, of floating-point numbers in at least double precision; numpy sums integers in 64 bits by itself."""
    wide = {"f": np.float64, "c": np.complex128}.get(x.dtype.kind)
    return np.sum(x, axis=_checked(axis), dtype=wide and np.result_type(x.dtype, wide))


def _count(x, axis):
    """Number of elements that are added up."""
    return np.int64(x.size if axis is None else x.shape[0])


def _row(nbytes, axis):
    """Size of a number or, of rows of unknown length, a guess."""
    return 8 if axis is None else min(nbytes, 8192)


def _row_and_count(nbytes, axis):
    return _row(nbytes, axis) + 8


def _moments_nbytes(nbytes, axis):
    return 2 * _row(nbytes, axis) + 8


@operation(name="sum", linear=True, nbytes=_row, unit="same")
def total(x, axis=None):
    """Sum."""
    return _sum(x, axis)


@operation(linear=True, nbytes=8, unit="1")
def count(x):
    """Number of rows."""
    return np.int64(x.shape[0])


@operation(linear=True, nbytes=_row_and_count, finish=lambda partial: partial["sum"] / partial["count"],
           finish_nbytes=lambda nbytes: nbytes - 8, unit="same")
def mean(x, axis=None):
    """Arithmetic mean."""
    return {"sum": _sum(x, axis), "count": _count(x, axis)}


@operation(name="min", linear=True, combine="minimum", nbytes=_row, unit="same")
def least(x, axis=None):
    """Least element."""
    return x.min(axis=_checked(axis))


@operation(name="max", linear=True, combine="maximum", nbytes=_row, unit="same")
def greatest(x, axis=None):
    """Greatest element."""
    return x.max(axis=_checked(axis))


def merge_moments(left, right):
    """Merge counts, means and sums of squared deviations of two samples.

    Source: Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances".
    """
    num = left["count"] + right["count"]
    weight = right["count"] / np.maximum(num, 1)
    apart = right["mean"] - left["mean"]
    return {
        "count": num,
        "mean": left["mean"] + apart * weight,
        "m2": left["m2"] + right["m2"] + _square(apart) * (left["count"] * weight),
    }


def _square(x):
    """Squares of absolute values: real ones, of complex numbers too. An array is not needed any more: it is their place."""
    return np.square(np.abs(x)) if np.iscomplexobj(x) else np.square(x, out=x if isinstance(x, np.ndarray) else None)


def _moments(x, axis):
    num = _count(x, axis)
    centre = _sum(x, axis) / max(num, 1)
    return {"count": num, "mean": centre, "m2": np.sum(_square(x - centre), axis=axis)}


def _close_moments(partial):
    variance = partial["m2"] / partial["count"]
    return {"count": partial["count"], "mean": partial["mean"], "variance": variance, "std": np.sqrt(variance)}


def _closed_nbytes(nbytes):
    row = (nbytes - 8) // 2
    return {"count": 8, "mean": row, "variance": row, "std": row}


@operation(linear=True, combine=merge_moments, finish=_close_moments, nbytes=_moments_nbytes, finish_nbytes=_closed_nbytes,
           unit={"count": "1", "mean": "same", "variance": lambda x: x**2, "std": "same"})
def moments(x, axis=None):
    """Table of ``count``, ``mean``, ``variance`` and ``std`` (over the population)."""
    return _moments(x, axis)


@operation(linear=True, combine=merge_moments, nbytes=_moments_nbytes, finish=lambda p: p["m2"] / p["count"],
           finish_nbytes=lambda nbytes: (nbytes - 8) // 2, unit=lambda x: x**2)
def variance(x, axis=None):
    """Variance over the population."""
    return _moments(x, axis)


@operation(linear=True, combine=merge_moments, nbytes=_moments_nbytes, finish=lambda p: np.sqrt(p["m2"] / p["count"]),
           finish_nbytes=lambda nbytes: (nbytes - 8) // 2, unit="same")
def std(x, axis=None):
    """Standard deviation over the population."""
    return _moments(x, axis)


def _range(range):
    """Lowest and highest edge, of a type that keeps numpy from counting float32 between edges of float32."""
    low, high = range
    return np.float64(low), np.float64(high)


def _edges(partial, bins, range):
    return {"counts": partial, "edges": np.histogram_bin_edges([], bins=bins, range=_range(range))}


@operation(linear=True, finish=_edges, nbytes=lambda nbytes, bins: 8 * bins,
           finish_nbytes=lambda nbytes: {"counts": nbytes, "edges": nbytes + 8}, unit={"counts": "1", "edges": "same"})
def histogram(x, range, bins=10):
    """Table of ``counts`` in ``bins`` equal bins over ``range`` = [low, high], and their ``edges``; the rest is left out."""
    # index() refuses the bins that numpy would choose by what one block holds.
    return np.histogram(x, bins=index(bins), range=_range(range))[0]

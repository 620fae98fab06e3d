"""Built-in linear operations: partial results over blocks, merged and closed.

Every ``axis`` is None (over all elements) or 0 (over rows); float32 is summed in float64.
"""

from __future__ import annotations

import numpy as np

from mpiflow.operations.operation import operation


def _checked(axis):
    if axis not in (None, 0):
        raise ValueError(f"axis must be 0 or left out, not {axis!r}: blocks are cut along axis 0")
    return axis


def _wide(x):
    """The dtype in which sums of ``x`` are exact or at least float64."""
    return np.result_type(x.dtype, np.float64 if x.dtype.kind == "f" else np.int64) if x.dtype.kind in "fiub" else x.dtype


def _scalar_or_row(nbytes: int) -> int:
    return min(nbytes, 8192)


@operation(name="sum", linear=True, nbytes=_scalar_or_row)
def total(x, axis=None):
    """Sum."""
    return np.sum(x, axis=_checked(axis), dtype=_wide(x))


@operation(linear=True, nbytes=8)
def count(x):
    """Number of rows."""
    return np.int64(len(x))


def _sum_and_count(x, axis):
    num = x.size if _checked(axis) is None else len(x)
    return {"sum": np.sum(x, axis=axis, dtype=_wide(x)), "count": np.int64(num)}


@operation(linear=True, nbytes=_scalar_or_row, finish=lambda partial: partial["sum"] / partial["count"])
def mean(x, axis=None):
    """Arithmetic mean."""
    return _sum_and_count(x, axis)


@operation(name="min", linear=True, combine="minimum", nbytes=_scalar_or_row)
def least(x, axis=None):
    """Least element."""
    return np.min(x, axis=_checked(axis))


@operation(name="max", linear=True, combine="maximum", nbytes=_scalar_or_row)
def greatest(x, axis=None):
    """Greatest element."""
    return np.max(x, axis=_checked(axis))


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
        "m2": left["m2"] + right["m2"] + apart * apart * (left["count"] * weight),
    }


def _moments(x, axis):
    num = x.size if _checked(axis) is None else len(x)
    centre = np.sum(x, axis=axis, dtype=_wide(x)) / max(num, 1)
    return {"count": np.int64(num), "mean": centre, "m2": np.sum(np.square(x - centre), axis=axis)}


def _close_moments(partial):
    variance = partial["m2"] / partial["count"]
    return {"count": partial["count"], "mean": partial["mean"], "variance": variance, "std": np.sqrt(variance)}


@operation(linear=True, combine=merge_moments, finish=_close_moments, nbytes=_scalar_or_row)
def moments(x, axis=None):
    """Table of ``count``, ``mean``, ``variance`` and ``std`` (over the population)."""
    return _moments(x, axis)


@operation(linear=True, combine=merge_moments, nbytes=_scalar_or_row, finish=lambda p: p["m2"] / p["count"])
def variance(x, axis=None):
    """Variance over the population."""
    return _moments(x, axis)


@operation(linear=True, combine=merge_moments, nbytes=_scalar_or_row, finish=lambda p: np.sqrt(p["m2"] / p["count"]))
def std(x, axis=None):
    """Standard deviation over the population."""
    return _moments(x, axis)


def _edges(partial, bins, range):
    return {"counts": partial, "edges": np.linspace(*range, bins + 1)}


@operation(linear=True, finish=_edges, nbytes=_scalar_or_row)
def histogram(x, range, bins=10):
    """Table of ``counts`` in ``bins`` equal bins over ``range`` = [low, high], and their ``edges``; the rest is left out."""
    return np.histogram(x, bins=bins, range=tuple(range))[0]

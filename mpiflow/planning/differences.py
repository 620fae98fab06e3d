"""Whether two values are equal but for rounding, and how they differ if not. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mpiflow.operations.values import Value, columns


def difference(whole: Value, other: Value, scale: Sequence[Value], allowed: float) -> str:
    """Say how two values differ; nothing if they are equal but for rounding.

    Args:
        whole: What is right.
        other: What is compared with it.
        scale: Values that are as large as numbers typically are.
        allowed: Difference, as a fraction of the largest number, that is no difference.
    """
    if [name for name, _ in columns(whole)] != [name for name, _ in columns(other)]:
        return "the columns differ"
    for (name, a), (_, b) in zip(columns(whole), columns(other), strict=True):
        where = f"column {name!r}: " if name else ""
        if a.shape != b.shape:
            return f"{where}shape {b.shape} instead of {a.shape}"
        if a.dtype.kind not in "fc" and b.dtype.kind not in "fc":
            if not np.array_equal(a, b):
                return where + _shown(a, b)
            continue
        sizes = [a, b, *(dict(columns(value))[name] for value in scale if name in dict(columns(value)))]
        largest = max((np.max(np.abs(item[np.isfinite(item)]), initial=0) for item in sizes), default=0)
        if not np.allclose(a, b, rtol=allowed, atol=allowed * largest, equal_nan=True):
            return where + _shown(a, b)
    return ""


def precision(values: Sequence[Value]) -> float:
    """Give the difference that rounding may make, as a fraction: half of the digits of the least precise numbers."""
    kinds = [array.dtype for value in values for _, array in columns(value) if array.dtype.kind in "fc"]
    return float(np.sqrt(max((np.finfo(dtype).eps for dtype in kinds), default=np.finfo(float).eps)))


def _shown(right: np.ndarray, wrong: np.ndarray) -> str:
    """The first element that differs most."""
    if right.dtype.kind not in "biufc":
        return "they differ"
    apart = np.nan_to_num(np.abs(np.subtract(wrong, right, dtype=np.result_type(right, wrong, np.float64))), nan=np.inf)
    place = np.unravel_index(np.argmax(apart), apart.shape)
    which = f" at {[int(index) for index in place]}" if place else ""
    return f"{wrong[place]:.6g} instead of {right[place]:.6g}{which}"

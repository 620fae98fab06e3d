"""Operations of the thesis's scenarios."""

import numpy as np

from mpiflow import operation


@operation(linear=True, dtype="int64")
def real2bin(x):
    """How many numbers lie in the upper half of [0, 1), for each of 1000 groups of neighbours."""
    return np.add.reduceat((x >= 0.5).astype(np.int64), np.arange(0, len(x), max(len(x) // 1000, 1)))

"""Operations of the thesis's scenarios, on datasets of real numbers in [0, 1)."""

import numpy as np

from mpiflow import operation

GROUPS = 1000


@operation(linear=True, dtype="int64", nbytes=8 * GROUPS)
def real2bin(x):
    """How many of the numbers round to one, in each of 1,000 groups of neighbours: 8 kB out of 8 MB."""
    return np.sum((x >= 0.5).reshape(GROUPS, -1), axis=1)


@operation(linear=True, nbytes=lambda nbytes: nbytes)
def halve(x):
    """Half of each number. Linear in the mathematician's sense: halve(a + b) = halve(a) + halve(b)."""
    return x / 2


@operation(linear=True, nbytes=8 * GROUPS)
def group_sums(x):
    """The sum of each of 1,000 groups of neighbours."""
    return np.sum(x.reshape(GROUPS, -1), axis=1)


@operation(nbytes=8 * GROUPS)
def group_medians(x):
    """The median of each of 1,000 groups of neighbours: not linear, so it needs its datasets added up first."""
    return np.median(x.reshape(GROUPS, -1), axis=1)

"""Relaxation of a potential on a plate whose edges are held at 0."""

import numpy as np

from mpiflow import operation

SWEEPS = 8


@operation(elementwise=True, halo=SWEEPS, dtype="float64")
def swept(potential, charge, *, before, after):
    """Eight sweeps of Jacobi's method over some rows of the plate.

    Each sweep needs one row more on either side. So the rows of the neighbours, which come along, are swept as well, as
    far as they still know theirs, and given up. ``charge`` comes without them: it is the same everywhere.
    """
    for _ in range(SWEEPS):
        padded = np.pad(potential, 1)           # the edges of the plate; inside it, what is wrong moves one row with each sweep
        around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
        potential = (around + charge.flat[0]) / 4
    return potential[before:len(potential) - after]

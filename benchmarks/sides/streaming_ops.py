"""The operation of the streaming benchmark."""

import numpy as np

from mpiflow import operation


@operation(elementwise=True)
def bent(x):
    """Something that is not linear."""
    return np.sqrt(x + 1)

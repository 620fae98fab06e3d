"""The kernel of the grids as an operation of mpiflow."""

from grid import kernel

from mpiflow import operation


@operation(nbytes=16, seconds=1e-3)
def point(*inputs, step, column, iterations):
    """One task of a grid."""
    return kernel(iterations, step, column, inputs)

"""A Fourier transform in two dimensions, as one writes it with mpi4py."""

import numpy as np

from mpiflow import operation


def _turned(rows, comm):
    """Cut a matrix that is spread by rows into columns: give this rank's columns as rows."""
    pieces = np.array_split(rows, comm.size, axis=1)
    counts = np.array(comm.allgather(rows.shape[0]))
    widths = [piece.shape[1] for piece in pieces]
    sent = np.concatenate([np.ascontiguousarray(piece.T).ravel() for piece in pieces])
    own = widths[comm.rank]
    received = np.empty(own * counts.sum(), rows.dtype)
    comm.Alltoallv([sent, [rows.shape[0] * width for width in widths]], [received, list(own * counts)])
    return np.concatenate([part.reshape(own, -1) for part in np.split(received, np.cumsum(own * counts)[:-1])], axis=1)


@operation(parallel=True, nbytes=lambda nbytes: 2 * nbytes)
def fft2(field, comm):
    """Transform a matrix of which each rank has some rows.

    Args:
        field: float64, this rank's rows.
        comm: The communicator of the ranks of this step: rank 0 has the first rows.

    Returns:
        complex128, the same rows of the transform.
    """
    columns = np.fft.fft(_turned(np.fft.fft(field, axis=1), comm), axis=1)
    return _turned(columns, comm)


@operation(parallel="first")
def total(spectrum, comm):
    """Give the energy of a spectrum; only the first rank returns it."""
    energy = comm.reduce(float(np.sum(np.abs(spectrum) ** 2)))
    return energy if comm.rank == 0 else None

"""Smoothing of signals."""

import numpy as np

from mpiflow import operation


@operation(linear=True, combine="concatenate")
def smoothed(signal, width=10):
    """Running mean over ``width`` values, inside each block."""
    return np.convolve(signal, np.full(width, 1 / width), mode="valid")


@operation(linear=True)
def num_peaks(signal):
    """Number of values that are larger than both neighbours in their block."""
    return np.sum((signal[1:-1] > signal[:-2]) & (signal[1:-1] > signal[2:]))

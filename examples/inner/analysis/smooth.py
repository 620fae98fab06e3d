"""Smoothing of signals; what is near the edge of a block sees the rows of the next one."""

import numpy as np

from mpiflow import operation


@operation(elementwise=True, halo="width")
def smoothed(signal, width=10, *, before, after):
    """Mean of each value and up to ``width`` values on both sides."""
    window = np.ones(2 * width + 1)
    sums, counts = (np.convolve(values, window)[width:width + len(signal)] for values in (signal, np.ones(len(signal))))
    return (sums / counts)[before:len(signal) - after]


@operation(linear=True, halo=1)
def num_peaks(signal, *, before, after):
    """Number of values that are larger than both neighbours; the first and the last value of all are none."""
    signal = np.concatenate([np.full(1 - before, np.inf), signal, np.full(1 - after, np.inf)])
    return np.sum((signal[1:-1] > signal[:-2]) & (signal[1:-1] > signal[2:]))

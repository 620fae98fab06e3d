"""Generated datasets: rows ``start`` to ``stop`` are the same however the dataset is cut."""

from __future__ import annotations

import math

import numpy as np

from mpiflow.planning.sources import generated_shape
from mpiflow.workflow.model import Arange, Full, Normal, Random


def get_ready(settings: Random | Normal | Arange | Full) -> None:
    """Do what takes some time at the first time only: numpy loads its generators when they are first asked for."""
    if isinstance(settings, Random | Normal):
        np.random.PCG64  # noqa: B018


def generate(settings: Random | Normal | Arange | Full, start: int, stop: int) -> np.ndarray:
    """Make rows ``start`` to ``stop`` of what ``settings`` describe. Pure."""
    if isinstance(settings, Arange):
        # Counted in integers: numpy counts in floats by adding a step that is rounded, so the cut would show.
        return np.arange(settings.start + start, settings.start + stop, dtype=np.int64).astype(settings.dtype, copy=False)
    shape = (stop - start, *generated_shape(settings)[1:])
    if isinstance(settings, Full):
        return np.full(shape, settings.value, dtype=settings.dtype)
    row = math.prod(shape[1:])
    if isinstance(settings, Random):
        uniform = _uniform(settings.seed, start * row, shape)
        if (settings.low, settings.high) != (0, 1):     # as it is already, and each pass over memory takes time
            uniform *= settings.high - settings.low
            uniform += settings.low
        return uniform.astype(settings.dtype, copy=False)
    normal = _normal(settings.seed, start * row, shape)
    normal *= settings.std
    normal += settings.mean
    return normal.astype(settings.dtype, copy=False)


def _uniform(seed: int, skipped: int, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of one stream from number ``skipped`` on: PCG64 makes one number per double and can jump."""
    generator = np.random.Generator(np.random.PCG64(seed).advance(skipped))
    return generator.random(shape)


def _normal(seed: int, skipped: int, shape: tuple[int, ...]) -> np.ndarray:
    """Two uniform numbers make one normal one, so that any element can be made by itself.

    Source: Box, Muller 1958, "A note on the generation of random normal deviates".
    """
    pairs = _uniform(seed, 2 * skipped, (*shape, 2))
    return np.sqrt(-2 * np.log1p(-pairs[..., 0])) * np.cos(2 * np.pi * pairs[..., 1])

"""Grids of tasks as in Task Bench, the same for all systems: who needs whom, and the kernel of every task.

A grid has ``width`` columns and ``steps`` rows; a task needs tasks of the row before. It gives 16 bytes to each that
needs it, which check that they got what they should have.

Source: Slaughter et al. 2020, "Task Bench: A Parameterized Benchmark for Evaluating Parallel Runtime Performance" (SC'20).
"""

import numpy as np

PATTERNS = ("stencil_1d", "fft", "trivial")


def needed(pattern, step, column, width):
    """Give the columns of the row before that a task needs, ascending."""
    if step == 0 or pattern == "trivial":
        return []
    levels = max((width - 1).bit_length(), 1)
    distance = 1 if pattern == "stencil_1d" else 1 << (step - 1) % levels
    return [near for near in (column - distance, column, column + distance) if 0 <= near < width]


def kernel(iterations, step, column, inputs):
    """Check the inputs, compute for ``iterations``, and give this task's 16 bytes: its row and its column (int64)."""
    for block in inputs:
        if block[0] != step - 1:
            raise ValueError(f"row {step} got a block of row {block[0]}")
    burn(iterations)
    return np.array((step, column), np.int64)


def burn(iterations):
    """Do arithmetic: what counts as useful work."""
    x = 1.0
    for _ in range(iterations):
        x = x * 0.999999 + 1e-6
    return x

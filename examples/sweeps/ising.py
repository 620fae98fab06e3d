"""Short Monte Carlo runs of the Ising model on a square, and what is read off them."""

import numpy as np

from mpiflow import operation


@operation(nbytes=lambda nbytes, size, sweeps: {"spins": size * size, "magnetisation": 8 * sweeps})
def ising(temperature, seed=0, size=16, sweeps=30):
    """Spins after some sweeps of the Metropolis rule over a checkerboard, and the magnetisation per spin after each.

    Args:
        temperature: In units of the coupling J.
        seed: Of the random numbers.
        size: Spins along each side, even.
        sweeps: How often each spin may flip.
    """
    random = np.random.default_rng(seed)
    spins = np.ones((size, size), np.int8)
    black = np.indices(spins.shape).sum(axis=0) % 2 == 0
    magnetisation = np.empty(sweeps)
    for step in range(sweeps):
        for half in (black, ~black):
            around = sum(np.roll(spins, shift, axis) for shift in (-1, 1) for axis in (0, 1))
            flip = half & (random.random(spins.shape) < np.exp(-2 * spins * around / temperature))
            spins = np.where(flip, -spins, spins)
        magnetisation[step] = abs(spins.mean())
    return {"spins": spins, "magnetisation": magnetisation}


@operation(nbytes=8)
def largest(*runs):
    """The largest magnetisation at the end of several runs."""
    return max(run["magnetisation"][-1] for run in runs)

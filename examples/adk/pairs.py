"""Operations of the example that compares frames with frames: displacements over lags, and RMSD of every pair."""

import numpy as np

from mpiflow import operation

FRAME = 12 * 3341           # three float32 for each atom [bytes], by which the planner knows sizes in advance


@operation(elementwise=True, dtype="float32", nbytes=lambda nbytes, atoms: nbytes // FRAME * 12 * (atoms // 8))
def chosen(positions, atoms):
    """Keep the selected atoms: float32 (frames, all atoms, 3) to (frames, selected atoms, 3) [angstrom]."""
    return positions[:, atoms]


def mean_of(partial):
    """Divide the merged sums by the merged numbers of pairs of frames."""
    return partial["sum"] / partial["n"]


def displacements(earlier, later, ahead, lags):
    """Add up, by lag, the squared displacements of pairs of frames, averaged over atoms.

    Args:
        earlier: float32 (n, atoms, 3) [angstrom].
        later: float32 (m, atoms, 3) [angstrom].
        ahead: How many frames the first of ``later`` comes after the first of ``earlier``.
        lags: The longest lag that counts; all from 0 on do.

    Returns:
        Table of ``sum``, float64 (lags + 1,) [angstrom^2], and ``n``, int64 (lags + 1,), the number of pairs.
    """
    found = {"sum": np.zeros(lags + 1), "n": np.zeros(lags + 1, np.int64)}
    later = later.astype(np.float64)
    for i, frame in enumerate(earlier):
        lag = ahead - i + np.arange(len(later))
        used = (lag >= 0) & (lag <= lags)
        found["sum"][lag[used]] += np.square(later[used] - frame).sum(axis=2).mean(axis=1)
        found["n"][lag[used]] += 1
    return found


@operation(halo=(0, "lags"), linear=True, finish=mean_of, nbytes=lambda size, lags: 16 * (lags + 1),
           finish_nbytes=lambda size: size // 2)
def msd(positions, lags, *, after):
    """Mean square displacement over lags of 0 to ``lags`` frames [angstrom^2]; a block needs as many frames behind it."""
    return displacements(positions[: len(positions) - after], positions, 0, lags)


@operation(pairs=True, symmetric=True, linear=True, finish=mean_of, nbytes=lambda size, lags: 16 * (lags + 1),
           finish_nbytes=lambda size: size // 2)
def msd_of_pairs(earlier, later, lags, *, row, column):
    """The same, from pairs of blocks: for lags so long that the halo would be most of the trajectory."""
    return displacements(earlier, later, column - row, lags)


@operation(pairs=True, symmetric=True, dtype="float64")
def rmsd(one, other):
    """Root mean square distance of the atoms of every frame of one block to every frame of another, best superposed.

    Args:
        one: float32 (n, atoms, 3) [angstrom].
        other: float32 (m, atoms, 3) [angstrom].

    Returns:
        float64 (n, m) [angstrom].

    Source: Kabsch 1976, Acta Cryst. A32, 922; the rotation itself is not needed, only what it leaves over.
    """
    one, other = (frames - frames.mean(axis=1, keepdims=True, dtype=np.float64) for frames in (one, other))
    covariance = np.einsum("iak,jal->ijkl", one, other, optimize=True)
    overlap = np.linalg.svd(covariance, compute_uv=False)
    overlap[..., 2] *= np.sign(np.linalg.det(covariance))       # a rotation, no reflection
    squares = np.add.outer(*(np.square(frames).sum(axis=(1, 2)) for frames in (one, other)))
    return np.sqrt(np.maximum(squares - 2 * overlap.sum(axis=-1), 0) / one.shape[1])

"""Operations of the adenylate kinase example.

Every linear operation makes, from a block of frames, something that can be merged with what another block made: a
sum, a count, (number, mean, what is about the mean), or rows in the order of the frames. What cannot be merged, a
quotient, a root, principal components, is made once, in ``finish``, when all blocks are merged.
"""

import numpy as np

from mpiflow import operation

# Sizes, by which the planner knows in advance how many bytes every result has.
ATOMS, CALPHAS = 3341, 214
FRAME, SELECTED = 12 * ATOMS, 12 * CALPHAS          # three float32 for each atom [bytes]
MEAN = 24 * CALPHAS                                 # three float64 for each C-alpha atom [bytes]


@operation(linear=True, combine="concatenate", dtype="float32", nbytes=lambda nbytes: nbytes, unit="same")
def superpose(positions, reference, atoms):
    """Lay every frame on the reference so that the selected atoms are as near as they can be.

    Args:
        positions: float32 (frames, all atoms, 3) [angstrom].
        reference: float32 (1, all atoms, 3) [angstrom].
        atoms: int64 (selected atoms,), the ones that decide the fit; each counts the same.

    Returns:
        float32 (frames, all atoms, 3) [angstrom], all atoms moved as rigid bodies.

    Source: Kabsch 1976, Acta Cryst. A32, 922.
    """
    target = reference[0, atoms].astype(np.float64)
    moved = np.empty_like(positions)
    for frame, out in zip(positions, moved, strict=True):
        mobile = frame[atoms].astype(np.float64)
        centre = mobile.mean(axis=0)
        rotation = kabsch(mobile - centre, target - target.mean(axis=0))
        out[:] = (frame - centre) @ rotation + target.mean(axis=0)
    return moved


def kabsch(mobile, target):
    """Give the rotation (3, 3) that brings ``mobile @ rotation`` nearest to ``target``, both (atoms, 3) and centred."""
    left, _, right = np.linalg.svd(mobile.T @ target)
    # The nearest orthogonal matrix may be a reflection; turning the weakest axis gives the nearest rotation.
    handedness = np.sign(np.linalg.det(left @ right))
    return left * [1.0, 1.0, handedness] @ right


@operation(linear=True, combine="concatenate", nbytes=lambda nbytes, atoms: nbytes // FRAME * 12 * (atoms // 8), unit="same")
def take(positions, atoms):
    """Keep the selected atoms: (frames, all atoms, 3) to (frames, selected atoms, 3), same type and unit."""
    return positions[:, atoms]


@operation(linear=True, combine="concatenate", nbytes=lambda nbytes, masses: nbytes // (12 * (masses // 8)) * 8, unit="same")
def gyration(positions, masses):
    """Radius of gyration of each frame about its centre of mass.

    Args:
        positions: float32 (frames, atoms, 3) [angstrom].
        masses: float64 (atoms,) [u].

    Returns:
        float64 (frames,) [angstrom].
    """
    weights = masses / masses.sum()
    radius = np.empty(len(positions))
    for i, frame in enumerate(positions):
        arms = frame - weights @ frame
        radius[i] = np.sqrt(weights @ (arms**2).sum(axis=1))
    return radius


def quotient(partial):
    """Divide the merged sum by the merged number of frames."""
    return partial["sum"] / partial["n"]


@operation(linear=True, finish=quotient, unit="1",
           nbytes=lambda nbytes, atoms: {"n": 8, "sum": 4 * (atoms // 8) ** 2}, finish_nbytes=lambda nbytes: 2 * (nbytes - 8))
def contacts(positions, atoms, cutoff=8.0):
    """Fraction of the frames in which two of the selected atoms are nearer than the cutoff.

    Memory beyond the input: a few matrices (selected atoms, selected atoms), however many frames there are.

    Args:
        positions: float32 (frames, all atoms, 3) [angstrom].
        atoms: int64 (selected atoms,).
        cutoff: Distance [angstrom].

    Returns:
        float64 (selected atoms, selected atoms) from 0 to 1, symmetric; an atom touches itself.
    """
    count = np.zeros((len(atoms), len(atoms)), np.int32)
    for frame in positions:
        count += near(frame[atoms].astype(np.float64), cutoff)
    return {"n": np.array(len(positions)), "sum": count}


def near(points, cutoff):
    """Tell which of ``points`` (atoms, 3) are nearer than ``cutoff`` to which: bool (atoms, atoms)."""
    squares = np.zeros((len(points), len(points)))
    for axis in points.T:
        squares += np.subtract.outer(axis, axis) ** 2
    return squares < cutoff**2


def pool(a, b):
    """Merge (n, mean, sum of squares about the mean) of two sets of frames into that of both together.

    Sums of squares would merge by ``add`` alone, but their difference to the squared mean loses half of the digits.

    Source: Chan, Golub, LeVeque 1983, The American Statistician 37, 242-247.
    """
    n = a["n"] + b["n"]
    shift = b["mean"] - a["mean"]
    return {
        "n": n,
        "mean": a["mean"] + shift * (b["n"] / n),
        "m2": a["m2"] + b["m2"] + shift**2 * (a["n"] * b["n"] / n),
    }


def root_mean_square(partial):
    """Close the moments (atoms, 3) to the root of the mean square displacement (atoms,)."""
    return np.sqrt(partial["m2"].sum(axis=-1) / partial["n"])


@operation(linear=True, combine=pool, finish=root_mean_square,
           nbytes={"n": 8, "mean": MEAN, "m2": MEAN}, finish_nbytes=MEAN // 3, unit="same")
def rmsf(positions):
    """Root mean square fluctuation of each atom about its mean position.

    Args:
        positions: float32 (frames, atoms, 3) [angstrom], superposed.

    Returns:
        float64 (atoms,) [angstrom].
    """
    mean = positions.mean(axis=0, dtype=np.float64)
    return {"n": np.array(len(positions)), "mean": mean, "m2": ((positions - mean) ** 2).sum(axis=0)}


def stack(a, b):
    """Merge (n, mean, rows about the mean) of two sets of frames: as ``pool``, for all products of two coordinates.

    rowsᵀ rows is the covariance, unscaled. It is never formed: for 13 frames of 214 atoms it weighs 50 times its rows.
    """
    n = a["n"] + b["n"]
    shift = b["mean"] - a["mean"]
    rows = np.vstack([a["rows"], b["rows"], shift * np.sqrt(a["n"] * b["n"] / n)])
    return {"n": n, "mean": a["mean"] + shift * (b["n"] / n), "rows": squeezed(rows)}


def squeezed(rows):
    """Give at most as many rows as there are columns, with the same rowsᵀ rows.

    Source: Demmel, Grigori, Hoemmen, Langou 2012, SIAM J. Sci. Comput. 34, A206 (TSQR).
    """
    return np.linalg.qr(rows, mode="r") if len(rows) > rows.shape[1] else rows


def principal(partial, count):
    """Close the merged rows to the ``count`` widest principal components."""
    _, width, components = np.linalg.svd(partial["rows"], full_matrices=False)
    variance = width**2 / (partial["n"] - 1)
    # The sign of a component is arbitrary: its largest element shall be positive.
    largest = np.abs(components).argmax(axis=1)
    components *= np.sign(components[np.arange(len(components)), largest])[:, np.newaxis]
    return {
        "mean": partial["mean"],
        "variance": variance[:count],
        "cumulated_variance": (variance.cumsum() / variance.sum())[:count],
        "components": components[:count].T,
    }


def num_rows(nbytes):
    """Rows in a partial result of ``pca``, which beside them has a number and a mean as long as a row."""
    return (nbytes - 8 - MEAN) // MEAN


def rows_nbytes(rows):
    """Size of a partial result of so many rows, which are squeezed."""
    return {"n": 8, "mean": MEAN, "rows": min(rows, 3 * CALPHAS) * MEAN}


def principal_nbytes(nbytes, count):
    """Size of what ``principal`` gives."""
    found = min(num_rows(nbytes), count)
    return {"mean": MEAN, "variance": 8 * found, "cumulated_variance": 8 * found, "components": found * MEAN}


@operation(linear=True, combine=stack, finish=principal, nbytes=lambda nbytes: rows_nbytes(nbytes // SELECTED),
           combine_nbytes=lambda left, right: rows_nbytes(num_rows(left) + num_rows(right) + 1), finish_nbytes=principal_nbytes,
           unit={"mean": "same", "variance": lambda positions: positions**2, "cumulated_variance": "1", "components": "1"})
def pca(positions, count=10):
    """Principal components of the motion of all atoms together.

    Args:
        positions: float32 (frames, atoms, 3) [angstrom], superposed.
        count: How many components are wanted, the widest first; there are no more than frames.

    Returns:
        Table of float64: mean (3 atoms,) [angstrom], variance (count,) [angstrom^2], cumulated_variance (count,) as
        fraction of the variance of all components, components (3 atoms, count), columns of length 1.
    """
    rows = positions.reshape(len(positions), -1)
    mean = rows.mean(axis=0, dtype=np.float64)
    return {"n": np.array(len(rows)), "mean": mean, "rows": squeezed(rows - mean)}


@operation(linear=True, combine="concatenate", unit="same",
           nbytes=lambda nbytes, mean, components: nbytes // (mean // 2) * (components // mean) * 8)
def project(positions, mean, components):
    """Coordinates of each frame along the principal components.

    Args:
        positions: float32 (frames, atoms, 3) [angstrom], superposed.
        mean: float64 (3 atoms,) [angstrom].
        components: float64 (3 atoms, count).

    Returns:
        float64 (frames, count) [angstrom].
    """
    return (positions.reshape(len(positions), -1) - mean) @ components

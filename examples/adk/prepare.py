"""Convert the adenylate kinase trajectory of MDAnalysisTests to one H5MD file.

    python examples/adk/prepare.py [FILE]          (default: adk.h5md beside this script)

Does nothing if the file is there and complete. The same input gives the same bytes.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import h5py
import numpy as np

DEFAULT = Path(__file__).with_name("adk.h5md")
FRAMES_PER_CHUNK = 4  # 160 kB: a block of frames is read without touching much of its neighbours
PARTS = (
    "particles/all/position/value",
    "particles/all/position/step",
    "particles/all/position/time",
    "particles/all/mass",
    "parameters/calpha",
    "parameters/residue",
)


def prepare(path: Path = DEFAULT) -> Path:
    """Write the trajectory to ``path`` unless a complete one is there already.

    Several processes may do this at the same time: each writes a file of its own and renames it.

    Returns:
        ``path``.
    """
    if not complete(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}")
        try:
            with h5py.File(aside, "w") as file:
                write(file)
            flush(aside)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    return path


def complete(path: Path) -> bool:
    """Tell whether ``path`` is an HDF5 file that has every part, with equally many frames in all of them."""
    try:
        with h5py.File(path, "r") as file:
            lengths = {len(file[part]) for part in PARTS[:3]}
            return all(part in file for part in PARTS) and len(lengths) == 1
    except (OSError, KeyError):  # no file, no HDF5 file, or one without positions
        return False


def flush(path: Path) -> None:
    """Have the file on disk before its name says that it is complete."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write(file: h5py.File) -> None:
    """Fill an empty HDF5 file with the trajectory as H5MD 1.1."""
    # Only a conversion needs MDAnalysis: finding the file complete must not take its import of 2 s.
    import MDAnalysis
    from MDAnalysisTests.datafiles import DCD, PSF

    with warnings.catch_warnings():
        # MDAnalysis announces a change of its DCD reader in 3.0 which does not touch what is read here.
        warnings.simplefilter("ignore", DeprecationWarning)
        universe = MDAnalysis.Universe(PSF, DCD)
    write_header(file)
    write_particles(file.create_group("particles/all"), universe)
    write_parameters(file.create_group("parameters"), universe)


def write_header(file: h5py.File) -> None:
    """Write who made the file, by which version of H5MD and of its module for units."""
    header = file.create_group("h5md")
    header.attrs["version"] = np.array([1, 1], np.int32)
    header.create_group("author").attrs["name"] = "O. Beckstein, E. J. Denning, J. R. Perilla, T. B. Woolf"
    creator = header.create_group("creator")
    creator.attrs["name"] = "mpiflow examples/adk/prepare.py"
    creator.attrs["version"] = "1"
    header.create_group("modules/units").attrs["version"] = np.array([1, 0], np.int32)


def write_particles(group: h5py.Group, universe) -> None:
    """Write positions [Angstrom] with their steps and times [ps], masses [u], and that there is no periodic box."""
    box = group.create_group("box")
    box.attrs["dimension"] = 3
    box.attrs["boundary"] = ["none"] * 3
    position = group.create_group("position")
    frames = universe.trajectory.timeseries(order="fac")
    value = position.create_dataset("value", data=frames, chunks=(FRAMES_PER_CHUNK, *frames.shape[1:]))
    value.attrs["unit"] = "Angstrom"
    time = np.array([frame.time for frame in universe.trajectory])
    position["step"] = np.rint(time / universe.trajectory.dt).astype(np.int64) * universe.trajectory.skip_timestep
    position["time"] = time
    position["time"].attrs["unit"] = "ps"
    group["mass"] = universe.atoms.masses
    group["mass"].attrs["unit"] = "u"


def write_parameters(group: h5py.Group, universe) -> None:
    """Write which atoms are the C-alphas (int64 indices from 0), and the numbers of their residues in the sequence."""
    calpha = universe.select_atoms("name CA")
    group["calpha"] = calpha.indices.astype(np.int64)
    group["residue"] = calpha.resids.astype(np.int64)


if __name__ == "__main__":
    print(prepare(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT))

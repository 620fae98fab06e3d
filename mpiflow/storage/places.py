"""Whether a folder can take what mpiflow puts there: files, locks, HDF5."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import h5py

from mpiflow.storage.sources import reason


@dataclass(frozen=True)
class Folder:
    """What was found out of a folder.

    Attributes:
        folder: The folder, or the nearest one above that is there.
        free: Bytes that are free.
        total: Size of its file system [bytes].
        kind: Its type, as the system calls it; empty if nobody says.
        refused: Why nothing can be written there; empty if it can.
        unlocked: Why files cannot be locked there; empty if they can.
        broken: Why HDF5 files cannot be written and read there; empty if they can.
    """

    folder: Path
    free: int
    total: int
    kind: str
    refused: str = ""
    unlocked: str = ""
    broken: str = ""


def look_at(folder: Path) -> Folder:
    """Try what a folder can take; nothing is left there. Local.

    Raises:
        OSError: Nobody can say anything of it.
    """
    place = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.is_dir())
    usage = shutil.disk_usage(place)
    refused = unlocked = broken = ""
    try:
        with tempfile.TemporaryDirectory(prefix=".mpiflow-doctor-", dir=place) as inside:
            unlocked, broken = _locks(Path(inside, "lock")), _hdf5(Path(inside, "a.h5"))
    except OSError as error:
        refused = reason(error)
    return Folder(place, usage.free, usage.total, _kind(place), refused, unlocked, broken)


def hdf5_version() -> str:
    """Give the versions of h5py and of its HDF5, for people."""
    return f"h5py {h5py.version.version}, HDF5 {h5py.version.hdf5_version}"


def _locks(file: Path) -> str:
    with open(file, "wb") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return reason(error)
        os.fsync(opened.fileno())
    return ""


def _hdf5(file: Path) -> str:
    try:
        with h5py.File(file, "w", locking="best-effort") as opened:
            opened.create_dataset("x", data=[1, 2], track_times=False)
        with h5py.File(file, "r", locking="best-effort") as opened:
            return "" if opened["x"][()].tolist() == [1, 2] else "what is read is not what was written"
    except Exception as error:              # h5py raises whatever it likes
        return reason(error)


def _kind(folder: Path) -> str:
    """The type of the file system, by the longest mount point above."""
    best = ("", "")
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/mounts").read_text().splitlines():
            _, point, kind = line.split()[:3]
            if folder.is_relative_to(point) and len(point) >= len(best[0]):
                best = point, kind
    return best[1]

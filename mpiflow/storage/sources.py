"""Files that datasets are read from: what this rank sees of them, and their rows."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from mpiflow.catalog.entries import Complaint, SourceEntry
from mpiflow.errors import MachineError
from mpiflow.planning.sources import generator
from mpiflow.planning.tasks import Block
from mpiflow.storage.generate import generate
from mpiflow.workflow.model import Dataset
from mpiflow.workflow.reading import Workflow


def discover(workflow: Workflow, folder: Path, rank: int) -> tuple[tuple[SourceEntry, ...], tuple[Complaint, ...]]:
    """Look for the files of all datasets. Local: other ranks may see others.

    Args:
        workflow: What the user wrote.
        folder: Where relative paths start.
        rank: This rank.

    Returns:
        An entry for each file seen, and what is wrong with files that are seen but cannot be used.
    """
    entries, complaints = [], []
    for name, dataset in workflow.document.datasets.items():
        for file in _matches(dataset, folder):
            try:
                entries.append(_describe(name, dataset, file, rank))
            except MachineError as error:
                key = "path" if "no array" in str(error) else "file"
                line, column = workflow.located.marks["datasets", name, key]
                complaints.append(Complaint(workflow.located.file, line, column, str(error)))
    return tuple(entries), tuple(complaints)


def _matches(dataset: Dataset, folder: Path) -> Iterator[str]:
    """Absolute paths, sorted: the order of a directory listing is chance."""
    if dataset.file is None:
        return
    pattern = os.path.abspath(folder / os.path.expanduser(dataset.file))
    if os.path.exists(pattern):
        yield pattern
    elif any(sign in dataset.file for sign in "*?["):
        yield from sorted(glob.glob(pattern))


def _describe(name: str, dataset: Dataset, file: str, rank: int) -> SourceEntry:
    try:
        stat = os.stat(file)
        shape, dtype, unit = _npy(file) if file.endswith(".npy") else _hdf5(file, dataset.path)
    except (OSError, ValueError) as error:
        raise MachineError(f"cannot read {file}: {_reason(error)}") from None
    if dtype.hasobject:
        raise MachineError(f"{file}: {dataset.path or 'the array'} holds variable-length data; only fixed-size elements are possible")
    return SourceEntry(name, file, stat.st_size, stat.st_mtime_ns, stat.st_ino, shape, dtype.str, unit, (rank,))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _npy(file: str) -> tuple[tuple[int, ...], np.dtype, str]:
    array = np.load(file, mmap_mode="r", allow_pickle=False)
    return array.shape, array.dtype, ""


def _hdf5(file: str, path: str) -> tuple[tuple[int, ...], np.dtype, str]:
    with _open(file) as opened:
        array = opened.get(path)
        if not isinstance(array, h5py.Dataset):
            found: list[str] = []
            opened.visititems(lambda name, item: found.append("/" + name) if isinstance(item, h5py.Dataset) else None)
            raise MachineError(f"no array {path!r} in {file}; it has {', '.join(found[:8]) or 'none at all'}")
        if array.dtype.names or array.shape is None:
            raise MachineError(f"{file}: {path} is no plain array of numbers")
        unit = array.attrs.get("unit", array.attrs.get("units", ""))
        return array.shape, array.dtype, unit.decode() if isinstance(unit, bytes) else str(unit)


def _open(file: str) -> h5py.File:
    return h5py.File(file, "r", locking="best-effort")


def load(workflow: Workflow, block: Block) -> np.ndarray:
    """Read or make one block of a source. Local.

    Returns:
        The rows of ``block``, in native byte order.

    Raises:
        MachineError: The file cannot be read, or is not what it was when the run was planned.
    """
    dataset = workflow.document.datasets[block.dataset]
    made = generator(dataset)
    if made:
        return generate(made[1], block.start, block.stop)
    try:
        array = _rows(dataset, block)
    except (OSError, ValueError, KeyError) as error:
        raise MachineError(f"cannot read {block.file}: {_reason(error)}") from None
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _rows(dataset: Dataset, block: Block) -> np.ndarray:
    if block.file.endswith(".npy"):
        mapped = np.load(block.file, mmap_mode="r", allow_pickle=False)
        return np.array(mapped[block.start:block.stop] if mapped.ndim else mapped)
    with _open(block.file) as opened:
        stored = opened[dataset.path]
        return stored[block.start:block.stop] if stored.shape else np.asarray(stored[()])

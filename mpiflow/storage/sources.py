"""Files that datasets are read from: what this rank sees of them, and their rows."""

from __future__ import annotations

import contextlib
import glob
import os
import tokenize
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np
from msgspec.structs import replace

from mpiflow.catalog.entries import Complaint, SourceEntry
from mpiflow.errors import MachineError, near_file
from mpiflow.planning.instances import source_of
from mpiflow.planning.sources import generator
from mpiflow.planning.tasks import Block
from mpiflow.storage import generate
from mpiflow.storage.ahead import advise, extent
from mpiflow.storage.pack import matching
from mpiflow.storage.parts import lacking
from mpiflow.workflow.model import Dataset
from mpiflow.workflow.reading import Packed, Workflow

_UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, TypeError)      # what h5py and numpy raise for a bad file
_Form = tuple[tuple[int, ...], np.dtype, str, int]      # shape, dtype, unit, rows of a chunk


class _ArrayError(MachineError):
    """The file can be read, the array that the document names cannot."""


def discover(workflow: Workflow, folder: Path, rank: int) -> tuple[tuple[SourceEntry, ...], tuple[Complaint, ...]]:
    """Look for the files of all datasets. Local: other ranks may see others.

    Args:
        workflow: What the user wrote.
        folder: Where relative paths start, but for files that came with the document.
        rank: This rank.

    Returns:
        An entry for each file seen, and what is wrong with files that are seen but cannot be used.
    """
    entries, complaints = [], []
    broken = workflow.broken_datasets()
    for name, dataset in workflow.document.datasets.items():
        packed = matching(dataset.file, workflow.inputs) if dataset.file else []
        files = () if name in broken else packed or _matches(dataset, folder)
        if not files and dataset.file:
            workflow.near[name] = partial(near_file, folder / os.path.expanduser(dataset.file))
        for file in files:
            try:
                entries.append(_describe(name, dataset, file, rank, workflow.inputs.get(file)))
            except MachineError as error:
                mark = workflow.mark(("datasets", name, "path")) if isinstance(error, _ArrayError) else None
                # Names in files and of files need not be UTF-8, which messages are.
                message = str(error).encode(errors="backslashreplace").decode()
                complaints.append(Complaint(*(mark or workflow.mark(("datasets", name, "file"))), message))
    for name, loop in workflow.loops.items():
        for variable, found in loop.found.items():
            if found.kind == "files":
                entries += _listed(source_of(name, variable), found.of, folder, rank)
    return tuple(entries), tuple(complaints)


def _listed(name: str, pattern: str, folder: Path, rank: int) -> Iterator[SourceEntry]:
    """Files that only their paths are wanted of; what cannot be looked at is not there."""
    for file in _found(pattern, folder):
        with contextlib.suppress(OSError, UnicodeEncodeError):
            file.encode()
            yield SourceEntry(name, file, *_stamp(file), (), "", "", (rank,))


def _matches(dataset: Dataset, folder: Path) -> list[str]:
    return [] if dataset.file is None else _found(dataset.file, folder)


def _found(pattern: str, folder: Path) -> list[str]:
    """Absolute paths, sorted: the order of a directory listing is chance."""
    file = os.path.expanduser(pattern)
    if os.path.exists(folder / file):
        return [os.path.abspath(folder / file)]
    return sorted(glob.glob(os.path.abspath(os.path.join(glob.escape(str(folder)), file))))


def _describe(name: str, dataset: Dataset, file: str, rank: int, packed: Packed | None) -> SourceEntry:
    try:
        file.encode()                                       # UnicodeEncodeError is a ValueError
        place = packed.place if packed else file
        stamp = packed.stamp if packed else _stamp(file)
        shape, dtype, unit, chunk = _form(place, dataset, stamp[0])
    except _UNREADABLE as error:
        raise MachineError(f"cannot read {file}: {reason(error)}") from None
    if dtype.hasobject:
        raise _ArrayError(f"{file}: {dataset.path or 'the array'} holds data of variable length; "
                          "only elements of a fixed size are possible")
    return SourceEntry(name, file, *stamp, shape, dtype.str, unit, (rank,), chunk)


def _form(file: str, dataset: Dataset, size: int) -> _Form:
    if dataset.taken_as == "bytes":
        with open(file, "rb"):                              # whether it may be read, and is no directory
            return (size,), np.dtype(np.uint8), "", 0
    return _npy_form(file) if _is_npy(file) else _hdf5_form(file, dataset.path)


def _stamp(file: str) -> tuple[int, int, int]:
    """Size, time of modification and inode: what changes when the file does."""
    status = os.stat(file)
    return status.st_size, status.st_mtime_ns, status.st_ino


def reason(error: Exception) -> str:
    """Say why a file cannot be used; h5py surrounds the system's reason with a long story."""
    if isinstance(error, BlockingIOError):
        return "it is locked: another process has it open for writing"
    if getattr(error, "errno", None):
        return os.strerror(error.errno)
    return str(error) or type(error).__name__


def _is_npy(file: str) -> bool:
    return file.lower().endswith(".npy")


def _npy(file: str) -> np.ndarray:
    """Map an array into memory; np.load would take archives and pickles for arrays too."""
    try:
        return np.lib.format.open_memmap(file, mode="r")
    except tokenize.TokenError as error:                    # numpy reads the header with Python's tokenizer
        raise ValueError(f"not a .npy file: {error}") from None


def _npy_form(file: str) -> _Form:
    array = _npy(file)
    return array.shape, array.dtype, "", 0


def _hdf5(file: str) -> h5py.File:
    return h5py.File(file, "r", locking="best-effort")


def _hdf5_form(file: str, path: str) -> _Form:
    with _hdf5(file) as opened:
        array = opened.get(path)
        if not isinstance(array, h5py.Dataset):
            raise _ArrayError(f"no array {path!r} in {file}; it has {', '.join(_first_arrays(opened)) or 'none at all'}")
        if array.dtype.names or array.dtype.subdtype or array.shape is None:
            raise _ArrayError(f"{file}: {path} is no plain array of numbers")
        if {"scale_factor", "add_offset"}.intersection(array.attrs):
            raise _ArrayError(f"{file}: {path} is packed (scale_factor, add_offset); unpack it first, or the numbers are wrong")
        if absent := lacking(array):
            raise _ArrayError(f"{file}: {path} is in parts, of which {absent} is not there")
        return array.shape, array.dtype, _unit(array), array.chunks[0] if array.chunks else 0


def _first_arrays(opened: h5py.File) -> list[str]:
    """Paths of some arrays of a file; it may have millions."""
    found: list[str] = []

    def visit(name: str | bytes, item: h5py.Group | h5py.Dataset) -> bool | None:
        if isinstance(item, h5py.Dataset):
            found.append("/" + os.fsdecode(name))
        return True if len(found) == 8 else None            # anything but None ends the visit

    opened.visititems(visit)
    return found


def _unit(array: h5py.Dataset) -> str:
    """H5MD says unit, NetCDF says units; text may be stored as bytes, and as an array of one."""
    unit = np.ravel(array.attrs.get("unit", array.attrs.get("units", "")))
    first = unit[0] if unit.size == 1 else ""
    if isinstance(first, str):                              # h5py marks what is not UTF-8 by half characters
        first = first.encode(errors="surrogateescape")
    return first.decode(errors="replace") if isinstance(first, bytes) else ""


def get_ready(workflow: Workflow, name: str) -> None:
    """Do beforehand what would take time when the first block of a dataset is loaded."""
    made = generator(workflow.document.datasets[name])
    if made:
        generate.get_ready(made[1])


def load(workflow: Workflow, block: Block, ahead: Block | None = None) -> np.ndarray:
    """Read or make one block of a source. Local.

    Args:
        workflow: The document.
        block: What is wanted.
        ahead: What will be wanted next of the same file, if that is known.

    Returns:
        The rows of ``block``.

    Raises:
        MachineError: The file cannot be read, or is not what it was when the run was planned.
    """
    dataset = workflow.document.datasets[block.dataset]
    made = generator(dataset)
    if made:
        return generate.generate(made[1], block.start, block.stop)
    try:
        if block.file in workflow.inputs:                   # checked when it came, and nobody else knows where it is
            return _rows(dataset, replace(block, file=workflow.inputs[block.file].place), None)
        _check_stamp(block)
        rows = _rows(dataset, block, ahead)
        _check_stamp(block)                                 # or they may be of two versions
        return rows
    except _UNREADABLE as error:
        raise MachineError(f"cannot read {block.file}: {reason(error)}") from None


def _check_stamp(block: Block) -> None:
    size, modified, inode = _stamp(block.file)
    if (size, modified, inode if block.stamp[2] else 0) != block.stamp:     # copies on several disks have no common inode
        raise MachineError(f"{block.file} has changed since the run was planned")


def _npy_rows(file: str, start: int, stop: int, ahead: Block | None) -> np.ndarray:
    """Read rows, not through the map: reading from that ends the process (SIGBUS) if the file is cut meanwhile."""
    mapped = _npy(file)
    size, row = mapped.itemsize, mapped[:1].nbytes if mapped.ndim else 0
    rows = np.empty(mapped[start:stop].shape if mapped.ndim else (), mapped.dtype)
    with open(file, "rb") as opened:
        if mapped.flags.c_contiguous:
            _fill(rows, opened, mapped.offset + start * row)
            if ahead is not None:
                advise(opened.fileno(), mapped.offset + ahead.start * row, (ahead.stop - ahead.start) * row)
        else:                                               # Fortran's order: each column by itself
            column = np.empty(len(rows), mapped.dtype)
            for number, index in enumerate(np.ndindex(*reversed(mapped.shape[1:]))):
                _fill(column, opened, mapped.offset + (number * len(mapped) + start) * size)
                rows[:, *reversed(index)] = column
    return rows


def _fill(array: np.ndarray, opened: BinaryIO, offset: int) -> None:
    """Read an array from its place in a file."""
    opened.seek(offset)
    if array.nbytes and opened.readinto(array.reshape(-1).view(np.uint8)) < array.nbytes:
        raise ValueError("it is shorter than its header says")


def _bytes(file: str, start: int, stop: int) -> np.ndarray:
    found = np.empty(stop - start, np.uint8)
    with open(file, "rb") as opened:
        _fill(found, opened, start)
    return found


def untouched(block: Block) -> str | None:
    """Give the path of the file that a block is the whole of, if it is on this node and as it was. Local."""
    try:
        _check_stamp(block)
        return block.file if (block.start, block.stop) == (0, block.stamp[0]) else None
    except (OSError, MachineError):
        return None


def _rows(dataset: Dataset, block: Block, ahead: Block | None) -> np.ndarray:
    if dataset.taken_as == "bytes":
        return _bytes(block.file, block.start, block.stop)
    if _is_npy(block.file):
        return _npy_rows(block.file, block.start, block.stop, ahead)
    with _hdf5(block.file) as opened:
        stored = opened[dataset.path]
        rows = stored[block.start:block.stop] if stored.shape else np.asarray(stored[()])
        if ahead is not None:
            place = extent(stored, ahead.start, ahead.stop)
            if place is not None:
                advise(opened.id.get_vfd_handle(), *place)
        return rows

"""Files that programs read and write: values in the formats ``npy``, ``hdf5``, ``text`` and ``bytes``."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path

import h5py
import numpy as np

from mpiflow.errors import MachineError, OperationError
from mpiflow.operations.values import Value, columns
from mpiflow.storage.results import replace_file
from mpiflow.storage.sources import reason

_UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, TypeError, EOFError)      # what h5py and numpy raise for a bad file
_DIGITS = {"f": {2: "%.5g", 4: "%.9g", 8: "%.17g"}, "i": "%d", "u": "%d", "b": "%d"}


def write_file(file: Path, name: str, value: Value, format: str) -> None:
    """Write a value for a program. Local.

    Args:
        file: Where; its folder is there.
        name: The input: of an array in an HDF5 file, or of the group of a table.
        value: An array, or a table where the format has such: ``hdf5``, and ``text`` for columns of one length.
        format: One of ``npy``, ``hdf5``, ``text`` and ``bytes``.

    Raises:
        OperationError: The value has no such form.
        MachineError: The file cannot be written.
    """
    try:
        _WRITERS[format](file, name, value)
    except (OSError, RuntimeError) as error:                # h5py raises RuntimeError when a disk is full
        raise MachineError(f"cannot write {file.name} for a program: {reason(error)}") from None


def read_file(file: Path, format: str, path: str) -> np.ndarray:
    """Read what a program has written. Local.

    Args:
        file: Where.
        format: One of ``npy``, ``hdf5``, ``text``, ``bytes`` and ``size``.
        path: The array inside an HDF5 file.

    Returns:
        The array; numbers of a text are float64, in rows if there are several in a line.

    Raises:
        OperationError: The file is not there, or not what it should be.
    """
    try:
        if not file.is_file():
            others = sorted(os.listdir(file.parent)) if file.parent.is_dir() else []
            raise OperationError(f"the program ended well, but left no file {file.name!r}; there "
                                 f"{'are ' + ', '.join(others[:8]) if others else 'is none at all'}")
        return _READERS[format](file, path)
    except _UNREADABLE as error:
        raise OperationError(f"cannot read {file.name!r}, which the program has left, as {format}: {reason(error)}") from None


def keep_file(file: Path, place: Path) -> None:
    """Copy a file to a place where it is kept; it appears there when it is complete. Local.

    Raises:
        MachineError: It cannot be written.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_file(place, lambda aside: shutil.copyfile(file, aside))
    except OSError as error:
        raise MachineError(f"cannot write {place}: {os.strerror(error.errno)}") from None


def _array(file: Path, name: str, value: Value, format: str) -> np.ndarray:
    if isinstance(value, dict):
        raise OperationError(f"input {name!r} is a table ({', '.join(value)}), which {file.name!r} cannot hold as {format}; "
                             f"choose a column, or write it as hdf5")
    return value


def _write_npy(file: Path, name: str, value: Value) -> None:
    with open(file, "wb") as opened:
        np.save(opened, _array(file, name, value, "npy"), allow_pickle=False)


def _write_hdf5(file: Path, name: str, value: Value) -> None:
    with h5py.File(file, "w", locking="best-effort") as opened:
        place = opened.create_group(name, track_order=True) if isinstance(value, dict) else opened
        for column, array in columns(value):
            text = array.dtype.kind == "U"                  # HDF5 knows no fixed-width unicode text
            place.create_dataset(column or name, data=np.char.encode(array, "utf-8") if text else array, track_times=False)


def _write_text(file: Path, name: str, value: Value) -> None:
    arrays = columns(value)
    shapes = {array.shape for _, array in arrays}
    if len(shapes) > 1 or arrays[0][1].ndim > (1 if isinstance(value, dict) else 2):
        raise OperationError(f"input {name!r} of shape {', '.join(map(str, sorted(shapes)))} is no text: {file.name!r} can hold "
                             "rows of numbers, or a table with columns of one length")
    odd = next((array.dtype for _, array in arrays if array.dtype.kind not in _DIGITS), None)
    if odd is not None:
        raise OperationError(f"input {name!r} of dtype {odd} cannot be written as text")
    split = "," if file.suffix.lower() == ".csv" else " "
    if isinstance(value, dict):
        rows = zip(*(array.reshape(-1).tolist() for _, array in arrays), strict=True)
        form = split.join(_digits(array.dtype) for _, array in arrays)
        lines = ["# " + split.join(value), *(form % row for row in rows)]
    else:
        array = np.atleast_1d(value)
        form = split.join([_digits(array.dtype)] * (array.shape[1] if array.ndim == 2 else 1))
        lines = [form % (tuple(row) if array.ndim == 2 else row) for row in array.tolist()]
    file.write_text("".join(f"{line}\n" for line in lines))


def _digits(dtype: np.dtype) -> str:
    """As many as give the same number when it is read again."""
    form = _DIGITS[dtype.kind]
    return form.get(dtype.itemsize, "%.17g") if isinstance(form, dict) else form


def _write_bytes(file: Path, name: str, value: Value) -> None:
    with open(file, "wb") as opened:
        opened.write(np.ascontiguousarray(_array(file, name, value, "bytes")).reshape(-1).view(np.uint8))


def _read_npy(file: Path, path: str) -> np.ndarray:
    return np.load(file, allow_pickle=False)


def _read_hdf5(file: Path, path: str) -> np.ndarray:
    with h5py.File(file, "r", locking="best-effort") as opened:
        found = opened.get(path)
        if not isinstance(found, h5py.Dataset):
            raise ValueError(f"it has no array {path!r}")
        return np.asarray(found[()])


def _read_text(file: Path, path: str) -> np.ndarray:
    split = "," if file.suffix.lower() == ".csv" else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                     # an empty file is no rows
        rows = np.loadtxt(file, comments=["#", "@"], delimiter=split, ndmin=2)
    return rows[:, 0] if rows.shape[1] == 1 else rows


def _read_bytes(file: Path, path: str) -> np.ndarray:
    return np.fromfile(file, np.uint8)


def _read_size(file: Path, path: str) -> np.ndarray:
    return np.array(file.stat().st_size, np.int64)


_WRITERS = {"npy": _write_npy, "hdf5": _write_hdf5, "text": _write_text, "bytes": _write_bytes}
_READERS = {"npy": _read_npy, "hdf5": _read_hdf5, "text": _read_text, "bytes": _read_bytes, "size": _read_size}

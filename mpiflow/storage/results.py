"""Results as files: written aside, flushed, renamed, so that a half-written file never counts as a result."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np

from mpiflow.errors import MachineError, OperationError
from mpiflow.operations.layout import ArrayForm, Forms
from mpiflow.operations.values import Value, columns, concatenate, from_columns
from mpiflow.storage.parts import Virtual, clear_parts, lacking, refer
from mpiflow.storage.sources import reason
from mpiflow.workflow.rules import HDF5_SUFFIXES


@dataclass(frozen=True, slots=True)
class Parts:
    """A value in blocks, of which one at a time is in memory.

    Attributes:
        forms: Columns, dtypes and shapes of each block.
        blocks: Gives the blocks, in order; each time anew.
    """

    forms: Sequence[Forms]
    blocks: Callable[[], Iterable[Value]]

    def whole(self) -> Forms:
        """Give the columns, dtypes and shapes of all blocks joined along axis 0, as numpy would join them.

        Raises:
            OperationError: They cannot be joined.
        """
        return joined_forms(self.forms)


def joined_forms(parts: Sequence[Forms]) -> Forms:
    """Give the columns, dtypes and shapes of values joined along axis 0, as numpy would join them.

    Raises:
        OperationError: They cannot be joined.
    """
    whole = []
    for column in zip(*parts, strict=True):
        shapes = [form.shape or (1,) for form in column]
        if len({form.name for form in column}) > 1 or len({shape[1:] for shape in shapes}) > 1:
            raise OperationError(f"blocks cannot be joined along axis 0: {column[0].name} {sorted(set(shapes))}".rstrip())
        rows = sum(shape[0] for shape in shapes)
        whole.append(ArrayForm(column[0].name, np.result_type(*[form.dtype for form in column]), (rows, *shapes[0][1:])))
    return tuple(whole)


@dataclass(frozen=True, slots=True)
class Result:
    """One dataset that the user wants in a file, and what is written beside its numbers."""

    name: str
    value: Value | Parts | Virtual
    unit: str
    tags: tuple[str, ...]
    id: str
    source: str


def virtual(file: Path, name: str, parts: Sequence[tuple[Path, np.ndarray]]) -> Virtual:
    """Look what there is in the parts of a result. Local.

    Args:
        file: The file that will refer to them.
        name: What the result is called.
        parts: Each file, and its stamp when it was written.

    Raises:
        MachineError: One of them is not there, or has another size.
    """
    found = []
    for part, written in parts:
        if not part.exists() or stamp(part)[0] != written[0]:       # the name tells what is in it; clocks of nodes may differ
            raise MachineError(f"cannot write {file}: its part {part} is not there as it was written")
        found.append(result_forms(part)[name])
    return Virtual(name, [os.path.relpath(part, file.parent) for part, _ in parts], found)


def stamp(file: Path) -> np.ndarray:
    """Give size [bytes] and time of modification [ns] of a file, by which a change is noticed: int64, shape (2,).

    Raises:
        OSError: It is not there.
    """
    found = os.stat(file)
    return np.array((found.st_size, found.st_mtime_ns), np.int64)


def read_result(file: Path, name: str) -> Value:
    """Read a dataset called ``name`` from a file that ``write_results`` has made. Local.

    Texts of HDF5 files come back as bytes of UTF-8.

    Raises:
        MachineError: It cannot be read, or has no such dataset.
    """
    try:
        if file.suffix.lower() == ".npy":
            return np.load(file, allow_pickle=False)
        if file.suffix.lower() not in HDF5_SUFFIXES:
            return np.fromfile(file, np.uint8)
        with h5py.File(file, "r", locking="best-effort") as opened:
            return from_columns([(column, _whole(found)) for column, found in _arrays(opened[name])])
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise MachineError(f"cannot read {name!r} from {file}: {reason(error)}") from None


def _whole(array: h5py.Dataset) -> np.ndarray:
    if absent := lacking(array):
        raise ValueError(f"its part {absent} is not there")
    return np.asarray(array[()])


def result_forms(file: Path) -> dict[str, Forms]:
    """Give columns, dtypes and shapes of the datasets in such a file; of one without names, for any name. Local.

    Raises:
        MachineError: It cannot be read.
    """
    try:
        if file.suffix.lower() == ".npy":
            array = np.load(file, mmap_mode="r", allow_pickle=False)
            return defaultdict(lambda: (ArrayForm("", array.dtype, array.shape),))
        if file.suffix.lower() not in HDF5_SUFFIXES:
            size = file.stat().st_size
            return defaultdict(lambda: (ArrayForm("", np.dtype(np.uint8), (size,)),))
        found: dict[str, Forms] = {}

        def note(name: str, place: h5py.Group | h5py.Dataset) -> None:
            if "id" in place.attrs:
                found[name] = tuple([ArrayForm(column, array.dtype, array.shape) for column, array in _arrays(place)])

        with h5py.File(file, "r", locking="best-effort") as opened:
            opened.visititems(note)
        return found
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise MachineError(f"cannot read {file}: {reason(error)}") from None


def absent_part(file: Path) -> str:
    """Give the first part that a file refers to and that is not there; empty if all are. Local.

    Raises:
        MachineError: The file cannot be read.
    """
    try:
        with h5py.File(file, "r", locking="best-effort") as opened:
            return opened.visititems(lambda _, place: (isinstance(place, h5py.Dataset) and lacking(place)) or None) or ""
    except (OSError, RuntimeError) as error:
        raise MachineError(f"cannot read {file}: {reason(error)}") from None


def _arrays(place: h5py.Group | h5py.Dataset) -> list[tuple[str, h5py.Dataset]]:
    return [("", place)] if isinstance(place, h5py.Dataset) else list(place.items())


def write_results(file: Path, results: Sequence[Result]) -> None:
    """Write ``results`` to ``file``: HDF5, .npy, or the bytes of a one-dimensional uint8 dataset. Local.

    Raises:
        MachineError: The file cannot be written.
        OperationError: The dataset does not fit the type of the file.
    """
    suffix = file.suffix.lower()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if suffix in HDF5_SUFFIXES:
            replace_file(file, lambda aside: _hdf5(aside, results))
            clear_parts(file, [part for result in results if isinstance(result.value, Virtual) for part in result.value.files])
        elif suffix == ".npy":
            array = _one_array(file, results)
            replace_file(file, lambda aside: _npy(aside, array))
        else:
            data = _one_array(file, results)
            if data.dtype != np.uint8 or data.ndim != 1:
                raise OperationError(f"{file}: only a one-dimensional uint8 dataset (the bytes of a file) can be written "
                                     f"to a {suffix or 'plain'} file, not {data.dtype} {data.shape}; use .h5 or .npy")
            replace_file(file, lambda aside: aside.write_bytes(data))
    except (OSError, RuntimeError) as error:                # h5py raises RuntimeError when a disk is full
        raise MachineError(f"cannot write {file}: {reason(error)}") from None


def replace_file(file: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` write a file aside, flush it, and put it in the place of ``file`` when it is complete. Local.

    Raises:
        OSError: It cannot be written.
    """
    aside = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        write(aside)
        with open(aside, "rb") as written:
            os.fsync(written.fileno())
        os.replace(aside, file)
    finally:
        aside.unlink(missing_ok=True)


def _hdf5_parts(place: h5py.Group, result: Result) -> None:
    """Write block after block; all of them in memory might be too much."""
    arrays = {name: place.create_dataset(name or result.name, shape, _stored(dtype), track_times=False)
              for name, dtype, shape in result.value.whole()}
    start = 0
    for block in result.value.blocks():
        for name, array in columns(block):
            rows = np.atleast_1d(array)
            arrays[name][start:start + len(rows)] = np.char.encode(rows, "utf-8") if rows.dtype.kind == "U" else rows
        start += len(rows)


def _stored(dtype: np.dtype) -> np.dtype:
    return np.dtype(f"S{dtype.itemsize}") if dtype.kind == "U" else dtype      # a character has up to 4 bytes, here and there


def _one_array(file: Path, results: Sequence[Result]) -> np.ndarray:
    value = results[0].value
    if isinstance(value, Parts):
        value = concatenate(list(value.blocks()))
    if isinstance(value, dict):
        raise OperationError(f"{file}: {results[0].name!r} is a table ({', '.join(value)}); write it to an HDF5 file, "
                             f"or choose a column, e.g. {results[0].name}.{next(iter(value))}")
    return value


def _npy(file: Path, array: np.ndarray) -> None:
    with open(file, "wb") as opened:                        # given a real file, numpy would hide why a write fails
        np.save(SimpleNamespace(write=opened.write), array, allow_pickle=False)


def _hdf5(file: Path, results: Sequence[Result]) -> None:
    with h5py.File(file, "w", locking="best-effort") as opened:
        for result in results:
            place = opened
            cut = isinstance(result.value, (Parts, Virtual))
            if isinstance(result.value, dict) or (cut and result.value.forms[0][0].name):
                place = opened.create_group(result.name, track_order=True)
            if isinstance(result.value, Virtual):
                refer(place, result.name, result.value, joined_forms(result.value.forms))
            elif cut:
                _hdf5_parts(place, result)
            else:
                for name, array in columns(result.value):
                    _hdf5_array(place, name or result.name, array)
            opened[result.name].attrs.update(
                {"unit": result.unit, "tags": list(result.tags) or "", "id": result.id, "source": result.source})


def _hdf5_array(place: h5py.Group, name: str, array: np.ndarray) -> None:
    if array.dtype.kind == "U":                             # HDF5 knows no fixed-width unicode text
        array = np.char.encode(array, "utf-8")
    try:
        place.create_dataset(name, data=array, track_times=False)
    except (TypeError, ValueError) as error:
        raise OperationError(f"{name!r} of dtype {array.dtype} cannot be written to an HDF5 file: {error}") from None

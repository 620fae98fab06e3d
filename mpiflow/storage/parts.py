"""Results in parts: each rank writes the blocks that it has, and one file shows them all as one dataset.

That file has HDF5's virtual datasets, which refer to the parts by paths relative to itself: both can be moved together.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from mpiflow.errors import OperationError
from mpiflow.operations.layout import Forms
from mpiflow.planning.parts import FOLDER, is_part


@dataclass(frozen=True, slots=True)
class Virtual:
    """A value that is in other files, part by part.

    Attributes:
        name: What it is called there.
        files: The parts, in order, relative to the folder of the file that refers to them.
        forms: Columns, dtypes and shapes of each part.
    """

    name: str
    files: Sequence[str]
    forms: Sequence[Forms]


def refer(place: h5py.Group, name: str, value: Virtual, whole: Forms) -> None:
    """Make a virtual dataset, or one for each column; what is missing later on is read as nan, where there is such a thing.

    Args:
        place: Where, in an open file.
        name: Of a dataset; those of columns have their own.
        value: The parts.
        whole: Columns, dtypes and shapes of all of them joined, as they are stored.

    Raises:
        OperationError: HDF5 cannot read parts of such different dtypes as one.
    """
    for index, (column, dtype, shape) in enumerate(whole):
        kinds = {form[index].dtype.kind for form in value.forms}
        if len(kinds) > 1 and not kinds <= set("iuf"):
            names = ", ".join(sorted({str(form[index].dtype) for form in value.forms}))
            raise OperationError(f"{name!r}: blocks of {names} cannot be parts of one dataset; leave out 'parts'")
        layout, start = h5py.VirtualLayout(shape, dtype), 0
        for file, form in zip(value.files, value.forms, strict=True):
            part = form[index]
            if part.shape[0]:
                inside = f"{value.name}/{column}" if column else value.name
                layout[start:start + part.shape[0]] = h5py.VirtualSource(file, inside, part.shape, part.dtype)
            start += part.shape[0]
        place.create_virtual_dataset(column or name, layout, fillvalue=dtype.type(np.nan) if dtype.kind in "fc" else None)


def lacking(array: h5py.Dataset) -> str:
    """Give the first file that an array refers to and that is not there: HDF5 would read fill values. Empty if all are."""
    if not array.is_virtual:
        return ""
    folder = os.path.dirname(os.path.abspath(array.file.filename))
    files = dict.fromkeys(source.file_name for source in array.virtual_sources())
    return next((file for file in files if "%" not in file                 # a pattern, of which any number may be there
                 and not any(os.path.exists(os.path.join(start, file)) for start in (folder, "."))), "")


def clear_parts(file: Path, kept: Iterable[str] = ()) -> None:
    """Delete the parts of a result that it does not refer to, after it was written. Nothing else is touched. Local."""
    folder, names = file.with_name(file.name + FOLDER), {os.path.basename(part) for part in kept}
    with contextlib.suppress(OSError):                      # they waste room, but do no harm
        for name in sorted(os.listdir(folder)):
            if is_part(name) and name not in names:
                (folder / name).unlink(missing_ok=True)
        if not names:
            folder.rmdir()

"""Small pictures of large results: of each array in a file as many numbers as a plot or a table of it needs. Local.

A preview is plain values: ``name``, ``dtype``, ``shape``, ``unit`` and ``id`` of an array, ``kind`` and what belongs to it:

    "value"     ``value``: one number or word
    "line"      ``x``, ``low``, ``high``: least and greatest value of runs of rows; ``step``: rows apart, if not all were read
    "image"     ``rows`` of numbers: means over parts of a matrix; ``first``: of how many leading indices this is the first
    "table"     ``columns`` and ``rows``: the first rows
    "text"      ``text``: the first characters
    "picture"   ``source``: a data URI
    "none"      ``text``: why there is no preview
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mpiflow.storage.sources import reason
from mpiflow.workflow.rules import HDF5_SUFFIXES

POINTS = 500            # of a line
CELLS = (48, 96)        # rows and columns of an image
ROWS = 12               # of a table
LARGEST = 32 << 20      # bytes that are read of one array; of larger ones only every n-th row
_PICTURES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".svg": "image/svg+xml", ".gif": "image/gif"}
_PICTURE = 2 << 20      # bytes of a picture that is shown
_TEXT = 4_000           # characters of a text
MOST = 60               # datasets of a file

Preview = dict[str, Any]


def result_files(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give the files that a run wrote for its user, each with previews of the datasets in it.

    Args:
        record: See ``mpiflow.report.record``.

    Returns:
        For each its path ``file``, whether it was ``written``, and ``previews``.
    """
    tasks, folder = record["tasks"], Path(record.get("results") or "")
    found = []
    for task in tasks:
        if task["kind"] == "write" and "file" in task.get("parameters", {}):
            file, written = folder / task["parameters"]["file"], task["state"] == "done"
            made = tasks[task["needs"][0]]["step"] if task["needs"] else file.name
            found.append({"file": str(file), "written": written, "previews": previews(file, made) if written else []})
    return found


def previews(file: Path, name: str) -> list[Preview]:
    """Give a preview of each dataset in a file of results; ``name`` is that of the only one where the file has no names.

    One that cannot be read says why not.
    """
    try:
        if file.suffix.lower() in HDF5_SUFFIXES:
            with h5py.File(file, "r", locking="best-effort") as opened:
                return [_in_hdf5(opened, name) for name in list(opened)[:MOST]]
        array = np.load(file, mmap_mode="r", allow_pickle=False) if file.suffix.lower() == ".npy" else None
        return [{"name": name, **(_bytes(file) if array is None else _array(array))}]
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, EOFError) as error:     # what h5py and numpy raise
        text = error.strerror if isinstance(error, OSError) and error.strerror else reason(error)
        return [{"name": name, "kind": "none", "text": f"cannot be read here: {text}"}]


def _in_hdf5(opened: h5py.File, name: str) -> Preview:
    place = opened[name]
    about = {key: str(place.attrs[key]) for key in ("unit", "id") if key in place.attrs}
    if isinstance(place, h5py.Dataset):
        return {"name": name, **about, **_array(place)}
    return {"name": name, **about, **_table(place)}


def _table(group: h5py.Group) -> Preview:
    """The columns that are as long as the first one, side by side, and the forms of all."""
    arrays = {name: item for name, item in group.items() if isinstance(item, h5py.Dataset)}
    forms = ", ".join(f"{name} {_form(item)}" for name, item in arrays.items())
    long = {name: item for name, item in arrays.items() if item.ndim == 1}
    length = max((item.shape[0] for item in long.values()), default=0)
    shown = [name for name, item in long.items() if item.shape[0] == length]
    rows = zip(*[[_plain(one) for one in long[name][:ROWS]] for name in shown], strict=True)
    return {"dtype": "table", "shape": [length], "forms": forms, "kind": "table", "columns": shown, "rows": list(map(list, rows))}


def _form(array: h5py.Dataset) -> str:
    return f"{array.dtype} {'x'.join(map(str, array.shape)) or 'scalar'}"


def _array(array: h5py.Dataset | np.ndarray) -> Preview:
    about = {"dtype": str(array.dtype), "shape": list(array.shape)}
    if array.size == 1:
        return about | {"kind": "value", "value": _plain(np.asarray(array[()]).reshape(-1)[0])}
    if array.dtype.kind not in "biuf" or array.size == 0:
        values = [] if array.size == 0 or array.ndim != 1 else [[_plain(one)] for one in array[:ROWS]]
        return about | {"kind": "table", "columns": [""], "rows": values}
    if array.ndim == 1:
        return about | _line(array)
    return about | (_columns(array) if array.ndim == 2 and array.shape[1] <= 6 else _image(array))


def _line(array: h5py.Dataset | np.ndarray) -> Preview:
    step = max(1, math.ceil(array.size * array.dtype.itemsize / LARGEST))
    values = np.asarray(array[::step], np.float64)
    values[~np.isfinite(values)] = np.nan
    edges = np.linspace(0, len(values), min(POINTS, len(values)) + 1).astype(int)
    runs = [values[begin:end][~np.isnan(values[begin:end])] for begin, end in pairwise(edges)]
    return {"kind": "line", "step": step, "x": (edges[:-1] * step).tolist(),
            "low": [_short(run.min()) if run.size else None for run in runs],
            "high": [_short(run.max()) if run.size else None for run in runs]}


def _columns(array: h5py.Dataset | np.ndarray) -> Preview:
    rows = np.asarray(array[:ROWS]).tolist()
    return {"kind": "table", "columns": [str(number) for number in range(array.shape[1])],
            "rows": [[_plain(one) for one in row] for row in rows]}


def _image(array: h5py.Dataset | np.ndarray) -> Preview:
    first = math.prod(array.shape[:-2])
    place = (0,) * (array.ndim - 2)
    step = max(1, math.ceil(math.prod(array.shape[-2:]) * array.dtype.itemsize / LARGEST))
    values = np.asarray(array[(*place, slice(None, None, step))], np.float64)
    values[~np.isfinite(values)] = np.nan
    cuts = [np.linspace(0, num, min(most, num) + 1).astype(int) for num, most in zip(values.shape, CELLS, strict=True)]
    sums = [np.add.reduceat(np.add.reduceat(part, cuts[0][:-1], axis=0), cuts[1][:-1], axis=1)
            for part in (np.nan_to_num(values), ~np.isnan(values) * 1.0)]
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums[0] / sums[1]
    return {"kind": "image", "first": first, "rows": [[_short(one) for one in row] for row in means]}


def _bytes(file: Path) -> Preview:
    nbytes, kind = file.stat().st_size, _PICTURES.get(file.suffix.lower())
    about = {"dtype": "bytes", "shape": [nbytes]}
    if kind and nbytes <= _PICTURE:
        return about | {"kind": "picture", "source": f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"}
    with open(file, "rb") as opened:
        start = opened.read(4 * _TEXT)
    if b"\0" in start:
        return about | {"kind": "none", "text": "not a text"}
    return about | {"kind": "text", "text": start.decode("utf-8", "replace")[:_TEXT]}


def _short(number: float) -> float | None:
    """Five digits are enough for a picture."""
    return float(f"{number:.5g}") if np.isfinite(number) else None


def _plain(value: Any) -> Any:
    """A number or a text that JSON knows."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (bool, int, float, str)) else str(value)

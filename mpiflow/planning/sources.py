"""The blocks of a source: which rows of which file or generator, and who can load them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from mpiflow.catalog.entries import SourceEntry
from mpiflow.operations.units import parse_unit, same
from mpiflow.workflow.model import Arange, Dataset
from mpiflow.workflow.reading import Workflow


@dataclass(frozen=True, slots=True)
class SourceBlock:
    """One block of a source.

    Attributes:
        recipe: What, with the rows, makes its id.
        start: First row, counted in its file or generator.
        stop: The row behind its last one.
        nbytes: Its size [bytes].
        file: Path of its file; empty for a generator.
        stamp: Size, time of modification and inode of its file.
        holders: Ranks that can load it; None if any can.
        unit: Unit that the file gives, or empty.
        dtype: Dtype of its elements.
        shape: Its shape.
    """

    recipe: Any
    start: int
    stop: int
    nbytes: int
    file: str = ""
    stamp: tuple[int, ...] = ()
    holders: tuple[int, ...] | None = None
    unit: str = ""
    dtype: str = ""
    shape: tuple[int, ...] = ()


def generator(dataset: Dataset) -> tuple[str, Any] | None:
    """Give the kind and settings of a dataset that is generated; None for one read from files."""
    for kind in Dataset.SOURCES[:-1]:
        if getattr(dataset, kind) is not None:
            return kind, getattr(dataset, kind)
    return None


def generated_shape(settings: Any) -> tuple[int, ...]:
    """Give the shape of what a generator makes."""
    return (settings.stop - settings.start,) if isinstance(settings, Arange) else tuple(settings.shape)


def source_blocks(workflow: Workflow, name: str, sources: Sequence[SourceEntry]) -> list[SourceBlock]:
    """Cut dataset ``name`` into its blocks; problems are noted in ``workflow``.

    Args:
        workflow: What the user wrote.
        name: A dataset.
        sources: The files that ranks see, ordered.
    """
    dataset = workflow.document.datasets[name]
    made = generator(dataset)
    if made:
        kind, settings = made
        shape = generated_shape(settings)
        row = math.prod(shape[1:]) * np.dtype(settings.dtype).itemsize
        recipe = (kind, msgspec.to_builtins(settings))
        return [SourceBlock(recipe, start, stop, (stop - start) * row, dtype=settings.dtype, shape=(stop - start, *shape[1:]))
                for start, stop in _cut(0, shape[0], dataset.blocks)]
    files = _with_copies(dataset, [entry for entry in sources if entry.dataset == name])
    return list(_file_blocks(workflow, name, dataset, files)) if _usable(workflow, name, dataset, files) else []


def _with_copies(dataset: Dataset, files: list[SourceEntry]) -> list[SourceEntry]:
    """Take files of one name for copies of one file, on disks of several nodes, if they differ in nothing but their inodes."""
    if _is_glob(dataset.file) or len({msgspec.structs.replace(entry, inode=0, holders=()) for entry in files}) != 1:
        return files
    holders = tuple(sorted({rank for entry in files for rank in entry.holders}))
    return [msgspec.structs.replace(files[0], inode=0 if len(files) > 1 else files[0].inode, holders=holders)]


def _usable(workflow: Workflow, name: str, dataset: Dataset, files: Sequence[SourceEntry]) -> bool:
    """Check that the files of a dataset exist and fit together."""
    path = ("datasets", name, "file")
    if not files:
        what = "no rank sees a file that matches" if _is_glob(dataset.file) else "no rank sees the file"
        workflow.fail(path, f"{what} {dataset.file!r} (relative paths start at the workflow file)"
                            + workflow.near.get(name, ""))
    elif not _is_glob(dataset.file) and len(files) > 1:
        seen = "; ".join(f"ranks {', '.join(map(str, entry.holders))}: {entry.size} bytes" for entry in files)
        workflow.fail(path, f"{dataset.file!r} is not the same file on all ranks ({seen}); "
                      "give node-local parts different names and use a glob, e.g. part-*.h5")
    elif odd := next((entry for entry in files if _row(entry) != _row(files[0])), None):
        one, other = (f"{entry.file} holds {np.dtype(entry.dtype).name} {entry.shape}" for entry in (files[0], odd))
        workflow.fail(path, f"files cannot be joined: {one}, {other}")
    elif len({entry.unit for entry in files}) > 1:
        workflow.fail(path, "files have different units: " + ", ".join(sorted({entry.unit or "none" for entry in files})))
    elif files[0].unit and dataset.unit and not _same_unit(files[0].unit, dataset.unit):
        workflow.fail((*path[:2], "unit"), f"the document says {dataset.unit}, {files[0].file} says {files[0].unit}")
    elif not files[0].shape:
        if dataset.blocks > 1 or dataset.rows or len(files) > 1:
            workflow.fail(path, f"{dataset.file!r} holds a single number; it has no rows to cut or to join")
        else:
            return True
    elif short := next((entry for entry in files if dataset.rows and dataset.rows[1] > entry.shape[0]), None):
        workflow.fail((*path[:2], "rows"), f"rows: {dataset.rows} goes beyond the {short.shape[0]} rows of {short.file}")
    else:
        return True
    return False


def _row(entry: SourceEntry) -> tuple[np.dtype, int, tuple[int, ...]]:
    """What files must have in common to be joined along axis 0; they may differ in byte order."""
    return np.dtype(entry.dtype).newbyteorder("="), len(entry.shape), entry.shape[1:]


def _same_unit(one: str, other: str) -> bool:
    """Names of units may differ in case (Angstrom), symbols may not (mPa and MPa); nm is nanometer."""
    return one == other or same(parse_unit(one), parse_unit(other))


def _file_blocks(workflow: Workflow, name: str, dataset: Dataset, files: Sequence[SourceEntry]) -> Iterator[SourceBlock]:
    for entry in files:
        first, last = dataset.rows or (0, entry.shape[0] if entry.shape else 1)
        row = math.prod(entry.shape[1:]) * np.dtype(entry.dtype).itemsize
        stamp = (entry.size, entry.mtime_ns, entry.inode)
        # Several files may have one name where a pattern stands for them, and are told apart by their inodes.
        kind = "file" if dataset.taken_as == "array" else dataset.taken_as
        recipe = (kind, entry.file, dataset.path, *(stamp if _is_glob(dataset.file) else stamp[:2]))
        for start, stop in _cut(first, last, dataset.blocks):
            shape = (stop - start, *entry.shape[1:]) if entry.shape else ()
            yield SourceBlock(recipe, start, stop, (stop - start) * row, entry.file, stamp, entry.holders, entry.unit,
                              entry.dtype, shape)


def _is_glob(file: str) -> bool:
    return any(sign in file for sign in "*?[")


def _cut(first: int, last: int, blocks: int) -> list[tuple[int, int]]:
    """Cut rows into blocks whose lengths differ by one at most; never an empty block, unless there are no rows."""
    num = max(min(blocks, last - first), 1)
    edges = [first + (last - first) * i // num for i in range(num + 1)]
    return list(itertools.pairwise(edges))

"""The blocks of a source: which rows of which file or generator, and who can load them.

HDF5 files are cut where their chunks end, so that no chunk is read and decompressed by two ranks. Datasets that can be cut alike
are, whatever chunks they have, or what is computed of both had to be gathered: the chunks of the largest one count.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from mpiflow.catalog.entries import SourceEntry
from mpiflow.operations.units import parse_unit, same
from mpiflow.workflow.model import Arange, Dataset
from mpiflow.workflow.reading import Workflow

_LONGEST = 1.25         # a block may have so many times the rows of an even one, for the sake of whole chunks
_Extents = tuple[tuple[int, int], ...]                  # first row, and the one behind the last
_Chunks = Mapping[tuple[int, ...], tuple[tuple[int, int], ...]]


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


def source_blocks(workflow: Workflow, names: Iterable[str], sources: Sequence[SourceEntry]) -> dict[str, list[SourceBlock]]:
    """Cut datasets into their blocks; problems are noted in ``workflow``. Pure.

    Args:
        workflow: What the user wrote.
        names: Datasets.
        sources: The files that ranks see, ordered.

    Returns:
        The blocks of each; none if it cannot be used.
    """
    seen: dict[str, list[SourceEntry]] = {}
    for entry in sources:
        seen.setdefault(entry.dataset, []).append(entry)
    datasets = workflow.document.datasets
    files = {name: _with_copies(datasets[name], found) for name, found in seen.items() if name in datasets}
    chunks = _common_chunks(datasets, files)
    return {name: _blocks(workflow, name, files.get(name, []), chunks) for name in names}


def _blocks(workflow: Workflow, name: str, files: Sequence[SourceEntry], chunks: _Chunks) -> list[SourceBlock]:
    dataset = workflow.document.datasets[name]
    made = generator(dataset)
    if made:
        kind, settings = made
        shape = generated_shape(settings)
        row = math.prod(shape[1:]) * np.dtype(settings.dtype).itemsize
        recipe = (kind, msgspec.to_builtins(settings))
        (cut,) = _cut_all(((0, shape[0]),), dataset.blocks, chunks)
        return [SourceBlock(recipe, start, stop, (stop - start) * row, dtype=settings.dtype, shape=(stop - start, *shape[1:]))
                for start, stop in cut]
    return list(_file_blocks(dataset, files, chunks)) if _usable(workflow, name, dataset, files) else []


def _common_chunks(datasets: Mapping[str, Dataset], files: Mapping[str, Sequence[SourceEntry]]) -> _Chunks:
    """For datasets that can be cut alike, file by file, the first row and how many rows a chunk has."""
    chunks, largest = {}, {}
    for name in sorted(files):
        entries, extents = files[name], _extents(datasets[name], files[name])
        key, nbytes = _alike(extents, datasets[name].blocks), sum(_nbytes(entry) for entry in entries)
        if any(entry.chunk for entry in entries) and nbytes > largest.get(key, -1):
            chunks[key] = tuple([(first, entry.chunk) for (first, _), entry in zip(extents, entries, strict=True)])
            largest[key] = nbytes
    return chunks


def _extents(dataset: Dataset, files: Sequence[SourceEntry]) -> _Extents:
    """The rows that are wanted of each file."""
    return tuple([tuple(dataset.rows or (0, entry.shape[0] if entry.shape else 1)) for entry in files])


def _alike(extents: _Extents, blocks: int) -> tuple[int, ...]:
    """What datasets have in common that can be cut alike."""
    return blocks, *[last - first for first, last in extents]


def _nbytes(entry: SourceEntry) -> int:
    return math.prod(entry.shape) * np.dtype(entry.dtype).itemsize


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
        near = workflow.near[name]() if name in workflow.near else ""
        workflow.fail(path, f"{what} {dataset.file!r} (relative paths start at the workflow file){near}")
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


def _file_blocks(dataset: Dataset, files: Sequence[SourceEntry], chunks: _Chunks) -> Iterator[SourceBlock]:
    for entry, cut in zip(files, _cut_all(_extents(dataset, files), dataset.blocks, chunks), strict=True):
        row = math.prod(entry.shape[1:]) * np.dtype(entry.dtype).itemsize
        stamp = (entry.size, entry.mtime_ns, entry.inode)
        # Several files may have one name where a pattern stands for them, and are told apart by their inodes.
        kind = "file" if dataset.taken_as == "array" else dataset.taken_as
        recipe = (kind, entry.file, dataset.path, *(stamp if _is_glob(dataset.file) else stamp[:2]))
        for start, stop in cut:
            shape = (stop - start, *entry.shape[1:]) if entry.shape else ()
            yield SourceBlock(recipe, start, stop, (stop - start) * row, entry.file, stamp, entry.holders, entry.unit,
                              entry.dtype, shape)


def _is_glob(file: str) -> bool:
    return any(sign in file for sign in "*?[")


def _cut_all(extents: _Extents, blocks: int, chunks: _Chunks) -> list[list[tuple[int, int]]]:
    """Cut files, or a generator, into blocks, each from its first row to the one behind the last, counted in its file."""
    common = chunks.get(_alike(extents, blocks), ((0, 0),) * len(extents))
    return [[(first + start, first + stop) for start, stop in _cut(last - first, blocks, *place)]
            for (first, last), place in zip(extents, common, strict=True)]


def _cut(rows: int, blocks: int, first: int, chunk: int) -> list[tuple[int, int]]:
    """Cut rows into blocks; never an empty block, unless there are no rows.

    Args:
        rows: How many there are.
        blocks: How many blocks are wanted.
        first: Row of the file that the first one is.
        chunk: Rows of a chunk of the file; 0 if it has none.

    Returns:
        Blocks that end with chunks; if these are too uneven, or there are too few, blocks whose lengths differ by one at most.
    """
    num = max(min(blocks, rows), 1)
    if chunk:
        lowest, above = first // chunk, -(-(first + rows) // chunk)
        edges = [min(max((lowest + (above - lowest) * i // num) * chunk - first, 0), rows) for i in range(num + 1)]
        lengths = [stop - start for start, stop in itertools.pairwise(edges)]
        if min(lengths) > 0 and max(lengths) <= _LONGEST * -(-rows // num):
            return list(itertools.pairwise(edges))
    return list(itertools.pairwise([rows * i // num for i in range(num + 1)]))

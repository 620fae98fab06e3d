"""What must hold in a document beyond its types."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import PurePath

from mpiflow.errors import did_you_mean
from mpiflow.workflow.located import Located, Path
from mpiflow.workflow.model import LARGEST, Arange, Dataset, Document, Full

HDF5_SUFFIXES = (".h5", ".hdf5", ".h5md", ".nc")
_LIMITS = {"uint8": (0, 2**8), "int32": (-2**31, 2**31), "int64": (-2**63, 2**63)}      # from, and below


def check_datasets(located: Located, document: Document) -> None:
    """Report datasets without a source, or with keys that do not fit it."""
    for name, dataset in document.datasets.items():
        path = ("datasets", name)
        written = located.value["datasets"][name]
        given = [source for source in Dataset.SOURCES if source in written]
        if len(given) != 1:
            if not any((*path, source) in located.broken for source in Dataset.SOURCES):
                which = f"has {' and '.join(given)}" if given else "has none of them"
                located.report(path, f"dataset {name!r} needs exactly one of {', '.join(Dataset.SOURCES)}; it {which}", key=True)
            continue
        for key in ("path", "rows", "as"):
            if key in written and given[0] != "file":
                located.report((*path, key), f"{key!r} belongs to 'file', not to {given[0]!r}", key=True)
        if dataset.rows and dataset.rows[0] >= dataset.rows[1]:
            located.report((*path, "rows"), f"'rows' must be [start, stop] with start < stop, not {dataset.rows}")
        if dataset.file is not None:
            _check_file(located, path, dataset)
        else:
            _check_generator(located, (*path, given[0]), getattr(dataset, given[0]))


def _check_file(located: Located, path: Path, dataset: Dataset) -> None:
    suffix = PurePath(dataset.file).suffix.lower()
    if dataset.taken_as == "bytes":
        for key in ("path", "rows"):
            if getattr(dataset, key):
                located.report((*path, key), f"{key!r} does not go with 'as: bytes', the file itself", key=True)
    elif suffix in HDF5_SUFFIXES:
        if not dataset.path and (*path, "path") not in located.broken:
            located.report((*path, "file"), "an HDF5 file needs 'path', the array inside it, e.g. path: /x")
    elif suffix != ".npy":
        known = ", ".join(HDF5_SUFFIXES)
        located.report((*path, "file"), f"file type {suffix!r} is not known; known are {known} and .npy" + did_you_mean(
            suffix, (*HDF5_SUFFIXES, ".npy")))
    elif dataset.path:
        located.report((*path, "path"), "'path' belongs to an HDF5 file; a .npy file holds one array", key=True)


def _check_generator(located: Located, path: Path, settings: object) -> None:
    """Report what would only fail, or give other numbers than asked for, when it is made."""
    if settings is None:                                    # it is wrong and was reported
        return
    limits = _LIMITS.get(settings.dtype)
    if isinstance(settings, Arange):
        if settings.stop < settings.start:
            located.report((*path, "stop"), f"'stop' is below 'start': {settings.stop} < {settings.start}")
        elif limits and not _fits(settings.start, limits):
            located.report((*path, "start"), f"{settings.start} does not fit {settings.dtype}")
        elif limits and not _fits(settings.stop - 1, limits):
            located.report((*path, "stop"), f"{settings.stop} does not fit {settings.dtype}")
        return
    if math.prod(settings.shape) * 8 > LARGEST:
        located.report((*path, "shape"), f"an array of shape {settings.shape} is too large")
    if isinstance(settings, Full) and limits and not (settings.value == int(settings.value) and _fits(settings.value, limits)):
        located.report((*path, "value"), f"{settings.value} does not fit {settings.dtype}")


def _fits(value: float, limits: tuple[int, int]) -> bool:
    return limits[0] <= value < limits[1]


def check_results(located: Located, document: Document, names: Collection[str], loops: Collection[str],
                  others: Collection[str]) -> None:
    """Report results that nobody makes, and files that cannot be written.

    Args:
        located: Takes what is wrong.
        document: Whose results.
        names: Datasets and steps, the broken ones too.
        loops: Steps that have a loop.
        others: Steps that are other documents: what they have is checked when that is known.
    """
    owners: dict[PurePath, str] = {}
    files = {PurePath(file) for file in document.files.values()}
    for name, file in document.files.items():
        here, pure = ("results", name), PurePath(file)
        step = name.removesuffix(".*")
        if step.partition(".")[0] in others:
            pass
        elif step not in names and not {("steps",), ("datasets",)} & located.broken:
            located.report(here, f"no step or dataset {step!r}" + did_you_mean(step, names), key=True)
        elif step != name and step in names and step not in loops:
            located.report(here, f"{step!r} has no instances: it is no step with 'for'", key=True)
        elif step != name and pure.suffix.lower() not in HDF5_SUFFIXES:
            located.report(here, f"only an HDF5 file can hold instances one by one, not {file!r}")
        elif step != name and document.parts(name) > 1:
            located.report((*here, "parts"), "instances one by one are not written in parts", key=True)
        elif document.parts(name) > 1 and pure.suffix.lower() not in HDF5_SUFFIXES:
            located.report((*here, "parts"), f"only an HDF5 file can refer to parts, not {file!r}", key=True)
        if not pure.name or file.endswith("/"):
            located.report(here, f"{file!r} is no file name")
        elif ".." in pure.parts:
            located.report(here, "a result file may not lie above the results directory ('..')", offset=file.index(".."))
        elif pure in owners and pure.suffix.lower() not in HDF5_SUFFIXES:
            located.report(here, f"{file!r} is the file of {owners[pure]!r} too; only an HDF5 file can hold several results")
        elif files.intersection(pure.parents):
            located.report(here, f"a part of the path {file!r} is itself a result file")
        owners.setdefault(pure, name)


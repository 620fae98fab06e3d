"""``get``: a dataset out of a store, as a file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mpiflow.cli.arguments import add_json, add_store
from mpiflow.cli.stored import add_name, chosen_dataset, opened, unknown
from mpiflow.errors import LaunchError, MachineError, did_you_mean, ranges
from mpiflow.operations.values import Value, concatenate
from mpiflow.report.console import say
from mpiflow.report.stored import shape
from mpiflow.storage.contents import Contents, Dataset
from mpiflow.storage.results import Parts, Result, read_result, write_results
from mpiflow.storage.tables import write_csv
from mpiflow.workflow.rules import HDF5_SUFFIXES

HELP = "write a dataset of a store to a file: .npy, .h5 or .csv"
EPILOG = """\
examples:
  mpiflow get rmsf -o rmsf.npy                 all blocks of it, put together
  mpiflow get rmsf.mean -o mean.csv            one column of a table
  mpiflow get 'sweep[T=300,seed=2]' -o a.h5    one instance of a loop

A result is taken from its file, if that is as it was written; what is in
none, or not any more, from the blocks that were saved. exit status: 1 if it
is in neither.
"""
SUFFIXES = (".npy", *sorted(HDF5_SUFFIXES), ".csv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this verb."""
    add_name(parser)
    parser.add_argument("-o", dest="output", type=Path, required=True, metavar="FILE",
                        help="where it goes; its suffix says the form: .npy, .h5 or .csv")
    add_store(parser)
    add_json(parser)


def execute(chosen: argparse.Namespace) -> int:
    """Put the blocks together and write them aside; the file appears when it is complete.

    Raises:
        LaunchError: Nothing is called so, or there is no such form of files.
        MachineError: Not all of it is there, or it is damaged, or cannot be written.
        OperationError: It does not fit the form.
    """
    suffix = chosen.output.suffix.lower()
    if suffix not in SUFFIXES:
        raise LaunchError(f"-o {chosen.output}: cannot write {suffix or 'a file without suffix'}"
                          f"{did_you_mean(suffix, SUFFIXES) or ' (but .npy, .h5, .csv)'}")
    contents = opened(chosen.store)
    dataset, column = _meant(contents, chosen.name, chosen.workflow)
    value, origin = _value(contents, dataset, chosen.store)
    if column or suffix not in HDF5_SUFFIXES:
        value = _whole(value)
    if column:
        value = _column(dataset, value, column)
    name = f"{dataset.name}.{column}" if column else dataset.name
    result = Result(name.replace("/", "_"), value, dataset.unit, dataset.tags, dataset.id, dataset.workflow)
    if suffix == ".csv":
        write_csv(chosen.output, result.name, value)
    else:
        write_results(chosen.output, [result])
    form = shape(dataset)
    said = {"name": name, "workflow": dataset.workflow, "file": str(chosen.output), "from": origin}
    say(json.dumps(said) if chosen.json else f"{chosen.output}: {name} of {dataset.workflow}"
        + (f", {form}" if form != "?" and not column else "") + f", from {origin}")
    return 0


def _meant(contents: Contents, name: str, workflow: str | None) -> tuple[Dataset, str]:
    """The dataset, and the column of it that is wanted, if it is one only."""
    dataset = chosen_dataset(contents, name, workflow)
    if dataset is not None:
        return dataset, ""
    table, _, column = name.rpartition(".")
    dataset = chosen_dataset(contents, table, workflow) if table else None
    if dataset is None:
        raise unknown(contents, name)
    return dataset, column


def _value(contents: Contents, dataset: Dataset, store: Path) -> tuple[Value | Parts, str]:
    """The value, and where it was found: in its file, if it has one, as it is chance which blocks of it were saved besides."""
    file = contents.file(dataset)
    if file and file[1]:
        return read_result(file[0], dataset.inside), str(file[0])
    missing = contents.missing(dataset)
    if not missing:
        return contents.value(dataset), str(store)
    which = "none of its blocks was saved" if len(missing) == dataset.num else (
        f"{'block' if len(missing) == 1 else 'blocks'} {ranges(missing)} of {dataset.num} (from 0) "
        f"{'is' if len(missing) == 1 else 'are'} not there")
    why = f"; {file[0]}, where it was written to, has changed since" if file else ""
    raise MachineError(f"{dataset.name!r} is not whole in the store {store}: {which}{why}.\n"
                       "What is made faster than it is saved is not saved. Name it under 'results:' of the workflow and run\n"
                       "that with --resume: what is there is taken, the rest is made again, and it is written to a file")


def _whole(value: Value | Parts) -> Value:
    return concatenate(list(value.blocks())) if isinstance(value, Parts) else value


def _column(dataset: Dataset, value: Value, column: str) -> Value:
    if not isinstance(value, dict) or column not in value:
        known = value if isinstance(value, dict) else ()
        raise LaunchError(f"{dataset.name!r} has no column {column!r}" + (
            did_you_mean(column, known) or (f"; it has {', '.join(known)}" if known else ": it is no table")))
    return value[column]

"""What ``ls``, ``show`` and ``get`` have in common: a store, and what a name means in it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mpiflow.errors import LaunchError, did_you_mean
from mpiflow.report.console import warn
from mpiflow.storage.contents import Contents, Dataset, read_contents

_ID = re.compile("[0-9a-f]{4,32}")


def opened(store: Path) -> Contents:
    """Read a store, and say what is damaged in it; the end of a journal that somebody writes is no damage."""
    contents = read_contents(store)
    for damage in contents.found.damages:
        file, _, what = damage.partition(": ")
        if not (file in contents.found.unfinished and what.startswith("cut short")):
            warn(damage)
    return contents


def add_name(parser: argparse.ArgumentParser) -> None:
    """Add what is looked for."""
    parser.add_argument("name", metavar="NAME|ID", help="a dataset or step, an instance such as 'sweep[T=300]', or an id or its "
                                                        "beginning")
    parser.add_argument("--workflow", metavar="NAME", help="of this workflow, if several have such a dataset")


def chosen_dataset(contents: Contents, name: str, workflow: str | None) -> Dataset | None:
    """Give the dataset that is meant by a name or an id, the newest of several; None if there is none.

    Raises:
        LaunchError: Several are meant.
    """
    fitting = [dataset for dataset in contents.datasets if workflow in (None, dataset.workflow)]
    named = [dataset for dataset in fitting if dataset.name == name]
    workflows = sorted({dataset.workflow for dataset in named})
    if len(workflows) > 1:
        raise LaunchError(f"several workflows have {name!r}: {', '.join(workflows)}; choose one with --workflow")
    if named:
        return named[-1]
    meant = {dataset.id: dataset for dataset in fitting if _ID.fullmatch(name) and dataset.id.startswith(name)}
    if len(meant) > 1:
        raise LaunchError(f"several ids begin with {name}: " + ", ".join(
            f"{id[:12]} ({dataset.name})" for id, dataset in sorted(meant.items())[:8]))
    return next(iter(meant.values()), None)


def unknown(contents: Contents, name: str, others: Iterable[str] = ()) -> LaunchError:
    """Give the error that nothing is called so."""
    known = {dataset.name for dataset in contents.datasets if not dataset.instance or "[" in name}
    near = did_you_mean(name, {*known, *others})
    return LaunchError(f"no dataset {name!r} in the store{near or _some(sorted(known))}")


def _some(names: Sequence[str]) -> str:
    if not names:
        return "; nothing has been saved yet"
    return ("; it has " + ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
            + ".\nWhat is made faster than it is saved is not saved, but where 'results:' names it")

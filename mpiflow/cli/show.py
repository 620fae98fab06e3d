"""``show``: all that a store knows of one dataset, block or operation."""

from __future__ import annotations

import argparse
import json
import time

from mpiflow.cli.arguments import add_json, add_store
from mpiflow.cli.stored import add_name, chosen_dataset, opened, unknown
from mpiflow.report.console import columns, fit, say
from mpiflow.report.stored import as_values, description, operation_values, operations
from mpiflow.storage.contents import Contents, Dataset

HELP = "all that a store knows of one dataset, block or operation"
EPILOG = """\
examples:
  mpiflow show rmsf                   shape, unit, size, where it is, what it was made from
  mpiflow show 'sweep[T=300,seed=2]'  one instance of a loop
  mpiflow show 8f3a                   by the beginning of an id
  mpiflow show fluctuation --json     an operation, as JSON
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this verb."""
    add_name(parser)
    add_store(parser)
    add_json(parser)


def execute(chosen: argparse.Namespace) -> int:
    """Read the journals of the store, and print what is known.

    Raises:
        LaunchError: Nothing, or more than one thing, is called so.
        MachineError: The store is not there, or cannot be read.
    """
    contents, now = opened(chosen.store), time.time()
    dataset = chosen_dataset(contents, chosen.name, chosen.workflow) or _block(contents, chosen.name)
    if dataset is not None:
        say(json.dumps(as_values(dataset, contents), indent=1) if chosen.json
            else fit(description(dataset, contents, now, columns())))
        return 0
    found = [item for item in contents.operations if item.name == chosen.name]
    if not found:
        raise unknown(contents, chosen.name, [item.name for item in contents.operations])
    say(json.dumps(operation_values(found), indent=1) if chosen.json else operations(found, now, columns()))
    return 0


def _block(contents: Contents, id: str) -> Dataset | None:
    """A block by itself, that need not be one of a named dataset."""
    meant = [made for made in contents.found.made.values() if len(id) >= 4 and made.id.startswith(id)]
    if len(meant) != 1:
        return None
    made = meant[0]
    name = f"{made.step}[{made.instance}]" if made.instance else made.step
    return Dataset(made.workflow, f"a block of {name}", made.id, 1, blocks={0: made})

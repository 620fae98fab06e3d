"""``ls``: what a store holds, while a run goes on or after it."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence

from mpiflow.catalog.queries import NUMBERS, TEXTS, Facts, parse_query
from mpiflow.cli.arguments import add_json, add_store
from mpiflow.cli.stored import opened
from mpiflow.errors import did_you_mean
from mpiflow.report.console import columns, say, warn
from mpiflow.report.stored import as_values, facts, listing, operation_facts, operation_values, operations

HELP = "list the datasets of a store, or its operations"
EPILOG = f"""\
examples:
  mpiflow ls                                  the newest dataset of each name
  mpiflow ls 'tag:md and size>1GiB'           by tag and size
  mpiflow ls 'rm* or unit:angstrom' --all     by name or unit, older ones too
  mpiflow ls --operations 'seconds>10m'       operations that took long

a query: NAME, KEY:PATTERN, KEY<NUMBER, and, or, not, ( ); patterns know
* and ?, what has blanks stands in quotes
  texts: {', '.join(TEXTS)}
  numbers: {', '.join(NUMBERS)}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this verb."""
    parser.add_argument("query", nargs="*", metavar="QUERY", help="what to list, e.g. 'tag:md and size>1GiB' (default: all)")
    parser.add_argument("--all", action="store_true", help="older datasets of a name as well, which other parameters made, or "
                                                           "other code")
    parser.add_argument("--instances", action="store_true", help="each instance of a loop as well")
    parser.add_argument("--operations", action="store_true", help="operations instead of datasets")
    add_store(parser)
    add_json(parser)


def execute(chosen: argparse.Namespace) -> int:
    """Read the journals of the store, and print what the query fits.

    Raises:
        LaunchError: The query is none.
        MachineError: The store is not there, or cannot be read.
    """
    text = " ".join(chosen.query)
    fits, contents, now = parse_query(text), opened(chosen.store), time.time()
    if chosen.operations:
        known = contents.operations
        found = [item for item in known if fits(operation_facts(item, now))]
        say(json.dumps(operation_values(found), indent=1) if chosen.json else operations(found, now, columns()))
    else:
        known = [dataset for dataset in (contents.datasets if chosen.all else contents.newest)
                 if not dataset.instance or chosen.instances]
        found = [dataset for dataset in known if fits(facts(dataset, now))]
        say(json.dumps([as_values(dataset, contents) for dataset in found], indent=1) if chosen.json
            else listing(found, contents, now, columns()))
    if known and not found:
        _hint(text, [operation_facts(item, now) for item in known] if chosen.operations else
              [facts(item, now) for item in known])
    return 0


def _hint(text: str, known: Sequence[Facts]) -> None:
    """Say which word of a query that fits nothing may be misspelt."""
    for word in text.replace("(", " ").replace(")", " ").split():
        key, _, value = word.rpartition(":")
        there = {one for facts in known for one in facts.texts.get(key or "name", ())}
        near = did_you_mean(value, there) if value not in (*there, "and", "or", "not") else ""
        if near:
            warn(f"nothing has the {key or 'name'} {value!r}{near}")

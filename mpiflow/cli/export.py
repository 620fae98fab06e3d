"""``export``: give the record of a run in a format that other tools read."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mpiflow.cli.import_ import write
from mpiflow.errors import DocumentError, Problem
from mpiflow.report.console import say
from mpiflow.report.wfformat import to_wfformat

HELP = "give the record of a run (run --record) in WfFormat 1.5 of WfCommons"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this verb."""
    parser.add_argument("format", choices=["wfformat"], help="the format to write")
    parser.add_argument("record", type=Path, metavar="RECORD", help="what run --record has written")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="where it goes (default: printed)")


def execute(chosen: argparse.Namespace) -> int:
    """Read the record and write the instance."""
    try:
        data = chosen.record.read_bytes()
    except OSError as error:
        raise DocumentError([Problem(str(chosen.record), 0, 0, f"cannot be read: {error.strerror}")]) from None
    instance = to_wfformat(data, str(chosen.record))
    text = json.dumps(instance, indent=1, ensure_ascii=False) + "\n"
    if chosen.output is None:
        say(text.rstrip("\n"))
        return 0
    write(chosen.output, text)
    say(f"{chosen.output}: {len(instance['workflow']['specification']['tasks'])} tasks")
    return 0

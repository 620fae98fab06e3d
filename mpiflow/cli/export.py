"""``export``: give the record of a run in a format that other tools read."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mpiflow.cli.files import deliver, read_bytes
from mpiflow.report.wfformat import to_wfformat

HELP = "give the record of a run (run --record) in WfFormat 1.5 of WfCommons"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this verb."""
    parser.add_argument("format", choices=["wfformat"], help="the format to write")
    parser.add_argument("record", type=Path, metavar="RECORD", help="what run --record has written")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="where it goes (default: printed)")


def execute(chosen: argparse.Namespace) -> int:
    """Read the record and write the instance."""
    instance = to_wfformat(read_bytes(chosen.record), str(chosen.record))
    text = json.dumps(instance, indent=1, ensure_ascii=False) + "\n"
    deliver(text, chosen.output, f"{len(instance['workflow']['specification']['tasks'])} tasks")
    return 0

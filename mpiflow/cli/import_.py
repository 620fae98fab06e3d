"""``import``: make a workflow document of a workflow that another system has recorded."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from mpiflow.cli.files import deliver, read_bytes
from mpiflow.errors import LaunchError
from mpiflow.report.console import warn
from mpiflow.workflow.wfformat import read_wfformat, replaying

HELP = "make a workflow of a recorded one (WfFormat 1.5 of WfCommons), which replays it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this verb."""
    parser.add_argument("format", choices=["wfformat"], help="the format of FILE")
    parser.add_argument("file", type=Path, metavar="FILE", help="the recorded workflow (JSON)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="where the workflow goes (default: printed)")
    parser.add_argument("--time-scale", type=float, default=1.0, metavar="X", help="factor of all run times")
    parser.add_argument("--size-scale", type=float, default=1.0, metavar="X", help="factor of all sizes of files")


def execute(chosen: argparse.Namespace) -> int:
    """Read the recorded workflow and write the document."""
    for option, scale in (("--time-scale", chosen.time_scale), ("--size-scale", chosen.size_scale)):
        if not (math.isfinite(scale) and scale >= 0):
            raise LaunchError(f"{option} {scale}: must be a number of at least 0")
    recorded = read_wfformat(read_bytes(chosen.file), str(chosen.file))
    text = replaying(recorded, chosen.time_scale, chosen.size_scale)
    for warning in recorded.warnings:
        warn(f"{chosen.file}: {warning}")
    deliver(text, chosen.output, f"{len(recorded.tasks)} tasks, {len(recorded.sizes)} files")
    return 0

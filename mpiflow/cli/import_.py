"""``import``: make a workflow document of a workflow that another system has recorded."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from mpiflow.errors import DocumentError, LaunchError, Problem
from mpiflow.report.console import say, warn
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
    try:
        data = chosen.file.read_bytes()
    except OSError as error:
        raise DocumentError([Problem(str(chosen.file), 0, 0, f"cannot be read: {error.strerror}")]) from None
    recorded = read_wfformat(data, str(chosen.file))
    text = replaying(recorded, chosen.time_scale, chosen.size_scale)
    for warning in recorded.warnings:
        warn(f"{chosen.file}: {warning}")
    if chosen.output is None:
        say(text.rstrip("\n"))
        return 0
    write(chosen.output, text)
    say(f"{chosen.output}: {len(recorded.tasks)} tasks, {len(recorded.sizes)} files")
    return 0


def write(file: Path, text: str) -> None:
    """Write a text.

    Raises:
        LaunchError: It cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LaunchError(f"cannot write {file}: {error.strerror}") from None

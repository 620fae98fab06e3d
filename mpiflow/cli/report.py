"""``report``: the report of a run as one HTML file, also while the run goes on; and its trace."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import msgspec

from mpiflow.cli.arguments import add_store
from mpiflow.cli.files import read_bytes
from mpiflow.cli.runs import chosen_run, look
from mpiflow.errors import DocumentError, LaunchError, Problem
from mpiflow.report.condition import Condition
from mpiflow.report.console import say
from mpiflow.report.html import page
from mpiflow.report.trace import trace
from mpiflow.storage.accounts import Record
from mpiflow.storage.preview import result_files
from mpiflow.storage.results import replace_file

HELP = "write the report of a run as one HTML file, also while it goes on, or its trace"
EPILOG = """\
examples:
  mpiflow report                       the newest run in .mpiflow, to report.html
  mpiflow report record.json           a run that was recorded by run --record
  mpiflow report --watch -o now.html   again and again until it is over; the page in the browser follows
  mpiflow report --trace trace.json    its trace, for ui.perfetto.dev
"""
OUTPUT = Path("report.html")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this verb."""
    parser.add_argument("run", nargs="?", metavar="RUN",
                        help="a run in the store, or the beginning of its name, or its folder, or a file that run --record has "
                             "written (default: the newest run)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help=f"where the report goes (default: {OUTPUT})")
    parser.add_argument("--trace", type=Path, metavar="FILE",
                        help="write the trace, for ui.perfetto.dev; with -o the report as well")
    parser.add_argument("--watch", action="store_true", help="write it again and again until the run is over; the page follows")
    parser.add_argument("--every", type=_seconds, default=5.0, metavar="SECONDS", help="how often (default: 5)")
    add_store(parser)


def _seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"{word!r} is no time in seconds of at least 0.1")
    return seconds


def execute(chosen: argparse.Namespace) -> int:
    """Write the report, the trace, or both; with ``--watch`` until the run is over."""
    if chosen.run is not None and Path(chosen.run).is_file():
        _write(_recorded(Path(chosen.run)), chosen)
        return 0
    folder = Path(chosen.run or "").absolute()
    store, word = (folder.parents[1], folder.name) if chosen.run and folder.is_dir() else (chosen.store, chosen.run)
    run, told = chosen_run(store, word), False
    while True:
        sight = look(store, run)
        goes_on = chosen.watch and sight.condition is Condition.RUNNING
        if sight.record is not None:
            _write(sight.record, chosen, sight.condition, chosen.every if goes_on else 0.0, told)
            told = True
        elif not goes_on:
            raise LaunchError(f"of the run {run} nothing is known yet but that it has begun; --watch waits for it")
        if not goes_on:
            return 0
        time.sleep(chosen.every)


def _recorded(file: Path) -> Record:
    try:
        return msgspec.json.decode(read_bytes(file), type=Record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DocumentError([Problem(str(file), 0, 0, f"not the record of a run: {error}")]) from None


def _write(record: Record, chosen: argparse.Namespace, condition: str = "", refresh: float = 0.0, told: bool = False) -> None:
    plain: dict[str, Any] = msgspec.to_builtins(record)
    about = f"{record.name}, {len(record.tasks)} tasks"
    if chosen.trace is not None:
        _put(msgspec.json.encode(trace(plain)), chosen.trace, "" if told else f"trace of {about}")
    if chosen.trace is None or chosen.output is not None:
        content = page(plain, result_files(plain), refresh, condition).encode()
        _put(content, chosen.output or OUTPUT, "" if told else f"report of {about}")


def _put(content: bytes, file: Path, what: str) -> None:
    """Put a file in place of the one before, since a browser may be reading that; and say so the first time."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, lambda aside: aside.write_bytes(content))
    except OSError as error:
        raise LaunchError(f"cannot write {file}: {error.strerror}") from None
    if what:
        say(f"{file}: {what}")

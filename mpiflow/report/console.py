"""The one module that prints, and the one that knows who does: the lowest rank."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import msgspec

from mpiflow.errors import MpiflowError
from mpiflow.report.fitting import folded
from mpiflow.report.html import page
from mpiflow.report.record import record
from mpiflow.report.summary import failure, summary
from mpiflow.report.trace import trace
from mpiflow.storage.history import read_history, write_history
from mpiflow.storage.preview import result_files

if TYPE_CHECKING:
    from mpiflow.peer.outcome import Outcome


CLEAR = "\r\33[K"      # what puts a line in place of the last one


@dataclass(frozen=True)
class Files:
    """Where a run leaves what happened: as a record, as a report for people, as a trace; None for not at all."""

    record: Path | None = None
    report: Path | None = None
    trace: Path | None = None

    def __bool__(self) -> bool:
        return (self.record or self.report or self.trace) is not None


NOWHERE = Files()


def report_outcome(outcome: Outcome, files: Files) -> None:
    """Print the summary to standard output and a failure to standard error, and write files, on one rank."""
    if not speaks(outcome.rank):
        return
    _print(summary(outcome), sys.stdout)
    for warning in outcome.warnings:
        warn(warning)
    if outcome.failed:
        _print(f"mpiflow: error: {failure(outcome)}", sys.stderr)
    keep_outcome(outcome, files)


def keep_outcome(outcome: Outcome, files: Files) -> None:
    """Write files, and the history for the next run, on one rank; nothing is printed but what cannot be written."""
    if not speaks(outcome.rank):
        return
    if outcome.status == 0:
        _keep_history(outcome)
    if files:
        made = record(outcome)
        _leave(files.record, "record", lambda: msgspec.json.format(msgspec.json.encode(made), indent=1))
        _leave(files.report, "report", lambda: page(made, result_files(made)).encode())
        _leave(files.trace, "trace", lambda: msgspec.json.encode(trace(made)))


def _leave(file: Path | None, what: str, content: Callable[[], bytes]) -> None:
    """Write a file, if it is wanted; that this fails must not turn a run that went well into a failure."""
    if file is None:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content())
    except OSError as error:
        warn(f"cannot write the {what} {file}: {error.strerror}")
    except Exception:           # what people see of a run must not end it
        warn(f"cannot make the {what} {file}:\n{traceback.format_exc()}")


def _keep_history(outcome: Outcome) -> None:
    """Leave the history for the next run; a store that cannot be written is no reason to trouble anybody."""
    store, learned, machine = outcome.request.store, outcome.learned, outcome.machine
    mine = {(item.operation, item.code) for item in learned}
    others = tuple(item for item in read_history(store)[0] if (item.operation, item.code) not in mine)
    with contextlib.suppress(OSError):
        write_history(store, (*others, *learned), (machine.latency, machine.bandwidth))


def report_error(error: MpiflowError, rank: int, patience: float = 0.0) -> None:
    """Print what kept a run from starting to standard error, on one rank.

    The others wait ``patience`` [s]: where ranks do not end together, the launcher may end all as soon as one has ended.
    """
    if speaks(rank):
        _print(f"mpiflow: error: {error}", sys.stderr)
    else:
        time.sleep(patience)


def say(text: str, rank: int = 0) -> None:
    """Print ``text`` to standard output, on one rank."""
    if speaks(rank):
        _print(text, sys.stdout)


def columns() -> int | None:
    """Give the width of the terminal that standard output is; None if it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def fit(text: str) -> str:
    """Break lines that are wider than the terminal, if there is one."""
    width = columns()
    return text if width is None else "\n".join(part for line in text.splitlines() for part in folded(line, width))


def renew(text: str) -> None:
    """Print ``text`` in place of all that is on a terminal, or below what was printed before."""
    _print(f"\33[H\33[2J{text}" if sys.stdout.isatty() else f"{text}\n", sys.stdout)


def warn(text: str) -> None:
    """Print a warning to standard error; only where one process speaks."""
    _print(f"mpiflow: warning: {text}", sys.stderr)


def speaks(rank: int) -> bool:
    """Whether it is for this rank to say what concerns all: the lowest one that is alive, as they are numbered then."""
    return rank == 0


def note(text: str) -> None:
    """Print a line of progress to standard error; only where one process speaks."""
    _print(text, sys.__stderr__)


def show(text: str) -> None:
    """Put a line in place of the last one of a terminal, which standard error ends up at; likewise."""
    _print(f"{CLEAR}{text}", sys.__stderr__, end="")


def _print(text: str, stream: TextIO | None, end: str = "\n") -> None:
    """Print, if anybody listens: a closed pipe or a full disk must not turn a run that went well into a failure."""
    if stream is None or stream.closed:
        return
    stream.reconfigure(errors="backslashreplace")       # units and names may not be in the terminal's character set
    try:
        print(text, file=stream, end=end, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())      # or Python complains again at its exit

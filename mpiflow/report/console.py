"""The one module that prints, and the one that knows who does: the lowest rank."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from mpiflow.errors import MpiflowError
from mpiflow.report.record import record
from mpiflow.report.summary import failure, summary
from mpiflow.storage.history import read_history, write_history

if TYPE_CHECKING:
    from mpiflow.peer.outcome import Outcome


def report_outcome(outcome: Outcome, record_file: Path | None) -> None:
    """Print the summary to standard output and a failure to standard error, on one rank."""
    if outcome.rank != 0:
        return
    _print(summary(outcome), sys.stdout)
    for warning in outcome.warnings:
        warn(warning)
    if outcome.failed:
        _print(f"mpiflow: error: {failure(outcome)}", sys.stderr)
    keep_outcome(outcome, record_file)


def keep_outcome(outcome: Outcome, record_file: Path | None) -> None:
    """Write the record, and the history for the next run, on one rank; nothing is printed but that they cannot be written."""
    if outcome.rank != 0:
        return
    if outcome.status == 0:
        _keep_history(outcome)
    if record_file is not None:
        try:
            record_file.parent.mkdir(parents=True, exist_ok=True)
            record_file.write_text(json.dumps(record(outcome), indent=1))
        except OSError as error:
            warn(f"cannot write the record {record_file}: {error.strerror}")


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
    if rank == 0:
        _print(f"mpiflow: error: {error}", sys.stderr)
    else:
        time.sleep(patience)


def say(text: str, rank: int = 0) -> None:
    """Print ``text`` to standard output, on one rank."""
    if rank == 0:
        _print(text, sys.stdout)


def warn(text: str) -> None:
    """Print a warning to standard error; only where one process speaks."""
    _print(f"mpiflow: warning: {text}", sys.stderr)


def _print(text: str, stream: TextIO | None) -> None:
    """Print, if anybody listens: a closed pipe or a full disk must not turn a run that went well into a failure."""
    if stream is None or stream.closed:
        return
    stream.reconfigure(errors="backslashreplace")       # units and names may not be in the terminal's character set
    try:
        print(text, file=stream, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())      # or Python complains again at its exit

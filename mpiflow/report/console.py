"""The one module that prints, and the one that knows who does: the lowest rank."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mpiflow.errors import MpiflowError
from mpiflow.report.record import record
from mpiflow.report.summary import failure, summary

if TYPE_CHECKING:
    from mpiflow.peer.run import Outcome


def report_outcome(outcome: Outcome, rank: int, record_file: Path | None) -> None:
    """Print the summary to standard output and a failure to standard error, on one rank."""
    if rank != 0:
        return
    print(summary(outcome), flush=True)
    if outcome.catalog.failed:
        print(f"mpiflow: error: {failure(outcome)}", file=sys.stderr, flush=True)
    if record_file is not None:
        try:
            record_file.parent.mkdir(parents=True, exist_ok=True)
            record_file.write_text(json.dumps(record(outcome), indent=1))
        except OSError as error:
            print(f"mpiflow: warning: cannot write the record {record_file}: {error.strerror}", file=sys.stderr, flush=True)


def report_error(error: MpiflowError, rank: int) -> None:
    """Print what kept a run from starting to standard error, on one rank."""
    if rank == 0:
        print(f"mpiflow: error: {error}", file=sys.stderr, flush=True)


def say(text: str, rank: int = 0) -> None:
    """Print ``text`` to standard output, on one rank."""
    if rank == 0:
        print(text, flush=True)

"""``status``: how a run stands, while it goes on and after its job was killed."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from mpiflow.cli.arguments import add_json
from mpiflow.cli.runs import add_run, chosen_run, look
from mpiflow.report.condition import Condition, Sight
from mpiflow.report.console import columns, fit, renew, say
from mpiflow.report.status import status_json, status_text

HELP = "say how a run stands, from a second shell while it goes on, or after its job was killed"
EPILOG = """\
examples:
  mpiflow status                       the newest run in .mpiflow
  mpiflow status /scratch/me/.mpiflow  in another store
  mpiflow status --watch               again and again until it is over
  mpiflow status --run 20261126-04     a certain run, by the beginning of its name
  mpiflow status --json                for programs
"""
_EVERY = 2.0            # seconds between two looks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this verb."""
    parser.add_argument("store", nargs="?", type=Path, default=Path(".mpiflow"), metavar="STORE",
                        help="the store of the run (default: .mpiflow)")
    parser.add_argument("--store", dest="named", type=Path, metavar="DIR", help="the same, as other verbs have it")
    add_run(parser)
    parser.add_argument("--watch", action="store_true", help="say it again and again, until the run is over")
    add_json(parser)


def execute(chosen: argparse.Namespace) -> int:
    """Look at the files of the run, and at nothing else."""
    store = chosen.named or chosen.store
    run = chosen_run(store, chosen.run)
    while True:
        sight = look(store, run)
        (renew if chosen.watch and not chosen.json else say)(_told(sight, chosen.json))
        if not chosen.watch or sight.condition is not Condition.RUNNING:
            return 0
        time.sleep(_EVERY)


def _told(sight: Sight, as_json: bool) -> str:
    return json.dumps(status_json(sight), indent=1) if as_json else fit(status_text(sight, columns()))

"""``log``: what the tasks of a step have printed."""

from __future__ import annotations

import argparse
import json

from mpiflow.cli.arguments import add_json, add_store
from mpiflow.cli.runs import add_run, chosen_run, look
from mpiflow.report.console import say
from mpiflow.report.printed import lines_json, lines_of, lines_text
from mpiflow.storage.runs import read_lines, run_folder

HELP = "print every line that the tasks of a step have printed, on whatever rank"
EPILOG = """\
examples:
  mpiflow log fit                      a step of the newest run in .mpiflow
  mpiflow log 'sweep[T=300]'           one instance of it
  mpiflow log fit --run 20261126-04    in a certain run, by the beginning of its name

Lines that C or Fortran code prints by itself go to the terminal only: nobody
can say which task they come from.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this verb."""
    parser.add_argument("step", metavar="STEP", help="a step, or an instance of one ('sweep[T=300]')")
    add_run(parser)
    add_store(parser)
    add_json(parser)


def execute(chosen: argparse.Namespace) -> int:
    """Look at the files of the run, and at nothing else."""
    run = chosen_run(chosen.store, chosen.run)
    found = lines_of(look(chosen.store, run), chosen.step, read_lines(run_folder(chosen.store, run)))
    say(json.dumps(lines_json(found), indent=1) if chosen.json else lines_text(found, chosen.step))
    return 0

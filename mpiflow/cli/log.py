"""``log``: what the tasks of a step have printed."""

from __future__ import annotations

import argparse
import json

from mpiflow.cli.arguments import add_json, add_store
from mpiflow.cli.runs import add_run, chosen_run, look
from mpiflow.errors import LaunchError
from mpiflow.report.console import say
from mpiflow.report.printed import lines_json, lines_of, lines_on, lines_text, rank_text
from mpiflow.storage.runs import read_lines, run_folder

HELP = "print every line that the tasks of a step have printed, on whatever rank"
EPILOG = """\
examples:
  mpiflow log fit                      a step of the newest run in .mpiflow
  mpiflow log 'sweep[T=300]'           one instance of it
  mpiflow log --rank 3                 all of one rank, also what was logged there
  mpiflow log fit --run 20261126-04    in a certain run, by the beginning of its name

Lines that C or Fortran code prints by itself go to the terminal only: nobody
can say which task they come from.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this verb."""
    parser.add_argument("step", metavar="STEP", nargs="?", help="a step, or an instance of one ('sweep[T=300]')")
    parser.add_argument("--rank", type=int, metavar="N", help="all of one rank instead: what its tasks have printed, and "
                                                              "what was logged there (run --log-level)")
    add_run(parser)
    add_store(parser)
    add_json(parser)


def execute(chosen: argparse.Namespace) -> int:
    """Look at the files of the run, and at nothing else.

    Raises:
        LaunchError: There is no such run, step or rank.
    """
    if (chosen.step is None) is (chosen.rank is None):
        raise LaunchError("log takes a step, or --rank N for all of one rank")
    run = chosen_run(chosen.store, chosen.run)
    lines = read_lines(run_folder(chosen.store, run))
    if chosen.rank is None:
        found = lines_of(look(chosen.store, run), chosen.step, lines)
        text = lines_text(found, chosen.step)
    else:
        found = lines_on(chosen.rank, lines)
        text = rank_text(found)
    say(json.dumps(lines_json(found), indent=1) if chosen.json else text)
    return 0

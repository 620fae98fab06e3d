"""``why``: what a step waits for; or why it ran again, was kept, failed or never ran."""

from __future__ import annotations

import argparse
import json

from mpiflow.cli.arguments import add_json, add_store
from mpiflow.cli.runs import add_run, chosen_run, look
from mpiflow.report.console import fit, say
from mpiflow.report.why import why, why_json, why_text

HELP = "say what a step waits for now, or why it ran again, was kept, failed or never ran"
EPILOG = """\
examples:
  mpiflow why fit                      a step of the newest run in .mpiflow
  mpiflow why 'sweep[T=300]'           one instance of it
  mpiflow why results/fit.h5           a file of results
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this verb."""
    parser.add_argument("step", metavar="STEP", help="a step, an instance ('sweep[T=300]'), a dataset or a file of results")
    add_run(parser)
    add_store(parser)
    add_json(parser)


def execute(chosen: argparse.Namespace) -> int:
    """Look at the files of the run, and at nothing else."""
    found = why(look(chosen.store, chosen_run(chosen.store, chosen.run)), chosen.step)
    say(json.dumps(why_json(found), indent=1) if chosen.json else fit(why_text(found)))
    return 0

"""``python -m mpiflow``: choose the verb, turn errors into one message and an exit status."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import mpiflow
from mpiflow.cli import check, export, import_, log, pack, plan, report, run, schema, slurm, status, why
from mpiflow.errors import LaunchError, MpiflowError, did_you_mean
from mpiflow.peer import leaving
from mpiflow.peer.launch import launched_rank
from mpiflow.report.console import report_error, say

VERBS = {"run": run, "plan": plan, "check": check, "pack": pack, "schema": schema, "import": import_, "export": export,
         "report": report, "slurm": slurm, "status": status, "why": why, "log": log}
_EPILOG = """\
examples:
  mpirun -n 8 python -m mpiflow workflow.yaml                  run a workflow on 8 ranks
  mpirun -n 8 python -m mpiflow workflow.yaml --set n=1000     with another value of a parameter
  mpirun -n 4 python -m mpiflow workflow.yaml --resume         go on after a crash or a stop, on as many ranks as you like
  python -m mpiflow status                                     how the newest run stands, from a second shell or after it
  python -m mpiflow why STEP                                   what a step waits for, or why it ran again or did not
  python -m mpiflow log STEP                                   what its tasks have printed
  python -m mpiflow plan workflow.yaml -n 64                   what would run where, without MPI
  python -m mpiflow check workflow.yaml                        look for mistakes, without MPI
  python -m mpiflow slurm workflow.yaml --nodes 4 --ntasks-per-node 8 --time 1:00:00 -o job.sh
                                                               a jobscript for it
  python -m mpiflow pack workflow.yaml -o flow.mpiflow         one file with all that it needs, to run elsewhere
  python -m mpiflow schema > mpiflow.schema.json               the JSON Schema of workflows, for editors
  python -m mpiflow import wfformat FILE.json -o workflow.yaml replay a workflow that was recorded elsewhere
  python -m mpiflow report -o report.html                      the newest run as a page for a browser
  python -m mpiflow export wfformat RECORD.json -o out.json    a run in WfFormat 1.5

exit status: 0 all went well, 1 a step failed, 2 wrong input, 3 a bug of mpiflow, 75 stopped by a signal (TERM, INT, USR1): the
same command with --resume goes on
"""


class _Parser(argparse.ArgumentParser):
    """Raises instead of exiting: under mpirun every rank parses, and only one may speak."""

    def error(self, message: str) -> NoReturn:
        raise LaunchError(f"{message}\n{self.format_usage().strip()}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and give its exit status."""
    rank = launched_rank(os.environ)
    try:
        chosen = _parse(list(sys.argv[1:] if arguments is None else arguments), rank)
        return chosen.verb.execute(chosen) if chosen else 0
    except MpiflowError as error:
        report_error(error, rank, patience=1.0)
        return error.status


def command() -> NoReturn:
    """Run the command line of this process, and end it together with those of the other ranks."""
    leaving.watch_exit()
    leaving.leave(main())


def _parse(arguments: list[str], rank: int) -> argparse.Namespace | None:
    """Give the parsed arguments; None if help or version was asked for, and printed."""
    parser = _Parser(prog="python -m mpiflow", description=mpiflow.__doc__, epilog=_EPILOG,
                     formatter_class=argparse.RawDescriptionHelpFormatter, add_help=False)
    parser.add_argument("-h", "--help", action="store_true", help="show this help")
    parser.add_argument("--version", action="store_true", help="show the version")
    verbs = parser.add_subparsers(dest="word", metavar="VERB", parser_class=_Parser)
    subparsers = {}
    for name, module in VERBS.items():
        subparsers[name] = verbs.add_parser(name, help=module.HELP, description=module.HELP, add_help=False,
                                            epilog=getattr(module, "EPILOG", None),
                                            formatter_class=argparse.RawDescriptionHelpFormatter)
        subparsers[name].add_argument("-h", "--help", action="store_true", help="show this help")
        module.add_arguments(subparsers[name])
        subparsers[name].set_defaults(verb=module)
    first = arguments[0] if arguments else "--help"
    if first == "--version":
        say(f"mpiflow {mpiflow.__version__}", rank)
    elif "-h" in arguments or "--help" in (*arguments, first):
        say(subparsers.get(first, parser).format_help().rstrip(), rank)
    else:
        return parser.parse_args(_with_verb(arguments))
    return None


def _with_verb(arguments: list[str]) -> list[str]:
    """``run`` is understood when the first word is a file."""
    first = arguments[0]
    if first in VERBS:
        return arguments
    if first.startswith("-") or "." in first or "/" in first or os.path.exists(first):
        return ["run", *arguments]
    raise LaunchError(f"no verb and no file {first!r}" + did_you_mean(first, VERBS) + f" (verbs: {', '.join(VERBS)})")

"""``python -m mpiflow``: choose the verb, turn errors into one message and an exit status."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import mpiflow
from mpiflow.cli import (
    bench,
    check,
    completion,
    doctor,
    export,
    gc,
    get,
    graph,
    import_,
    log,
    ls,
    pack,
    plan,
    report,
    run,
    schema,
    show,
    slurm,
    status,
    why,
)
from mpiflow.errors import InternalError, LaunchError, MpiflowError, did_you_mean, near_file
from mpiflow.peer import leaving
from mpiflow.peer.launch import launched_rank
from mpiflow.report.console import report_error, say
from mpiflow.report.fitting import folded

VERBS = {"run": run, "plan": plan, "check": check, "graph": graph, "status": status, "why": why, "log": log, "report": report,
         "ls": ls, "show": show, "get": get, "gc": gc, "pack": pack, "schema": schema, "import": import_, "export": export,
         "slurm": slurm, "doctor": doctor, "bench": bench, "completion": completion}
_DESCRIPTION = "Runs scientific workflows on a cluster with no master. All verbs but run work without MPI."
_EPILOG = """\
examples:
  mpirun -n 8 python -m mpiflow flow.yaml             run it on 8 ranks
  mpirun -n 8 python -m mpiflow flow.yaml --set n=10  with another parameter
  mpirun -n 4 python -m mpiflow flow.yaml --resume    go on after a crash

  mpiflow check flow.yaml               look for mistakes, without MPI
  mpiflow plan flow.yaml -n 64          what would run where, without MPI
  mpiflow graph flow.yaml -o dag.svg    a picture of it
  mpiflow slurm flow.yaml --nodes 4 --ntasks-per-node 8 --time 90 -o job.sh
                                        a jobscript for it
  mpiflow pack flow.yaml -o a.mpiflow   one file with all that it needs
  mpiflow schema > mpiflow.schema.json  the JSON Schema, for editors
  mpiflow import wfformat FILE.json     a workflow that was recorded elsewhere

  mpiflow status                        how the newest run stands
  mpiflow why STEP                      what a step waits for, or why it ran
  mpiflow log STEP                      what its tasks have printed
  mpiflow report -o report.html         the newest run as a page for a browser
  mpiflow export rocrate last -o crate  a run as RO-Crate

  mpiflow ls 'tag:md and size>1GiB'     what the store holds
  mpiflow get rmsf -o rmsf.npy          a dataset out of it
  mpiflow gc --older-than 30d           delete what nobody needs any more
  mpiflow doctor                        what works here and what does not

exit status:
  0   all went well
  1   a step failed, or something is not there
  2   wrong input
  3   a bug of mpiflow
  75  stopped by a signal (TERM, INT, USR1): with --resume it goes on
"""


_CHOICE = re.compile(r"invalid choice: '(.*)' \(choose from (.*)\)")


class Help(argparse.RawDescriptionHelpFormatter):
    """Leaves lines of descriptions and examples as they are, but for those that are too long."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(part for line in text.splitlines()
                         for part in folded(indent + line, width + 2))          # two columns are left free else


class _Parser(argparse.ArgumentParser):
    """Raises instead of exiting: under mpirun every rank parses, and only one may speak."""

    def error(self, message: str) -> NoReturn:
        wrong = _CHOICE.search(message)
        near = did_you_mean(wrong[1], re.findall(r"[\w-]+", wrong[2])) if wrong else ""
        raise LaunchError(f"{message}{near}\n{self.format_usage().strip()}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and give its exit status."""
    rank = launched_rank(os.environ)
    try:
        chosen = _parse(list(sys.argv[1:] if arguments is None else arguments), rank)
        return chosen.verb.execute(chosen) if chosen else 0
    except MpiflowError as error:
        report_error(error, rank, patience=1.0)
        return error.status
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception:           # in a verb without MPI: ``run`` ends all ranks by itself
        report_error(InternalError(f"this is a bug of mpiflow\n{traceback.format_exc().rstrip()}"), rank)
        return InternalError.status


def command() -> NoReturn:
    """Run the command line of this process, and end it together with those of the other ranks."""
    leaving.watch_exit()
    leaving.leave(main())


def parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """Give the parser of the whole command line, and that of each verb."""
    parser = _Parser(prog="python -m mpiflow", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=Help,
                     add_help=False)
    parser.add_argument("-h", "--help", action="store_true", help="show this help")
    parser.add_argument("--version", action="store_true", help="show the version")
    verbs = parser.add_subparsers(dest="word", metavar="VERB", parser_class=_Parser)
    subparsers = {}
    for name, module in VERBS.items():
        subparsers[name] = verbs.add_parser(name, help=module.HELP, description=module.HELP, add_help=False,
                                            epilog=getattr(module, "EPILOG", None), formatter_class=Help)
        subparsers[name].add_argument("-h", "--help", action="store_true", help="show this help")
        module.add_arguments(subparsers[name])
        subparsers[name].set_defaults(verb=module)
    return parser, subparsers


def _parse(arguments: list[str], rank: int) -> argparse.Namespace | None:
    """Give the parsed arguments; None if help or version was asked for, and printed."""
    parser, subparsers = parsers()
    first = arguments[0] if arguments else "--help"
    if first == "--version":
        say(f"mpiflow {mpiflow.__version__}", rank)
    elif "-h" in arguments or "--help" in (*arguments, first):
        say(subparsers.get(first, parser).format_help().rstrip(), rank)
    else:
        return _understood(parser, subparsers, _with_verb(arguments))
    return None


def _understood(parser: argparse.ArgumentParser, subparsers: dict[str, argparse.ArgumentParser],
                arguments: list[str]) -> argparse.Namespace:
    """Parse; of an option that there is not, name the one that may be meant."""
    chosen, rest = parser.parse_known_args(arguments)
    if rest:
        verb = subparsers[arguments[0]]
        wrong = next((word for word in rest if word.startswith("-")), "").partition("=")[0]
        known = {option.lstrip("-"): option for option in verb._option_string_actions if option.startswith("--")}
        near = difflib.get_close_matches(wrong.lstrip("-"), sorted(known), n=1)     # without dashes, in which all are alike
        verb.error(f"unrecognized arguments: {' '.join(rest)}" + (f"; did you mean '{known[near[0]]}'?" if near else ""))
    return chosen


def _with_verb(arguments: list[str]) -> list[str]:
    """``run`` is understood when the first word is a file."""
    first = arguments[0]
    if first in VERBS:
        return arguments
    if first.startswith("-") or "." in first or "/" in first or os.path.exists(first):
        return ["run", *arguments]
    near = did_you_mean(first, VERBS) or near_file(first) or f"; the verbs are {', '.join(VERBS)}"
    raise LaunchError(f"no verb and no file {first!r}{near}")

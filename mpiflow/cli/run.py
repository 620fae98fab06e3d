"""``run``: run a workflow with all ranks."""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path

from mpiflow.cli.arguments import add_memory, add_store, add_workflow, overrides
from mpiflow.errors import DocumentError, LaunchError, MpiflowError
from mpiflow.operations.logged import LEVELS
from mpiflow.peer import leaving, watch
from mpiflow.peer.launch import PATIENCE, join_world
from mpiflow.peer.memory import return_memory
from mpiflow.peer.stopping import Stops
from mpiflow.report.console import Files, report_error, report_outcome
from mpiflow.report.live import MODES, Live

HELP = "run a workflow (the verb may be left out)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this verb."""
    add_workflow(parser)
    parser.add_argument("--results", type=Path, default=Path(), metavar="DIR", help="where results go (default: here)")
    parser.add_argument("--keep-going", action="store_true", help="when a step fails, finish what does not depend on it")
    add_store(parser)
    parser.add_argument("--no-replan", dest="replan", action="store_false",
                        help="keep to the first plan, whatever tasks turn out to need")
    parser.add_argument("--resume", action="store_true",
                        help="take from the store what earlier runs have made, and go on from there")
    parser.add_argument("--force", metavar="STEP", action="append", default=[],
                        help="with --resume or --cache: run this step again, and what depends on it; may be repeated")
    parser.add_argument("--cache", type=Path, metavar="DIR",
                        help="save blocks in DIR and take them from there, whatever workflow has made them")
    parser.add_argument("--no-save", dest="save", action="store_false",
                        help="save no blocks; with --resume or --cache, only take them")
    add_memory(parser)
    parser.add_argument("--scratch", type=Path, metavar="DIR", default=Path(tempfile.gettempdir()),
                        help="where programs run and blocks go that exceed the memory: a disk of each node "
                             "(default: $TMPDIR, or /tmp)")
    parser.add_argument("--grace", type=_seconds, default=20.0, metavar="SECONDS",
                        help="how long running tasks may go on after a signal to stop (default: 20)")
    parser.add_argument("--watch", type=_seconds, default=30.0, metavar="SECONDS",
                        help="after how long without a move each rank says what it waits for (default: 30; 0: never); "
                             "kill -USR2 asks one rank at any time")
    parser.add_argument("--unreachable", type=_seconds, default=30.0, metavar="SECONDS",
                        help="end the run when a rank has given no sign of life for so long, and its node does not answer either "
                             "(default: 30; 0: never)")
    parser.add_argument("--silence", type=_seconds, default=0.0, metavar="SECONDS",
                        help="end the run when a rank has given no sign of life for so long, for whatever reason "
                             "(default: 0: never)")
    parser.add_argument("--start", type=_seconds, default=PATIENCE, metavar="SECONDS",
                        help="how long ranks may take to find each other when MPI starts (default: %(default)g; 0: for ever)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write what happened to FILE, as a page for a browser")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write what happened to FILE, as a trace for ui.perfetto.dev")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write what happened to FILE, as JSON")
    parser.add_argument("--log-level", choices=LEVELS, default="warning", metavar="LEVEL",
                        help="what of Python's logging each rank keeps with the lines of its tasks, for 'mpiflow log': 'error', "
                             "'warning' (the default), 'info' or 'debug'; warnings and errors are printed as well")
    parser.add_argument("--progress", choices=MODES, default="auto", metavar="MODE",
                        help="how far the run has come: 'live' on a terminal, 'lines' in a log, at first after 10 s, then ever "
                             "rarer; 'auto' (the default) finds out; 'off'")


def _seconds(text: str) -> float:
    """Read a time that is not negative [s]."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no time in seconds of at least 0")
    return seconds


def execute(chosen: argparse.Namespace) -> int:
    """Run the workflow and give the exit status, the same on every rank."""
    given, resume = overrides(chosen), chosen.resume or chosen.cache is not None
    if chosen.force and not resume:
        raise LaunchError("--force is for runs that take from earlier ones, with --resume or --cache; without, every step runs")
    stops = Stops()
    stops.listen()                      # from the very beginning: a signal counts whenever it comes
    watch.listen()
    return_memory()
    comm = join_world(chosen.start)
    from mpiflow.peer import run as peer  # needs MPI, so only now

    # Operations may change the working directory.
    files = Files(*(file and file.absolute() for file in (chosen.record, chosen.report, chosen.trace)))
    request = peer.Request(chosen.workflow, given, chosen.results, chosen.keep_going, chosen.store.absolute(), chosen.replan,
                           chosen.save, resume, tuple(chosen.force), chosen.grace,
                           chosen.cache and chosen.cache.absolute(), chosen.watch, chosen.unreachable, chosen.silence,
                           chosen.memory, chosen.scratch.absolute(), bool(files), log_level=chosen.log_level)
    live = Live(request.store, chosen.progress)

    def conclude(outcome: peer.Outcome) -> None:
        live.wipe(outcome.rank)
        report_outcome(outcome, files)
        live.finish(outcome)

    def refuse(error: MpiflowError, rank: int) -> None:
        live.wipe(rank)
        report_error(error, rank)

    try:
        outcome = peer.run(comm, request, conclude, stops, live, live.before, refuse=refuse)
    except (DocumentError, LaunchError) as error:      # the same on every rank
        return error.status
    except BaseException as error:            # the other ranks would wait for this one for ever
        leaving.abort(error)
    return outcome.status

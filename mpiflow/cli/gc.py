"""``gc``: delete what of a store nobody needs any more."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mpiflow.cli.arguments import add_json, add_store
from mpiflow.errors import LaunchError
from mpiflow.report.console import say, warn
from mpiflow.report.summary import count, human_bytes
from mpiflow.storage.leftovers import Leftovers, delete, leftovers, past_runs
from mpiflow.workflow.policies import parse_seconds

HELP = "delete what of a store no workflow's last run refers to"
EPILOG = """\
examples:
  mpiflow gc --dry-run            what would go
  mpiflow gc --older-than 30d     only what is older than 30 days
  mpiflow gc --keep-last 3        keep what the last three runs of each workflow refer to

What a run that goes on uses is never deleted. If a run may be going on and
nobody knows what it uses, nothing is, and the exit status is 1.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this verb."""
    parser.add_argument("--older-than", dest="older", type=_age, default=0.0, metavar="TIME",
                        help="only what is older than this, e.g. 30d, 12h (default: whatever its age)")
    parser.add_argument("--keep-last", dest="keep", type=_count, default=1, metavar="N",
                        help="keep what the last N runs of each workflow refer to (default: 1)")
    parser.add_argument("--also", action="append", type=Path, default=[], metavar="DIR",
                        help="a store whose runs use this one as their --cache; may be repeated")
    parser.add_argument("--dead", action="append", default=[], metavar="RUN", help="this run is over, whatever it looks like")
    parser.add_argument("--dry-run", action="store_true", help="say what would be deleted, and delete nothing")
    add_store(parser)
    add_json(parser)


def execute(chosen: argparse.Namespace) -> int:
    """Find what can go, and delete it.

    Raises:
        LaunchError: The store is not there.
        MachineError: It cannot be read; or a run may be going on of which nobody knows what it uses.
    """
    if not chosen.store.is_dir():
        raise LaunchError(f"no store {chosen.store}; --store DIR says where it is")
    found = leftovers(chosen.store, past_runs(chosen.store, chosen.dead, chosen.also), chosen.keep, chosen.older)
    refused = [] if chosen.dry_run else delete(found)
    for file in refused:
        warn(f"cannot delete {file}")
    say(json.dumps(_values(found, chosen.dry_run), indent=1) if chosen.json else _text(found, chosen.dry_run))
    return int(bool(refused))


def _text(found: Leftovers, dry: bool) -> str:
    lines = [f"kept: run {run.name} of {', '.join(sorted(run.workflows)) or '?'}"
             + (f", which may be going on ({run.alive})" if run.alive else "") for run in found.kept]
    what = [count(len(found.blocks), "block"), count(len(found.journals), "journal"), count(len(found.folders), "folder of a run",
                                                                                            "folders of runs")]
    lines.append(f"{'would delete' if dry else 'deleted'}: {', '.join(what)}: {human_bytes(found.nbytes)}")
    if found.bound:
        lines.append(f"about {human_bytes(found.bound)} that nobody needs stay in journals that have other blocks")
    return "\n".join(lines)


def _values(found: Leftovers, dry: bool) -> dict[str, object]:
    def names(files: dict[Path, int]) -> dict[str, int]:
        return {str(file): size for file, size in files.items()}
    return {"dry_run": dry, "kept": [run.name for run in found.kept], "running": [run.name for run in found.kept if run.alive],
            "blocks": names(found.blocks), "journals": names(found.journals), "folders": names(found.folders),
            "nbytes": found.nbytes, "bound": found.bound}


def _age(word: str) -> float:
    try:
        return parse_seconds(word)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{word!r} is no time; write for example 30d or 12h") from None


def _count(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word!r} is no number of at least 1")
    return int(word)

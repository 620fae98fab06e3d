"""What ``status``, ``why`` and ``log`` have in common: a run in a store, looked at from outside."""

from __future__ import annotations

import argparse
import socket
import time
from pathlib import Path

from mpiflow.errors import LaunchError, did_you_mean, near_file
from mpiflow.report.condition import Sight
from mpiflow.storage.accounts import RankState
from mpiflow.storage.runs import RECORD, birth, read_record, read_states, run_folder, runs


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the run that is meant."""
    parser.add_argument("--run", metavar="ID", help="the run, or the beginning of its name (default: the newest one)")


def chosen_run(store: Path, word: str | None, over: bool = False) -> str:
    """Name the run that is meant: the newest, or the one that is called so or begins so; of those that are ``over``, if wanted.

    Raises:
        LaunchError: There is none, or there are several; the message suggests one.
        MachineError: The store cannot be read.
    """
    known = [run for run in runs(store) if not over or (run_folder(store, run) / RECORD).is_file()]
    if not known:
        raise LaunchError(f"{store} knows of no run: a run leaves something there when it has taken a second, or at its end"
                          + ("" if store.exists() else f" (there is no such folder{near_file(store)})"))
    if word is None:
        return known[-1]
    found = [word] if word in known else [run for run in known if run.startswith(word)]
    if len(found) != 1:
        what = f"several runs begin with {word}" if found else f"{store} knows of no run {word}{' that is over' if over else ''}"
        near = near_file(word) or did_you_mean(word, known)
        raise LaunchError(f"{what}{near} (the last ones: {', '.join((found or known)[-4:])})")
    return found[0]


def look(store: Path, run: str) -> Sight:
    """See how a run stands. Local.

    Raises:
        MachineError: A file cannot be read, or is damaged.
    """
    folder, host = run_folder(store, run), socket.gethostname()
    states = read_states(folder)
    alive = {name: _alive(state, host) for name, state in states.items()}
    return Sight(run, read_record(folder), states, time.time(), alive)      # who is gone has written the record before


def _alive(state: RankState, host: str) -> bool | None:
    """Whether a rank's process is still there; None if it is on another node."""
    return birth(state.pid) == state.born if state.host == host else None

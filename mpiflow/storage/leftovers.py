"""What of a store nobody needs any more: blocks, journals and folders of runs that no workflow's last runs refer to.

A run that goes on refers to all that its plan does. What it would still use and has gone all the same is made again, so that
a race costs work and never a wrong value.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from msgspec import Struct

from mpiflow.errors import MachineError
from mpiflow.storage.journal import FOLDER, SUFFIX
from mpiflow.storage.records import Begun, Ended, Made, Saved, decode_head, scan
from mpiflow.storage.runs import FOLDER as RUNS
from mpiflow.storage.runs import PLAN, PROGRESS, RECORD
from mpiflow.storage.shelf import FOLDER as BLOCKS

YOUNG = 3600.0          # seconds: a block without a record may be one whose record comes next
LOST = 7 * 86400.0      # seconds without a sign after which a process of another node counts as dead
_SILENT = 300.0         # the same for ranks that say in seconds that they are alive


class _Task(Struct):
    id: str = ""


class _Run(Struct):
    """The record of a run, or its plan while it goes on, as far as it is needed."""

    name: str = ""
    started: str = ""
    status: int | None = None
    tasks: list[_Task] = []


class _Rank(Struct):
    """How a rank stood when it last said so."""

    host: str = ""
    pid: int = 0
    time: float = 0.0
    ended: bool = False


@dataclass
class Journal:
    """One journal: who writes or wrote it, and which blocks it tells of."""

    file: Path
    run: str = ""
    host: str = ""
    pid: int = 0
    began: float = 0.0
    ended: bool = False
    made: list[Made] = field(default_factory=list)


@dataclass
class Past:
    """One run that a store knows of.

    Attributes:
        name: What it is called.
        workflows: The workflows whose run it was.
        began: When, as a time of day [s]; of two runs the later one counts.
        ids: Blocks that it refers to.
        known: Whether these are all, as its plan or its record says.
        alive: Why it may still be going on; empty if it cannot.
        folder: Its folder, if it has one.
        journals: Those that it has written.
    """

    name: str
    workflows: set[str] = field(default_factory=set)
    began: float = 0.0
    ids: set[str] = field(default_factory=set)
    known: bool = False
    alive: str = ""
    folder: Path | None = None
    journals: list[Journal] = field(default_factory=list)


@dataclass
class Leftovers:
    """What can be deleted.

    Attributes:
        kept: The runs whose blocks stay.
        blocks, journals, folders: What can go; size of each [bytes].
        bound: Blocks that nobody needs in journals that have others: they stay; their size [bytes].
    """

    kept: list[Past] = field(default_factory=list)
    blocks: dict[Path, int] = field(default_factory=dict)
    journals: dict[Path, int] = field(default_factory=dict)
    folders: dict[Path, int] = field(default_factory=dict)
    bound: int = 0

    @property
    def nbytes(self) -> int:
        """Size of all that can go [bytes]."""
        return sum(sum(part.values()) for part in (self.blocks, self.journals, self.folders))


def past_runs(store: Path, dead: Sequence[str] = (), also: Sequence[Path] = ()) -> list[Past]:
    """Give the runs that a store knows, oldest first. Local.

    Args:
        store: The store.
        dead: Runs that do not go on, whatever it looks like.
        also: Stores whose runs have this one as their cache.

    Raises:
        MachineError: It cannot be read.
    """
    runs: dict[str, Past] = {}
    try:
        for place in (*also, store):
            for folder in sorted((place / RUNS).glob("*")):
                if folder.is_dir():
                    runs[folder.name] = _from_folder(folder)
        for file in sorted((store / FOLDER).glob(f"*{SUFFIX}")):
            journal = _journal(file)
            run = runs.setdefault(journal.run, Past(journal.run))
            _add(run, journal)
    except OSError as error:
        raise MachineError(f"cannot read the store {store}: {os.strerror(error.errno)}") from None
    for name in dead:
        if name in runs:
            runs[name].alive = ""
    return sorted(runs.values(), key=lambda run: (run.began, run.name))


def leftovers(store: Path, runs: Sequence[Past], keep: int = 1, older: float = 0.0) -> Leftovers:
    """Find what can go. Local.

    Args:
        store: The store.
        runs: What it knows of runs, oldest first.
        keep: So many runs of each workflow stay, and all that they refer to.
        older: Only what is older than this can go [s].

    Raises:
        MachineError: A run may be going on of which nobody knows what it uses; or the store cannot be read.
    """
    for run in runs:
        if run.alive and not run.known:
            raise MachineError(f"run {run.name} may be going on ({run.alive}), and what it uses is not known:\n"
                               f"nothing was deleted. If it is over, say so with --dead {run.name}")
    found = Leftovers(_staying(runs, keep))
    wanted = set().union(*[run.ids for run in found.kept])
    told = {made.id for run in runs for journal in run.journals for made in journal.made}
    limit = time.time() - older
    for run in runs:
        for journal in run.journals:
            _sort_journal(found, run, journal, wanted, limit)
        if run.folder and run.folder.parent.parent == store and run not in found.kept and run.folder.stat().st_mtime < limit:
            found.folders[run.folder] = sum(file.stat().st_size for file in sorted(run.folder.rglob("*")) if file.is_file())
    for file, size, changed in _block_files(store):
        if file.name not in wanted and changed < min(limit, time.time() - (0.0 if file.name in told else YOUNG)):
            found.blocks[file] = size
    return found


def delete(found: Leftovers) -> list[str]:
    """Delete what can go: blocks first, then the journals that tell of them. Local.

    Returns:
        What could not be deleted, and why.
    """
    refused = []
    for file in (*found.blocks, *found.journals):
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            refused.append(f"{file}: {os.strerror(error.errno)}")
    for folder in found.folders:
        shutil.rmtree(folder, onerror=lambda _, file, error: refused.append(f"{file}: {error[1]}"))
    for file in found.blocks:
        with contextlib.suppress(OSError):              # others are in it
            file.parent.rmdir()
    return refused


def _staying(runs: Sequence[Past], keep: int) -> list[Past]:
    """The last runs of each workflow, and those that may go on.

    Of one without a folder nobody knows what it took from those before it, so these stay as well.
    """
    staying = [run for run in runs if run.alive]
    for workflow in sorted(set().union(*[run.workflows for run in runs])):
        own = [run for run in runs if workflow in run.workflows]
        first = len(own) - keep
        while first > 0 and not all(run.known for run in own[first:]):
            first -= 1
        staying += own[max(first, 0):]
    return [run for run in runs if any(run is other for other in staying)]


def _sort_journal(found: Leftovers, run: Past, journal: Journal, wanted: set[str], limit: float) -> None:
    useless = [made for made in journal.made if made.id not in wanted]
    status = journal.file.stat()
    if run.alive or status.st_mtime >= limit:
        return
    if len(useless) == len(journal.made):
        found.journals[journal.file] = status.st_size
    else:
        found.bound += sum(min(made.nbytes, status.st_size) for made in useless)


def _block_files(store: Path) -> Iterator[tuple[Path, int, float]]:
    """Files of blocks, and what is left of ones that were never finished: size [bytes], when last changed [s]."""
    for file in sorted((store / BLOCKS).glob("*/*")):
        with contextlib.suppress(FileNotFoundError):    # somebody has just renamed it
            status = file.stat()
            yield file, status.st_size, status.st_mtime


def _journal(file: Path) -> Journal:
    journal = Journal(file, file.name.removesuffix(SUFFIX).rpartition("-")[0])
    opened = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for _, head in scan(opened, []):
            with contextlib.suppress(msgspec.DecodeError, UnicodeError):
                _take(journal, decode_head(head))
    finally:
        os.close(opened)
    return journal


def _take(journal: Journal, said: Begun | Saved | Ended) -> None:
    if isinstance(said, Begun):
        journal.run, journal.host, journal.pid, journal.began = said.run, said.host, said.pid, said.began
    elif isinstance(said, Saved):
        journal.made.append(said.made)
    journal.ended = isinstance(said, Ended)


def _add(run: Past, journal: Journal) -> None:
    """What a journal says of its run."""
    changed = journal.file.stat().st_mtime
    run.journals.append(journal)
    run.workflows |= {made.workflow for made in journal.made}
    run.began = max(run.began, journal.began or changed)
    run.ids |= {made.id for made in journal.made}
    if not journal.ended and not (run.known and not run.alive):
        run.alive = run.alive or _living(journal.host, journal.pid, changed, LOST)


def _from_folder(folder: Path) -> Past:
    """What the folder of a run says: the newest of its files that can be read."""
    run = Past(folder.name, folder=folder, began=folder.stat().st_mtime)
    for name in (RECORD, PROGRESS, PLAN):
        with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
            said = msgspec.json.decode((folder / name).read_bytes(), type=_Run)
            run.workflows, run.ids, run.known = {said.name}, {task.id for task in said.tasks}, True
            run.alive = _ranks(folder) if said.status is None else ""
            return run
    run.alive = _ranks(folder)
    return run


def _ranks(folder: Path) -> str:
    """Why a rank of a run may be alive."""
    for file in sorted(folder.glob("rank-*.json")):
        with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
            rank = msgspec.json.decode(file.read_bytes(), type=_Rank)
            why = "" if rank.ended else _living(rank.host, rank.pid, rank.time, _SILENT)
            if why:
                return why
    return ""


def _living(host: str, pid: int, heard: float, patience: float) -> str:
    """Why a process may be alive: it is there; or it is on another node, and was heard of not long ago."""
    if host == socket.gethostname() and pid:
        return f"process {pid} on this node" if Path("/proc", str(pid)).exists() else ""
    return f"process {pid} on node {host or '?'}" if time.time() - heard < patience else ""

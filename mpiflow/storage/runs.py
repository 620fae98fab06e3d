"""The folder that each run has in its store: what was planned, how each rank stands, what tasks have printed, what came of it.

    runs/<run>/plan.json        what was planned, when the run had taken a second (again after a death)
    runs/<run>/progress.json    what was known on some rank while it went on; seldom enough to cost nothing
    runs/<run>/record.json      what happened, at the end: what ``--record`` writes
    runs/<run>/rank-N.json      how rank N stood last; N is its number at the start of the run
    runs/<run>/rank-N.lines     what tasks on it have printed, a JSON object a line

All of them appear whole (written aside, renamed), but for the lines, which are appended. The first three have one form,
``Record``; what is not known yet has its default. A run that takes less than a second leaves ``record.json`` only, and lines.
Reading needs no MPI, no run that is still going on, and none that has ended well.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from mpiflow.errors import DamagedError, MachineError
from mpiflow.storage.accounts import Line, RankState, Record

FOLDER = "runs"
PLAN, PROGRESS, RECORD = "plan.json", "progress.json", "record.json"
_STATE = re.compile(r"rank-(\d+)\.json")
_LINES = re.compile(r"rank-(\d+)\.lines")


# Writing

def run_folder(store: Path, run: str) -> Path:
    """Give the folder of a run."""
    return store / FOLDER / run


def state_file(name: int) -> str:
    """Call the file of the state of the rank that is ``name``."""
    return f"rank-{name}.json"


def lines_file(name: int) -> str:
    """Call the file of the lines that were printed on it."""
    return f"rank-{name}.lines"


def write_whole(folder: Path, file: str, what: Any) -> None:
    """Put ``what`` into a file of a run, as JSON, in place of what was there. Local.

    It is not flushed: what a node that crashes takes with it is not worth waiting for the disk.

    Raises:
        OSError: It cannot be written; what was there is still there.
    """
    aside = folder / f".{file}.{os.urandom(4).hex()}"
    try:
        try:
            aside.write_bytes(msgspec.json.encode(what))
        except FileNotFoundError:
            folder.mkdir(parents=True, exist_ok=True)
            aside.write_bytes(msgspec.json.encode(what))
        os.replace(aside, folder / file)
    except OSError:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise


def birth(pid: int, processes: Path = Path("/proc")) -> int:
    """Say when a process of this node was started, in clock ticks since the node was; 0 if it is over. Local."""
    try:
        fields = (processes / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
        return int(fields[19]) if fields[0] not in (b"Z", b"X") else 0
    except (OSError, ValueError, IndexError):
        return 0


# Reading

def runs(store: Path) -> list[str]:
    """Name the runs that a store knows, oldest first. Local.

    Raises:
        MachineError: The store cannot be read.
    """
    try:
        return [name for name in sorted(os.listdir(store / FOLDER)) if (store / FOLDER / name).is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise MachineError(f"cannot read the store {store}: {os.strerror(error.errno)}") from None


def read_record(folder: Path) -> Record | None:
    """Give the newest that is known of a run; None if nothing is yet. ``status`` says whether it is over. Local.

    Raises:
        DamagedError: A file is there, but is none of ours.
        MachineError: It cannot be read.
    """
    for file in (RECORD, PROGRESS, PLAN):
        found = _read(folder / file, Record)
        if found is not None:
            return found
    return None


def read_states(folder: Path) -> dict[int, RankState]:
    """Give how each rank stood last, by its number at first; of those that are to be seen from here. Local.

    Raises:
        DamagedError: A file is there, but is none of ours.
        MachineError: It cannot be read.
    """
    states = {name: _read(folder / file, RankState) for name, file in _numbered(folder, _STATE)}
    return {name: state for name, state in states.items() if state is not None}


def read_lines(folder: Path) -> Iterator[tuple[int, Line]]:
    """Give all lines that tasks have printed, with the rank's number at first; in their order on each rank. Local.

    What is cut off at the end of a file, or damaged, is left out.

    Raises:
        MachineError: A file cannot be read.
    """
    decode = msgspec.json.Decoder(Line).decode
    for name, file in _numbered(folder, _LINES):
        try:
            with open(folder / file, "rb") as opened:
                for line in opened:
                    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                        yield name, decode(line)
        except OSError as error:
            raise MachineError(f"cannot read {folder / file}: {os.strerror(error.errno)}") from None


def _numbered(folder: Path, pattern: re.Pattern[str]) -> list[tuple[int, str]]:
    try:
        matches = [pattern.fullmatch(file) for file in sorted(os.listdir(folder))]
    except OSError:
        return []
    return sorted((int(match[1]), match[0]) for match in matches if match)


def _read(file: Path, kind: type) -> Any:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MachineError(f"cannot read {file}: {os.strerror(error.errno)}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DamagedError(f"{file}: {error}") from None

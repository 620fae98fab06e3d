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
from msgspec import Struct

from mpiflow.errors import DamagedError, MachineError

FOLDER = "runs"
PLAN, PROGRESS, RECORD = "plan.json", "progress.json", "record.json"
_STATE = re.compile(r"rank-(\d+)\.json")
_LINES = re.compile(r"rank-(\d+)\.lines")


class TaskRecord(Struct, frozen=True, gc=False):
    """One task: what it is, what was planned, and what is known of how it went.

    Attributes:
        task: Its number in the graph, which is its place in ``Record.tasks``.
        id: Hash of its recipe.
        kind: "load", "apply", "combine", "finish", "write", "write part", "restore", "kept" or "gone".
        step: Dataset, step or result file that it belongs to.
        instance: Which instance of the step: "T=300,seed=2"; empty if the step has no loop.
        operation: Name of the operation; empty for those that load and write.
        needs: Numbers of the tasks whose blocks it reads.
        planned_rank: Where it was to run.
        planned_start: When, since tasks began to run [s].
        planned_seconds: For how long [s].
        planned_nbytes: Size of its block, as it was expected [bytes].
        rank: Where it runs or ran; -1 before.
        state: "planned", "running", "done", "failed", "cancelled" or "skipped".
        start: When it started, since tasks began to run [s].
        seconds: How long it ran [s].
        nbytes: Size of its block [bytes].
        error: Why it failed: the traceback.
        parameters: Its plain arguments.
        columns: Sizes of the arrays that it made [bytes]; that of a plain one has no name.
        file: Where from, if it loads.
    """

    task: int
    id: str = ""
    kind: str = "apply"
    step: str = ""
    instance: str = ""
    operation: str = ""
    needs: tuple[int, ...] = ()
    planned_rank: int = -1
    planned_start: float = 0.0
    planned_seconds: float = 0.0
    planned_nbytes: int = 0
    rank: int = -1
    state: str = "planned"
    start: float = 0.0
    seconds: float = 0.0
    nbytes: int = 0
    error: str = ""
    parameters: dict[str, Any] = {}
    columns: dict[str, int] = {}
    file: str = ""

    @property
    def name(self) -> str:
        """Step and instance, as people know it: sweep[T=300,seed=2]."""
        return f"{self.step}[{self.instance}]" if self.instance else self.step


class DatasetRecord(Struct, frozen=True):
    """One named dataset: id, the tasks that make its blocks, unit and tags."""

    id: str = ""
    tasks: tuple[int, ...] = ()
    unit: str = ""
    tags: tuple[str, ...] = ()


class MachineRecord(Struct, frozen=True):
    """What was planned for: latencies [s] and bandwidths [bytes/s] within and between nodes."""

    latency: tuple[float, float] = (0.0, 0.0)
    bandwidth: tuple[float, float] = (0.0, 0.0)


class Record(Struct, frozen=True):
    """What is known of a run: before its end, and at its end.

    Attributes:
        name: Name of the workflow.
        run: Name of the run: runs sort by it in order of time.
        mpiflow: Version.
        document: The workflow document, as it was given.
        results: The folder of its results.
        started: When the run started, in ISO 8601; ``seconds`` and ``preparation`` count from about then.
        status: Exit status; None as long as the run has not come to its end.
        hosts: Node of each rank, as they are numbered now.
        names: What each of these ranks was called at first: the N of its files.
        seconds: How long tasks have been running [s].
        preparation: How long reading and planning took [s].
        rounds: When tasks began to run, at first and again after each death, in ISO 8601; starts of tasks count from the last.
        predicted_seconds, predicted_bytes: Makespan [s] and traffic [bytes] of the plan.
        plan: Digest of the plan.
        num_plans: How many plans there were.
        spilled, read_again: Written to scratch files, and read from them or from sources once more [bytes].
        scratch: The most that each rank's scratch file took [bytes].
        peak_memory: The most memory that each rank's process had [bytes]; only at the end.
        memory: What each has now [bytes], as far as it is known.
        epochs: Version of the catalog.
        catalog: Its digest.
        stopped_by: Ranks that were asked to stop before the end.
        reasons: Why each step ran, or that it is kept; empty if the run took nothing from earlier work.
        turns: How many turns repeated steps have had.
        source: What was run, by which code, and where results went.
        tasks: All tasks, in order of their numbers.
        moved: For each link (source rank, destination rank, blocks, bytes).
        datasets: By name.
        planned_moved: What the plan expected of each link (source rank, destination rank, blocks, bytes).
        transfers: Of runs that note it, each block that came: (its task, source rank, destination rank, when it left, when it was
            there [s]), in order of arrival.
        samples: Likewise for each rank, times [s] and the memory of its process then [bytes].
        digest: Hash of the document's text and the parameters; only at the end, like what follows.
        overrides: Parameters given on the command line.
        documents: Texts of the workflow and of what it was composed of, by their names.
        operations: Hash of the code of each operation that was used.
        versions: Of what ran.
        command: Arguments on the command line.
    """

    name: str
    started: str
    hosts: tuple[str, ...]
    tasks: tuple[TaskRecord, ...]
    run: str = ""
    mpiflow: str = ""
    document: str = ""
    results: str = ""
    status: int | None = None
    names: tuple[int, ...] = ()
    seconds: float = 0.0
    preparation: float = 0.0
    warnings: tuple[str, ...] = ()
    rounds: tuple[str, ...] = ()
    predicted_seconds: float = 0.0
    predicted_bytes: int = 0
    plan: str = ""
    num_plans: int = 1
    spilled: int = 0
    read_again: int = 0
    scratch: tuple[int, ...] = ()
    peak_memory: tuple[int, ...] = ()
    memory: tuple[int, ...] = ()
    machine: MachineRecord = MachineRecord()
    catalog: str = ""
    epochs: int = 0
    stopped_by: tuple[int, ...] = ()
    reasons: dict[str, str] = {}
    turns: dict[str, int] = {}
    source: dict[str, Any] = {}
    moved: tuple[tuple[int, int, int, int], ...] = ()
    datasets: dict[str, DatasetRecord] = {}
    planned_moved: tuple[tuple[int, int, int, int], ...] = ()
    transfers: tuple[tuple[int, int, int, float, float], ...] = ()
    samples: tuple[tuple[tuple[float, int], ...], ...] = ()
    digest: str = ""
    overrides: dict[str, str] = {}
    documents: dict[str, str] = {}
    operations: dict[str, str] = {}
    versions: dict[str, str] = {}
    command: tuple[str, ...] = ()


class Waited(Struct, frozen=True):
    """A block that a rank waits for: the task that makes it and its name, the rank that it comes from, the state of that task."""

    task: int
    name: str
    source: int
    state: str


class RankState(Struct, frozen=True):
    """How one rank stood when it last said so.

    Attributes:
        run: Name of the run.
        name: The rank's number at first.
        rank: Its number now: another one after a death.
        host: Its node.
        pid: Its process,
        born: and when that was started, in clock ticks since its node was: both together name it.
        time: When this was written, as a time of day [s].
        period: After how many seconds it says so again.
        ended: Whether the rank has come to the end of the run.
        num_tasks: Tasks that are placed on it now; with those that it has run.
        num_done, num_failed: How many of them are done and have failed.
        running: The task that runs; None if none does,
        doing: and its name.
        since: When that started, as a time of day [s].
        waiting: Blocks that it waits for, the first of them; only while nothing runs.
        num_waiting: How many there are.
        sent, received: Bytes sent, and blocks received.
        memory: What its process takes [bytes].
        epochs: Version of its catalog.
        workflow: Name of the workflow.
        seconds: How long tasks have been running [s].
        size: Number of ranks.
        all_tasks: Tasks of all ranks,
        all_done: how many of them are done, as it knows,
        all_failed: and have failed.
    """

    run: str
    name: int
    rank: int
    host: str
    pid: int
    born: int
    time: float
    period: float = 1.0
    ended: bool = False
    num_tasks: int = 0
    num_done: int = 0
    num_failed: int = 0
    running: int | None = None
    doing: str = ""
    since: float = 0.0
    waiting: tuple[Waited, ...] = ()
    num_waiting: int = 0
    sent: int = 0
    received: int = 0
    memory: int = 0
    epochs: int = 0
    workflow: str = ""
    seconds: float = 0.0
    size: int = 1
    all_tasks: int = 0
    all_done: int = 0
    all_failed: int = 0


class Line(Struct, frozen=True):
    """One line that a task has printed, or that was logged on a rank.

    Attributes:
        time: When, as a time of day [s].
        task: Its number; -1 for what belongs to none.
        name: Its step and instance: sweep[T=300].
        stream: "out" or "err"; "log" for what was logged and is not on standard error.
        text: The line, without its end.
    """

    time: float
    task: int
    name: str
    stream: str
    text: str


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

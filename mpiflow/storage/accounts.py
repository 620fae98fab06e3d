"""What a run tells of itself: what was planned and what came of it, how each rank stands, and what tasks have printed.

``runs`` keeps it in files, as JSON.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct


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

"""A whole run as one rank sees it: meet, agree on what the user wrote, plan, take part, agree on the end."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mpi4py import MPI

import mpiflow
from mpiflow.catalog.catalog import Catalog, merge_sources
from mpiflow.catalog.entries import Complaint, Hello, Seen, SourceEntry, decode_hello, decode_holding, decode_links, encode
from mpiflow.catalog.states import State
from mpiflow.errors import DocumentError, LaunchError, Problem, did_you_mean, ranges
from mpiflow.operations.registry import Registry
from mpiflow.operations.values import Value
from mpiflow.peer.epochs import Epochs
from mpiflow.peer.execute import Executor
from mpiflow.peer.keeping import PATIENCE, Keeper, find
from mpiflow.peer.leaving import abort, leave
from mpiflow.peer.loop import Loop
from mpiflow.peer.measure import common, measure
from mpiflow.peer.reading import Local, read
from mpiflow.peer.state import PeerState
from mpiflow.peer.transfers import Transfers
from mpiflow.planning.history import concerning, expectations, learned, merge
from mpiflow.planning.lowering import lower
from mpiflow.planning.machine import Machine, machine_of
from mpiflow.planning.plan import Plan, make_plan
from mpiflow.planning.reuse import Reuse, reuse
from mpiflow.planning.tasks import Kind, TaskGraph
from mpiflow.storage.history import read_history
from mpiflow.storage.store import Place
from mpiflow.workflow.reading import Workflow

STOPPED = 75            # exit status: run the same command with --resume to go on (EX_TEMPFAIL of sysexits.h)


@dataclass(frozen=True)
class Request:
    """What the user asked for; must be the same on all ranks.

    Attributes:
        file: The workflow document.
        overrides: Parameters given on the command line.
        results: Where relative paths of results start.
        keep_going: Whether independent steps go on when one has failed.
        store: Where the history of earlier runs is kept, and the blocks that this one makes.
        replan: Whether tasks that nobody has started are placed anew when ranks drift from the plan.
        save: Whether blocks are saved.
        resume: Whether blocks are taken from the store.
        forced: Steps that run again in any case.
        grace: How long running tasks may go on when somebody wants the run to stop [s].
        cache: Where blocks are saved and taken from, if not in the store.
    """

    file: Path
    overrides: Mapping[str, str] = field(default_factory=dict)
    results: Path = Path()
    keep_going: bool = False
    store: Path = Path(".mpiflow")
    replan: bool = True
    save: bool = True
    resume: bool = False
    forced: tuple[str, ...] = ()
    grace: float = 20.0
    cache: Path | None = None

    @property
    def blocks(self) -> Path:
        """Where blocks are saved and taken from."""
        return self.cache or self.store


@dataclass(frozen=True)
class Outcome:
    """What every rank knows at the end of a run.

    Attributes:
        workflow: What was run.
        registry: The operations that it named.
        request: What the user asked for.
        plan: Where it was to run, as planned before the start.
        num_plans: How many plans there were.
        history: What was known of operations before the run.
        machine: What the plan was made for.
        catalog: What happened; the same on every rank.
        hosts: Node of each rank.
        seconds: How long it took, from the first task to the agreed end [s].
        preparation: How long reading and planning took [s].
        spared: What was taken from earlier work; None if nothing was to be.
        stopped_by: Ranks that were asked to stop before the end.
        warnings: What else the user should know.
    """

    workflow: Workflow
    registry: Registry
    request: Request
    plan: Plan
    num_plans: int
    history: tuple[Seen, ...]
    machine: Machine
    catalog: Catalog
    hosts: tuple[str, ...]
    seconds: float
    preparation: float
    spared: Reuse | None = None
    stopped_by: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def learned(self) -> tuple[Seen, ...]:
        """The history with what this run has shown."""
        return learned(self.history, self.plan.graph, self.registry, self.catalog.tasks)

    @property
    def unfinished(self) -> bool:
        """Whether the run was stopped before everything had run, and can go on."""
        return bool(self.stopped_by) and not self.catalog.failed and any(
            entry.state is not State.DONE for entry in self.catalog.tasks)

    @property
    def status(self) -> int:
        """Exit status: 0 if everything ran, 1 if a step failed, 75 if the run was stopped and can go on (EX_TEMPFAIL)."""
        return 1 if self.catalog.failed else STOPPED if self.unfinished else 0


@dataclass(frozen=True)
class _Setting:
    """What does not change while a run goes on."""

    request: Request
    local: Local
    hosts: tuple[str, ...]
    machine: Machine
    history: tuple[Seen, ...]
    began: float


def run(comm: MPI.Comm, request: Request, conclude: Callable[[Outcome], None]) -> Outcome:
    """Run a workflow. **Collective** over ``comm``, which must be a duplicate for this run alone.

    Args:
        comm: The ranks that take part.
        request: What to run.
        conclude: Called once on each rank with the outcome, before the ranks part; reports it.

    Raises:
        DocumentError: What the user wrote is wrong; on every rank, with the same problems.
        LaunchError: Ranks see different workflows; on every rank.
        InternalError: Ranks disagree.
    """
    began = time.perf_counter()
    epochs = Epochs(comm)
    local = read(request.file, request.overrides, comm.rank)
    hellos = [decode_hello(part) for part in _exchange(epochs, encode(_hello(local, request, comm.rank)))]
    sources = merge_sources(entry for hello in hellos for entry in hello.sources)
    _agree(hellos, request, local, sources)
    graph = lower(local.workflow, local.registry, sources, comm.size)
    _check_forced(request, graph)
    hosts = tuple(hello.host for hello in hellos)
    setting = _Setting(request, local, hosts, _measured(comm, epochs, hosts), merge(hello.history for hello in hellos), began)
    keeper = Keeper(local.workflow.document.name, local.registry, request.blocks, min(hello.token for hello in hellos),
                    comm.rank, hosts[comm.rank]) if request.save else None
    transfers = Transfers(comm)
    lost: set[str] = set()
    while True:
        round = _Round(comm, epochs, transfers, setting, graph, keeper, lost, conclude)
        round.run()
        damaged = round.damaged
        if not damaged:
            break
        lost |= damaged                         # what depends on it is still to be made
        if keeper:
            keeper.writer.flush(PATIENCE)
    transfers.close()
    return round.conclude()


class _Round:
    """One attempt to make everything: until all is done, or a block that was saved earlier turns out to be damaged."""

    def __init__(self, comm: MPI.Comm, epochs: Epochs, transfers: Transfers, setting: _Setting, graph: TaskGraph,
                 keeper: Keeper | None, lost: set[str], conclude: Callable[[Outcome], None]) -> None:
        """Find what is there, and plan the rest. **Collective**."""
        request, local = setting.request, setting.local
        self._epochs, self._transfers, self._setting, self._keeper, self._conclude = epochs, transfers, setting, keeper, conclude
        self._spared: Reuse | None = None
        places: dict[int, Place] = {}
        if request.resume:
            holding, places = find(graph, local.workflow.document.name, local.registry, request.blocks,
                                   request.results.absolute(), comm.rank)
            holdings = [decode_holding(part) for part in _exchange(epochs, encode(holding))]
            graph, self._spared = reuse(graph, holdings, request.forced, lost)
        expected = expectations(graph, local.registry, setting.history)
        self._plan = plan = make_plan(graph, setting.machine, None, *(expected or ()))
        self._catalog = catalog = Catalog(len(graph.tasks), comm.size, plan.digest, graph.datasets.values())
        executor = Executor(local.workflow, local.registry, graph, request.results.absolute(), places=places)
        executor.prepare(task for task, rank in enumerate(plan.ranks) if rank == comm.rank)
        named = frozenset(task for entry in graph.datasets.values() for task in entry.tasks)
        restored = frozenset(number for number, task in enumerate(graph.tasks) if task.kind is Kind.RESTORE)
        self._state = PeerState(comm.rank, plan, catalog, setting.machine, keep_going=request.keep_going, replan=request.replan,
                                restored=restored)
        self._restored = restored
        self._loop = Loop(self._state, epochs, transfers, executor, named, self._leave_behind,
                          self._keep if keeper else None, request.grace)
        _exchange(epochs, b"")                  # all have a plan
        self._preparation = time.perf_counter() - setting.began
        self._seconds = 0.0

    def run(self) -> None:
        """Take part until every rank knows that the round is over."""
        self._seconds = self._loop.run()

    @property
    def damaged(self) -> set[str]:
        """Ids of saved blocks that could not be loaded, if nothing else went wrong."""
        failed = self._catalog.failed
        if self._state.stopped_by or not self._restored.issuperset(failed):
            return set()
        return {self._plan.graph.tasks[task].id for task in failed}

    def conclude(self) -> Outcome:
        """Bring what was saved onto the disk, and report. **Collective**."""
        warnings = _warnings(self._epochs, self._keeper)
        setting = self._setting
        done = Outcome(setting.local.workflow, setting.local.registry, setting.request, self._plan, self._state.num_plans,
                       setting.history, setting.machine, self._catalog, setting.hosts, self._seconds, self._preparation,
                       self._spared, tuple(self._state.stopped_by), warnings)
        self._conclude(done)
        return done

    def _keep(self, task: int, value: Value, seconds: float) -> None:
        self._keeper.offer(self._plan.graph.tasks[task], value, seconds)

    def _leave_behind(self) -> None:
        """End the process from the second thread: user code in the main one does not come back."""
        if self._loop.error is not None:
            abort(self._loop.error)
        os.setpriority(os.PRIO_PROCESS, threading.main_thread().native_id, 19)
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__     # the code left behind may have redirected them
        self._transfers.close()
        self._seconds = time.perf_counter() - self._setting.began - self._preparation
        leave(self.conclude().status)


def _warnings(epochs: Epochs, keeper: Keeper | None) -> tuple[str, ...]:
    """End the saving of blocks, and give what went wrong with it on any rank. **Collective**."""
    own = ""
    if keeper:
        keeper.writer.close(PATIENCE)
        own = keeper.writer.error or ""
    found: dict[str, list[int]] = {}
    for rank, part in enumerate(_exchange(epochs, own.encode("utf-8", "backslashreplace"))):
        if part:
            found.setdefault(part.decode(), []).append(rank)
    return tuple(f"rank {ranges(ranks, ',')} {text}" for text, ranks in found.items())


def _check_forced(request: Request, graph: TaskGraph) -> None:
    """Refuse steps that are not there, on every rank."""
    steps = {task.step for task in graph.tasks}
    for step in request.forced:
        if step not in steps:
            raise LaunchError(f"--force {step}: no such step" + did_you_mean(step, steps))


def _measured(comm: MPI.Comm, epochs: Epochs, hosts: Sequence[str]) -> Machine:
    """Measure the links and tell the others. **Collective**."""
    if comm.size == 1:
        return machine_of(hosts)
    measured = _exchange(epochs, encode(measure(comm, hosts)))
    return machine_of(hosts, *common([decode_links(part) for part in measured]))


def _hello(local: Local, request: Request, rank: int) -> Hello:
    digest = ""
    if local.workflow:
        options = (local.workflow.digest, str(request.results), request.keep_going, request.replan, request.resume,
                   request.forced, request.grace)
        digest = hashlib.blake2b(repr(options).encode(), digest_size=16).hexdigest()
    return Hello(rank, socket.gethostname(), mpiflow.__version__, digest, tuple(local.code),
                 tuple(map(_encodable, local.complaints)), local.sources,
                 concerning(read_history(request.store)[0], local.registry), _token())


def _token() -> str:
    """Name a run that is like no other: by the time of day, and by chance."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.urandom(4).hex()}"


def _encodable(complaint: Complaint) -> Complaint:
    """File names may hold bytes that are no text, and then have no wire form."""
    file, message = (text.encode("utf-8", "backslashreplace").decode() for text in (complaint.file, complaint.message))
    return Complaint(file, complaint.line, complaint.column, message)


def _exchange(epochs: Epochs, own: bytes) -> list[bytes]:
    """Exchange bytes before the loop begins. A rank that is late is waited for without burning its core."""
    epochs.post(own)
    nap = 20e-6
    while (parts := epochs.poll()) is None:
        time.sleep(nap)
        nap = min(nap * 1.5, 3e-4)
    return parts


def _agree(hellos: Sequence[Hello], request: Request, local: Local, sources: Sequence[SourceEntry]) -> None:
    """Raise the same error on every rank if any rank has one, or if they see different things."""
    complaints: dict[Complaint, list[int]] = {}
    for hello in hellos:
        for complaint in hello.complaints:
            complaints.setdefault(complaint, []).append(hello.rank)
    if complaints:
        problems = [Problem(c.file, c.line, c.column, c.message + _where(ranks, hellos)) for c, ranks in complaints.items()]
        alike = len({hello.workflow for hello in hellos}) == 1
        raise DocumentError(problems + (local.problems(complaints, sources) if alike else []))
    for what, seen in (("versions of mpiflow", [hello.version for hello in hellos]),
                       (f"contents of {request.file} (or other options)", [hello.workflow for hello in hellos]),
                       ("contents of the operation modules", [" ".join(hello.code) for hello in hellos])):
        if len(set(seen)) > 1:
            groups = {value: [hello.rank for hello, own in zip(hellos, seen, strict=True) if own == value] for value in seen}
            listed = "; ".join(f"ranks {ranges(ranks, ',')} on {hellos[ranks[0]].host}" for ranks in groups.values())
            raise LaunchError(f"ranks see different {what}: {listed}. All ranks must see the same files")


def _where(ranks: list[int], hellos: Sequence[Hello]) -> str:
    """Say which ranks have a problem, unless all have."""
    if len(ranks) == len(hellos):
        return ""
    hosts = sorted({hellos[rank].host for rank in ranks})
    return f" (on rank{'s' if len(ranks) > 1 else ''} {ranges(ranks, ',')}, {', '.join(hosts)})"

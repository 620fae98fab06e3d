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
from mpiflow.catalog.entries import Complaint, Hello, Seen, SourceEntry, decode_hello, decode_links, encode
from mpiflow.errors import DocumentError, LaunchError, Problem, ranges
from mpiflow.operations.registry import Registry
from mpiflow.peer.epochs import Epochs
from mpiflow.peer.execute import Executor
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
from mpiflow.storage.history import read_history
from mpiflow.workflow.reading import Workflow


@dataclass(frozen=True)
class Request:
    """What the user asked for; must be the same on all ranks.

    Attributes:
        file: The workflow document.
        overrides: Parameters given on the command line.
        results: Where relative paths of results start.
        keep_going: Whether independent steps go on when one has failed.
        store: Where the history of earlier runs is kept.
        replan: Whether tasks that nobody has started are placed anew when ranks drift from the plan.
    """

    file: Path
    overrides: Mapping[str, str] = field(default_factory=dict)
    results: Path = Path()
    keep_going: bool = False
    store: Path = Path(".mpiflow")
    replan: bool = True


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

    @property
    def learned(self) -> tuple[Seen, ...]:
        """The history with what this run has shown."""
        return learned(self.history, self.plan.graph, self.registry, self.catalog.tasks)

    @property
    def status(self) -> int:
        """Exit status: 0 if everything ran, 1 if a step failed."""
        return 1 if self.catalog.failed else 0


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
    hosts = tuple(hello.host for hello in hellos)
    machine = _measured(comm, epochs, hosts)
    history = merge(hello.history for hello in hellos)
    expected = expectations(graph, local.registry, history)
    plan = make_plan(graph, machine, None, *expected) if expected else make_plan(graph, machine)
    catalog = Catalog(len(graph.tasks), comm.size, plan.digest, graph.datasets.values())
    def outcome(seconds: float) -> Outcome:
        return Outcome(local.workflow, local.registry, request, plan, state.num_plans, history, machine, catalog,
                       hosts, seconds, preparation)

    def leave_behind() -> None:
        """End the process from the second thread: user code in the main one does not come back."""
        if loop.error is not None:
            abort(loop.error)
        os.setpriority(os.PRIO_PROCESS, threading.main_thread().native_id, 19)
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__     # the code left behind may have redirected them
        transfers.close()
        done = outcome(time.perf_counter() - began - preparation)
        conclude(done)
        leave(done.status)

    transfers = Transfers(comm)
    executor = Executor(local.workflow, local.registry, graph, request.results.absolute())
    executor.prepare(task for task, rank in enumerate(plan.ranks) if rank == comm.rank)
    named = frozenset(task for entry in graph.datasets.values() for task in entry.tasks)
    state = PeerState(comm.rank, plan, catalog, machine, keep_going=request.keep_going, replan=request.replan)
    loop = Loop(state, epochs, transfers, executor, named, leave_behind)
    _exchange(epochs, b"")                      # all have a plan
    preparation = time.perf_counter() - began
    seconds = loop.run()
    transfers.close()
    done = outcome(seconds)
    conclude(done)
    return done


def _measured(comm: MPI.Comm, epochs: Epochs, hosts: Sequence[str]) -> Machine:
    """Measure the links and tell the others. **Collective**."""
    if comm.size == 1:
        return machine_of(hosts)
    measured = _exchange(epochs, encode(measure(comm, hosts)))
    return machine_of(hosts, *common([decode_links(part) for part in measured]))


def _hello(local: Local, request: Request, rank: int) -> Hello:
    digest = ""
    if local.workflow:
        options = (local.workflow.digest, str(request.results), request.keep_going, request.replan)
        digest = hashlib.blake2b(repr(options).encode(), digest_size=16).hexdigest()
    return Hello(rank, socket.gethostname(), mpiflow.__version__, digest, tuple(local.code),
                 tuple(map(_encodable, local.complaints)), local.sources,
                 concerning(read_history(request.store)[0], local.registry))


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

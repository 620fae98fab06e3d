"""A whole run as one rank sees it: meet, agree on what the user wrote, take part, and go on without ranks that die."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from mpi4py import MPI
from msgspec import Struct, msgpack
from msgspec.structs import replace

from mpiflow.catalog.catalog import merge_sources
from mpiflow.catalog.entries import Complaint, Hello, SourceEntry, decode_hello, encode
from mpiflow.errors import DocumentError, LaunchError, MpiflowError, did_you_mean
from mpiflow.operations.folders import Folders
from mpiflow.operations.logged import Logged
from mpiflow.operations.printed import NOTHING, Printed
from mpiflow.operations.values import Value
from mpiflow.peer.epochs import Epochs, exchange
from mpiflow.peer.guard import EARLY, Guard
from mpiflow.peer.keeping import Keeper
from mpiflow.peer.leaving import abort
from mpiflow.peer.measure import measured
from mpiflow.peer.meeting import agree, greet
from mpiflow.peer.outcome import Outcome, Request
from mpiflow.peer.pulse import Pulse
from mpiflow.peer.reading import Local, read
from mpiflow.peer.round import Left, Setting, run_rounds
from mpiflow.peer.sharing import share
from mpiflow.peer.staging import pack, sender, unpack
from mpiflow.peer.stopping import Stops
from mpiflow.peer.survive import duplicate, settle, settle_failed, struck, survivable
from mpiflow.peer.telling import Observer, View
from mpiflow.peer.watch import Watch
from mpiflow.peer.writers import common_writers
from mpiflow.planning.history import merge
from mpiflow.planning.lowering import lower
from mpiflow.planning.reuse import belongs
from mpiflow.planning.tasks import TaskGraph
from mpiflow.storage.lines import Lines
from mpiflow.storage.runs import run_folder

__all__ = ["Outcome", "Request", "View", "run"]
_log = logging.getLogger(__name__)


def run(comm: MPI.Comm, request: Request, conclude: Callable[[Outcome], None],
        stops: Stops | None = None, observe: Observer | None = None, before: Mapping[str, str] = NOTHING,
        held: Mapping[str, Value] | None = None,
        refuse: Callable[[MpiflowError, int], None] = lambda error, rank: None) -> Outcome:
    """Run a workflow. **Collective** over ``comm``.

    Args:
        comm: The ranks that take part; messages go through duplicates of it.
        request: What to run.
        conclude: Called once on each rank with the outcome, before the ranks part; reports it.
        stops: Signals to stop, if they are listened to already.
        observe: Called about once a second while tasks run, in another thread, and makes no MPI calls.
        before: What precedes each line that tasks print, for "out" and "err".
        held: Blocks that this rank has in memory from before, by id.
        refuse: Called on each rank before an error is raised that all have; with this rank's number among those that are alive.

    Raises:
        DocumentError: What the user wrote is wrong; on every rank, with the same problems.
        LaunchError: Ranks see different workflows; on every rank.

    Any other error ends the process: the other ranks would wait for this one for ever.
    """
    if stops is None:
        stops = Stops()
        stops.listen()
    crew = _Crew(comm, request, stops, held or {}, observe, Printed(before))
    try:
        while True:
            failure = None
            try:
                end: Outcome | MpiflowError | None = crew.attempt(conclude)
            except (DocumentError, LaunchError) as refused:         # the same on every rank
                end = refused
            except Exception as error:
                if not struck(crew.comm, error):
                    abort(error, crew.comm)
                end, failure = None, None if isinstance(error, MPI.Exception) else error
            rank = crew.comm.rank
            if crew.settled(end is not None, failure):
                if isinstance(end, MpiflowError):
                    refuse(end, rank)
                    raise end
                return end
    finally:
        crew.close()
        stops.close()


class _Crew:
    """The ranks that are alive, and what they know from before somebody died."""

    def __init__(self, comm: MPI.Comm, request: Request, stops: Stops, held: Mapping[str, Value], observe: Observer | None,
                 printed: Printed) -> None:
        self._began = time.perf_counter()
        self.comm = duplicate(comm)
        self._stops, self._observe = stops, observe
        self._request = request
        self._local: Local | None = None
        self._name = comm.rank                  # its number at first, by which people and sources know it
        self._num = comm.size
        self._hellos: dict[int, Hello] = {}     # of the ranks that met first, by their names
        self._sources: tuple[SourceEntry, ...] = ()
        self._keeper: Keeper | None = None
        self._warnings: list[str] = []
        self._again = self.comm.size < comm.size
        self._lost_at = 0.0
        self._noted: set[int] = set()           # dead ranks that the user is told of
        self._seeing: set[int] = set()          # names of those that see the workflow, if some do not
        self._folder: TemporaryDirectory | None = None
        self._left = Left(held=dict(held))
        self.folders = Folders(request.scratch)
        self._lines: Lines | None = None
        self._printed = printed
        self._printed.listen()                   # before modules of operations ask for these streams
        self._logged = Logged(request.log_level, printed) if request.log_level else None
        if self._logged:
            self._logged.listen()

    def attempt(self, conclude: Callable[[Outcome], None]) -> Outcome:
        """Meet the others, and go on from where all are. **Collective**.

        Raises:
            MPI.Exception: A rank has died.
            DocumentError, LaunchError: As for ``run``.
            InternalError: Ranks disagree; or a rank has died, and what came from it was cut off.
        """
        request = self._request
        if self._local is None:
            self._local = read(request.file, request.overrides, self._name, written=request.written)
            self._local.complaints += _misplaced(request.results)
        watch = Watch(Pulse(self.comm), request.watch, request.silence, early=EARLY * request.unreachable)
        guard = Guard(self.comm.rank, request.unreachable, watch.pace, abort)
        watch.unreached = lambda: guard.finding
        guard.start()
        try:
            return self._attempt(watch, guard, conclude)
        finally:
            guard.close()

    def _attempt(self, watch: Watch, guard: Guard, conclude: Callable[[Outcome], None]) -> Outcome:
        epochs = Epochs(self.comm, watch)
        self._left.links.append(epochs)
        said = [_decode_return(part) for part in exchange(epochs, encode(self._return()))] if self._again else []
        names = [one.name for one in said] or range(self._num)
        if not all(one.met for one in said) or not said:
            self._meet(epochs, names)
        self._note_dead(names)
        hellos = [self._hellos[name] for name in names]
        watch.hosts = tuple(hello.host for hello in hellos)
        guard.know(watch.hosts, [hello.addresses for hello in hellos])
        if said and all(one.over for one in said):
            done = self._left.over.conclude(epochs, self.comm.rank, tuple(self._warnings))
        else:
            self._left.over = None
            done = run_rounds(self._setting(epochs, names, watch), self._left, conclude)
        return share(epochs, done) if self._request.embedded else done

    def close(self) -> None:
        """Give back what this process had."""
        if self._keeper:
            self._keeper.close()                # if no round came to its end
        self.folders.close()
        if self._logged:
            self._logged.close()
        self._printed.close()
        if self._lines:
            self._lines.close()

    def _return(self) -> _Return:
        return _Return(self._name, bool(self._hellos), self._left.over is not None)

    def _meet(self, epochs: Epochs, names: Sequence[int]) -> None:
        """Exchange what each rank sees, and agree on what is to be done."""
        comm, request = self.comm, self._request
        hellos = self._greet(epochs)
        source = sender(hellos)
        if source is not None:
            self._seeing = {name for name, hello in zip(names, hellos, strict=True) if not hello.absent}
            parcel = exchange(epochs, pack(request.file, self._local.workflow) if comm.rank == source else b"")[source]
            if self._local.absent:
                file, self._folder = unpack(parcel, request.file.name)
                self._local = read(file, request.overrides, comm.rank, str(request.file))
            hellos = self._greet(epochs)
        self._sources = merge_sources(entry for hello in hellos for entry in hello.sources)
        agree(hellos, request, self._local, self._sources)
        self._hellos = dict(zip(names, hellos, strict=True))

    def _greet(self, epochs: Epochs) -> list[Hello]:
        own = greet(self._local, self._request, self.comm.rank)
        return [decode_hello(part) for part in exchange(epochs, encode(own))]

    def _setting(self, epochs: Epochs, names: Sequence[int], watch: Watch) -> Setting:
        """Compile the workflow for the ranks that are there. **Collective**."""
        comm, request, local = self.comm, self._request, self._local
        hosts = watch.hosts
        writers = tuple(rank for rank, name in enumerate(names) if name in self._seeing) or None
        run = min(hello.token for hello in self._hellos.values())
        if any(local.workflow.document.parts(name) > 1 for name in local.workflow.document.results):
            able = common_writers(epochs, comm.rank, writers or range(comm.size), request.results.absolute(), run)
            writers = able if len(able) < comm.size else None
        graph = lower(local.workflow, local.registry, _seen_by(self._sources, names), comm.size, recovering=self._again,
                      writers=writers, wanted=request.keep or ())
        _check_forced(request, graph)
        if request.save and self._keeper is None:
            self._keeper = Keeper(local.workflow.document.name, local.registry, request.blocks, run, self._name, hosts[comm.rank])
        if self._lines is None:
            self._lines = Lines(run_folder(request.store.absolute(), run), self._name)
            self._printed.keep, self._printed.flush = self._lines.append, self._lines.flush
        _log.info("%s: rank %d of %d on %s, process %d; %d tasks", request.file, comm.rank, comm.size, hosts[comm.rank],
                  os.getpid(), len(graph.tasks))
        machine = measured(comm, epochs, hosts)
        if request.memory is not None:
            machine = dataclasses.replace(machine, memory=(request.memory,) * comm.size)
        return Setting(comm, request, local, graph, hosts, machine,
                       merge(hello.history for hello in self._hellos.values()), self._began, self._keeper, self._stops, watch,
                       self.folders, tuple(self._warnings), self._again or request.again, run, tuple(names), self._observe,
                       self._printed)

    def settled(self, over: bool, failure: Exception | None = None) -> bool:
        """Whether all have come to the end and may part; if not, go on with those that are alive. **Collective**.

        A failure of our own that no death explains ends this process.
        """
        at = time.perf_counter() - self._began
        if failure is not None:
            comm, last = settle_failed(self.comm)
            if comm is None:
                abort(failure, last=last)
        else:
            comm = settle(self.comm, over)
        if comm is None:
            if not survivable(self.comm):       # else there may be dead ranks in it, and it ends with the process
                self.comm.Free()
            return True
        self.comm, self._again, self._lost_at = comm, True, at
        return False

    def _note_dead(self, names: Sequence[int]) -> None:
        dead = sorted(set(range(self._num)) - set(names) - self._noted)
        if dead:
            self._noted.update(dead)
            hosts = {name: f" on {hello.host}" for name, hello in self._hellos.items()}
            where = ", ".join(f"rank {name}{hosts.get(name, '')}" for name in dead)
            self._warnings.append(f"{where} died {self._lost_at:.1f} s after the start; the other {len(names)} ranks went on, "
                                  "numbered anew, and made again what was lost")


class _Return(Struct, frozen=True, array_like=True):
    """What a rank says when it meets the others again: its name, whether it knows who met at first, and whether it is done."""

    name: int
    met: bool
    over: bool


_decode_return = msgpack.Decoder(_Return).decode


def _seen_by(sources: Sequence[SourceEntry], names: Sequence[int]) -> list[SourceEntry]:
    """Give the sources with the numbers that ranks have now, where ``names`` are those that they had at first."""
    number = {name: rank for rank, name in enumerate(names)}
    return [replace(entry, holders=tuple(sorted(number[name] for name in entry.holders if name in number))) for entry in sources]


def _misplaced(results: Path) -> list[Complaint]:
    """Refuse what cannot hold results; else that would be found out when all is done. Local."""
    there = next((path for path in (results, *results.parents) if path.exists()), results)
    return [] if there.is_dir() else [Complaint(str(results), 0, 0, f"results go into a folder, and {there} is a file")]


def _check_forced(request: Request, graph: TaskGraph) -> None:
    """Refuse steps that are not there, on every rank."""
    steps = {task.step for task in graph.tasks}
    for step in request.forced:
        if not any(belongs(task, step) for task in graph.tasks):
            raise LaunchError(f"--force {step}: no such step" + did_you_mean(step, steps))

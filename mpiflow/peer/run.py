"""A whole run as one rank sees it: meet, agree on what the user wrote, take part, and go on without ranks that die."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from mpi4py import MPI
from msgspec.structs import replace

from mpiflow.catalog.catalog import merge_sources
from mpiflow.catalog.entries import Hello, SourceEntry, decode_hello, encode
from mpiflow.errors import LaunchError, did_you_mean
from mpiflow.peer.epochs import Epochs, exchange
from mpiflow.peer.keeping import Keeper
from mpiflow.peer.measure import measured
from mpiflow.peer.meeting import agree, greet
from mpiflow.peer.outcome import Outcome, Request
from mpiflow.peer.pulse import Pulse
from mpiflow.peer.reading import Local, read
from mpiflow.peer.round import Lost, Setting, run_rounds
from mpiflow.peer.survive import survivable, survivors
from mpiflow.peer.watch import Watch
from mpiflow.planning.history import merge
from mpiflow.planning.lowering import lower
from mpiflow.planning.tasks import TaskGraph

__all__ = ["Outcome", "Request", "run"]


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
    crew = _Crew(comm, request)
    while True:
        try:
            return run_rounds(crew.setting(), crew.left, conclude)
        except MPI.Exception as error:
            if not survivable(comm):
                raise
            crew.mourn(error)


class _Crew:
    """The ranks that are alive, and what they know from before somebody died."""

    def __init__(self, comm: MPI.Comm, request: Request) -> None:
        self._began = time.perf_counter()
        self._comm = comm
        self._request = request
        self._local: Local = read(request.file, request.overrides, comm.rank)
        self._name = comm.rank                  # its number at first, by which people and sources know it
        self._hellos: list[Hello] = []          # of all ranks, as they were at first
        self._sources: tuple[SourceEntry, ...] = ()
        self._keeper: Keeper | None = None
        self._warnings: list[str] = []
        self._again = False
        self._lost_at = 0.0
        self._noted: set[int] = set()           # dead ranks that the user is told of
        self.left = Lost()

    def setting(self) -> Setting:
        """Meet the others and agree on what is to be done. **Collective**."""
        comm, request, local = self._comm, self._request, self._local
        watch = Watch(Pulse(comm), request.watch, request.silence)
        epochs = Epochs(comm, watch)
        names = range(comm.size)
        if self._hellos:
            names = [int.from_bytes(part, "little") for part in exchange(epochs, self._name.to_bytes(4, "little"))]
        else:
            self._hellos = [decode_hello(part) for part in exchange(epochs, encode(greet(local, request, comm.rank)))]
            self._sources = merge_sources(entry for hello in self._hellos for entry in hello.sources)
            agree(self._hellos, request, local, self._sources)
        self._note_dead(names)
        hellos = [self._hellos[name] for name in names]
        hosts = watch.hosts = tuple(hello.host for hello in hellos)
        graph = lower(local.workflow, local.registry, _seen_by(self._sources, names), comm.size, recovering=self._again)
        _check_forced(request, graph)
        if request.save and self._keeper is None:
            self._keeper = Keeper(local.workflow.document.name, local.registry, request.blocks,
                                  min(hello.token for hello in self._hellos), comm.rank, hosts[comm.rank])
        return Setting(comm, request, local, graph, hosts, measured(comm, epochs, hosts),
                       merge(hello.history for hello in hellos), self._began, self._keeper, watch, tuple(self._warnings),
                       self._again)

    def mourn(self, error: MPI.Exception) -> None:
        """Some rank has died: go on with those that are left. **Collective** over these."""
        began = time.perf_counter()
        self._comm = survivors(self._comm)
        self._again = True
        self._lost_at = began - self._began

    def _note_dead(self, names: Sequence[int]) -> None:
        dead = sorted(set(range(len(self._hellos))) - set(names) - self._noted)
        if dead:
            self._noted.update(dead)
            where = ", ".join(f"rank {name} on {self._hellos[name].host}" for name in dead)
            self._warnings.append(f"{where} died {self._lost_at:.1f} s after the start; the other {len(names)} ranks went on, "
                                  "numbered anew, and made again what was lost")


def _seen_by(sources: Sequence[SourceEntry], names: Sequence[int]) -> list[SourceEntry]:
    """Give the sources with the numbers that ranks have now, where ``names`` are those that they had at first."""
    number = {name: rank for rank, name in enumerate(names)}
    return [replace(entry, holders=tuple(sorted(number[name] for name in entry.holders if name in number))) for entry in sources]


def _check_forced(request: Request, graph: TaskGraph) -> None:
    """Refuse steps that are not there, on every rank."""
    steps = {task.step for task in graph.tasks}
    for step in request.forced:
        if step not in steps:
            raise LaunchError(f"--force {step}: no such step" + did_you_mean(step, steps))

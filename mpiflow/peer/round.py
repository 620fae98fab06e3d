"""One round of a run: find what is there, plan the rest, and make it.

A run is one round, unless a block that was saved turns out to be damaged, or a rank dies: then what is still needed is made
in another one. Blocks have the same numbers and ids in all rounds.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from resource import RUSAGE_SELF, getrusage

from mpi4py import MPI
from msgspec import Struct, msgpack, structs

from mpiflow.catalog.catalog import Catalog
from mpiflow.catalog.entries import Holding, Noted, Seen, decode_holding, encode
from mpiflow.errors import LaunchError, MachineError, PlanningError, ranges
from mpiflow.operations.folders import Folders
from mpiflow.operations.printed import Printed
from mpiflow.operations.values import Value, nbytes
from mpiflow.peer.ahead import sizes
from mpiflow.peer.copies import SHARE, Copies
from mpiflow.peer.drift import Drift
from mpiflow.peer.epochs import Epochs, exchange
from mpiflow.peer.execute import Executor
from mpiflow.peer.keeping import PATIENCE, Keeper, find
from mpiflow.peer.launch import mpi_library
from mpiflow.peer.leaving import abort, desert, leave
from mpiflow.peer.loop import Loop
from mpiflow.peer.meeting import agree_on
from mpiflow.peer.memory import available_memory
from mpiflow.peer.outcome import Outcome, Request
from mpiflow.peer.reading import Local
from mpiflow.peer.sharing import wanted_names
from mpiflow.peer.state import PeerState
from mpiflow.peer.stopping import Stops
from mpiflow.peer.survive import settle, struck, survivable
from mpiflow.peer.telling import FIRST, Observer, Teller, View, standing
from mpiflow.peer.timed import Timed
from mpiflow.peer.together import Together
from mpiflow.peer.transfers import Transfers, must_probe
from mpiflow.peer.watch import Watch
from mpiflow.planning.history import expectations
from mpiflow.planning.machine import Machine
from mpiflow.planning.plan import Plan, make_plan
from mpiflow.planning.reuse import Reuse, reuse
from mpiflow.planning.tasks import WRITES, Kind, TaskGraph
from mpiflow.storage.spill import Spill

_log = logging.getLogger(__name__)
MOST = 0.7              # of the memory that is available on a node: what blocks may take if the user does not say


@dataclass(frozen=True)
class Setting:
    """What rounds on the same ranks have in common.

    Attributes:
        comm: The ranks.
        request: What the user asked for.
        local: What the user wrote.
        graph: All tasks.
        hosts: Node of each rank.
        machine: What is planned for.
        history: What earlier runs have shown.
        began: When this run did, by ``time.perf_counter`` [s].
        keeper: Saves blocks; None if none are to be saved.
        stops: Signals that ask for a stop.
        watch: Says what this rank waits for.
        folders: Where programs run.
        warnings: What the user should know of what happened so far.
        again: Whether this is not the first round, so that blocks of the rounds before count.
        run: Name of the run.
        names: The numbers that the ranks had at first.
        observe: Looks at the run now and then; None if nobody does.
        printed: Keeps what tasks print.
    """

    comm: MPI.Comm
    request: Request
    local: Local
    graph: TaskGraph
    hosts: tuple[str, ...]
    machine: Machine
    history: tuple[Seen, ...]
    began: float
    keeper: Keeper | None
    stops: Stops
    watch: Watch
    folders: Folders
    warnings: tuple[str, ...] = ()
    again: bool = False
    run: str = ""
    names: tuple[int, ...] = ()
    observe: Observer | None = None
    printed: Printed = field(default_factory=Printed)


@dataclass
class Left:
    """What rounds leave behind.

    Attributes:
        damaged: What is wrong with blocks that could not be brought in, by id.
        held: Blocks that are in memory, by id.
        starts: When each round began to run tasks, as a time of day [s].
        over: The last round, if it came to its end here.
        links: What messages may still be under way for: MPI must find the memory that it was given.
    """

    damaged: dict[str, str] = field(default_factory=dict)
    held: dict[str, Value] = field(default_factory=dict)
    starts: list[float] = field(default_factory=list)
    over: Round | None = None
    links: list[Epochs | Transfers] = field(default_factory=list)


def run_rounds(setting: Setting, left: Left, conclude: Callable[[Outcome], None]) -> Outcome:
    """Go on until everything is made, or cannot be. **Collective**.

    Raises:
        MPI.Exception: A rank has died; ``left`` says what is in memory.
        LaunchError: The workflow cannot run on this machine; on every rank.
        InternalError: Ranks disagree; or a rank has died, and what came from it was cut off.
    """
    kind = Timed if setting.request.timed else Transfers
    epochs, transfers = Epochs(setting.comm, setting.watch), kind(setting.comm, must_probe(setting.hosts))
    left.links += [epochs, transfers]
    while True:
        try:
            round = Round(setting, epochs, transfers, left, conclude)
        except LaunchError:                     # the same on every rank
            transfers.close()
            raise
        round.run()
        if not round.damaged:
            break
        round.still(ended=False)
        left.damaged |= round.damaged           # what depends on it is still to be made
        setting = replace(setting, again=True)
    left.over = round
    transfers.close()
    done = round.conclude(epochs, setting.comm.rank)
    round.part()
    return done


class Round:
    """One round; see ``run_rounds``."""

    def __init__(self, setting: Setting, epochs: Epochs, transfers: Transfers, left: Left,
                 conclude: Callable[[Outcome], None]) -> None:
        """Find what is there, and plan the rest. **Collective**.

        Raises:
            MPI.Exception: A rank has died.
            LaunchError: The workflow cannot run on this machine, or not as it is; on every rank.
            InternalError: Ranks disagree, or what came from one that died was cut off.
        """
        self._setting, self._epochs, self._transfers, self._left, self._report = setting, epochs, transfers, left, conclude
        comm, request, local = setting.comm, setting.request, setting.local
        self._names = wanted_names(local.workflow, setting.graph, request)
        self._wanted = frozenset(task for name in self._names for task in setting.graph.datasets[name].tasks)
        graph, self._spared, executor = self._prepared()
        expected = expectations(graph, local.registry, setting.history)
        try:
            self._plan = plan = make_plan(graph, setting.machine, None, *(expected or ()))
        except PlanningError as error:
            raise LaunchError(str(error)) from None
        if setting.keeper:
            setting.keeper.follow(graph, request.results.absolute())
        self._together = Together(comm, graph) if graph.teams else None
        if self._together is not None:
            executor.meet, executor.release = self._together.meet, self._together.release
        self._catalog = Catalog(len(graph.tasks), comm.size, plan.digest, graph.datasets.values())
        executor.prepare(task for task in plan.order if plan.ranks[task] == comm.rank)
        named = frozenset(task for entry in graph.datasets.values() for task in entry.tasks
                          if graph.tasks[task].kind is not Kind.KEPT)
        self._spare = frozenset(number for number, task in enumerate(graph.tasks) if task.kind in (Kind.RESTORE, Kind.GONE))
        tolerated = frozenset(number for number, policy in executor.policies.items() if not policy.stops)
        drift = Drift(self._catalog, setting.machine) if request.replan and comm.size > 1 else None
        self._state = PeerState(comm.rank, plan, self._catalog, drift, keep_going=request.keep_going,
                                restored=self._spare | tolerated)
        executor.gone = self._state.gone
        self._spill, self._copies = self._limited(executor), self._copying(plan)
        transfers.foresee(sizes(plan), self._state if self._spill is None else None)
        self._loop = Loop(self._state, epochs, transfers, executor, named, self._leave_behind,
                          setting.stops, self._keep if setting.keeper else None, request.grace, partial(struck, comm),
                          setting.watch, frozenset(number for number, task in enumerate(graph.tasks) if task.kind in WRITES),
                          self._spill, self._copies, self._wanted)
        setting.printed.doing, setting.printed.name_of = self._loop.inside_task, lambda task: graph.tasks[task].name
        self._teller = setting.observe and Teller(self._view, setting.observe, 0.0 if setting.again else FIRST)
        agree_on(plan, epochs)
        _log.info("plan %s: %d of %d tasks here, %.3f s expected", plan.digest[:12], plan.ranks.count(comm.rank), len(plan.ranks),
                  plan.seconds)
        left.starts.append(time.time())
        if isinstance(transfers, Timed):
            transfers.begin()
        self._preparation = time.perf_counter() - setting.began
        self._reported_as: int | None = None
        self._seconds = 0.0

    def _limited(self, executor: Executor) -> Spill | None:
        """Give the place for blocks if they may take more memory than there is; keeping count of it takes time."""
        setting, rank = self._setting, self._setting.comm.rank
        limit = setting.request.memory
        if limit is None:
            limit = int(MOST * self._available())
            if not limit or sum(self._plan.estimates.nbytes) <= limit:
                return None
        sources = frozenset(number for number, task in enumerate(self._plan.graph.tasks)
                            if task.kind is Kind.LOAD and (task.ranks is None or rank in task.ranks))
        return Spill(limit, setting.request.scratch, self._state.next_use, executor.load, sources)

    def _copying(self, plan: Plan) -> Copies | None:
        """Give what keeps copies for the case that ranks die; None if there are none to be kept."""
        comm = self._setting.comm
        mortal = survivable(comm) and comm.size > 1
        if not (mortal or plan.holders):
            return None
        spare = int(SHARE * self._available()) if mortal and self._setting.request.memory is None else 0
        return Copies(comm.rank, plan.graph, self._catalog, spare)

    def _available(self) -> int:
        """Memory that is available for this rank [bytes]."""
        hosts = self._setting.hosts
        return available_memory(hosts.count(hosts[self._setting.comm.rank]))

    def _prepared(self) -> tuple[TaskGraph, Reuse | None, Executor]:
        """Give the tasks that are left, what was spared, and who runs them."""
        setting, left = self._setting, self._left
        graph, request, local = setting.graph, setting.request, setting.local
        results = request.results.absolute()
        if not (request.resume or setting.again):
            return graph, None, Executor(local.workflow, local.registry, graph, results, folders=setting.folders,
                                         printed=setting.printed)
        holding, places = Holding(setting.comm.rank), {}
        if request.resume or setting.keeper:
            if setting.keeper:
                setting.keeper.writer.flush(PATIENCE)
            holding, places = find(graph, local.workflow.document.name, local.registry, request.blocks, results, holding.rank)
        held = {number: left.held[task.id] for number, task in enumerate(graph.tasks) if task.id in left.held}
        damaged = tuple(number for number, task in enumerate(graph.tasks) if task.id in left.damaged)
        holdings = [decode_holding(part) for part in exchange(self._epochs, encode(_with(holding, held, damaged)))]
        lost = {graph.tasks[number].id for holding in holdings for number in holding.damaged}
        graph, spared = reuse(graph, holdings, request.forced, lost, self._wanted)
        spared = replace(spared, damages=(*spared.damages, *left.damaged.values()))
        return graph, spared, Executor(local.workflow, local.registry, graph, results, held, places, setting.folders,
                                       setting.printed)

    def run(self) -> None:
        """Take part until every rank knows that the round is over.

        Raises:
            MPI.Exception: A rank has died.
            InternalError: Ranks disagree, or what came from one that died was cut off.
        """
        if self._teller:
            self._teller.start()
        try:
            self._seconds = self._loop.run()
        except Exception:
            self.still(ended=False)
            tasks, copies = self._plan.graph.tasks, self._copies
            here = copies.replicas | copies.popular | self._loop.values if copies else self._loop.values
            self._left.held = {tasks[number].id: value for number, value in here.items()
                               if tasks[number].kind not in (Kind.KEPT, Kind.WRITE)} | self._left.held
            raise
        finally:
            if self._spill is not None:
                self._spill.clear()

    def part(self) -> None:
        """Give back what parallel operations had, unless some of them were left in the middle. **Collective**."""
        if self._together is not None and not self._catalog.failed and not self._state.stopped_by:
            self._together.close()

    @property
    def damaged(self) -> dict[str, str]:
        """Saved blocks that could not be brought in, by id, and what is wrong with them; if nothing else went wrong."""
        failed, tasks = self._catalog.failed, self._plan.graph.tasks
        if self._state.stopped_by or any(tasks[task].kind is not Kind.RESTORE for task in failed):
            return {}
        return {tasks[task].id: self._catalog.tasks[task].error.partition(": ")[2] for task in failed}

    def conclude(self, epochs: Epochs, rank: int, lately: tuple[str, ...] = ()) -> Outcome:
        """Bring what was saved onto the disk, and report, if that has not been done. **Collective**.

        Args:
            epochs: To speak to the ranks that are alive.
            rank: This rank's number among them.
            lately: What the user should know of what happened since the round was over.
        """
        setting = self._setting
        self.still(ended=True)
        noted = self._transfers.noted if isinstance(self._transfers, Timed) else Noted()
        own = _Closing(setting.keeper.close() if setting.keeper else "", *self._spilled(), noted)
        closings = [_decode_closing(part) for part in exchange(epochs, _encode_closing(own))]
        warnings = tuple(dict.fromkeys((*setting.warnings, *lately, *_warnings(closings))))
        done = self._outcome(rank, self._seconds, warnings, closings)
        if rank != self._reported_as:           # at first, or again if the one that did has died before all knew
            self._report(done)
            self._reported_as = rank
        if self._plan.graph.teams:              # a rank that a parallel operation keeps inside MPI can only end the job, so all
            exchange(epochs, b"")               # wait for the report
        return done

    def _outcome(self, rank: int, seconds: float, warnings: tuple[str, ...], closings: Sequence[_Closing]) -> Outcome:
        setting = self._setting
        return Outcome(setting.local.workflow, setting.local.registry, setting.request, self._plan, self._state.num_plans,
                       setting.history, setting.machine, self._catalog, setting.hosts, seconds, self._preparation,
                       self._spared, tuple(self._state.stopped_by), warnings, rank, tuple(self._left.starts),
                       sum(closing.spilled for closing in closings), sum(closing.again for closing in closings),
                       tuple(closing.scratch for closing in closings), tuple(closing.peak for closing in closings), setting.run,
                       setting.names, tuple(closing.noted for closing in closings), mpi_library(), self._names, self._loop.kept)

    # What people see meanwhile

    def _view(self, last: bool) -> View:
        """Look at the run from here, as the teller's thread does."""
        setting, rank, workflow = self._setting, self._state.rank, self._setting.local.workflow
        setting.printed.catch_up()
        seconds = self._seconds if last else time.time() - self._left.starts[-1]
        own = standing(setting.run, workflow.document.name, setting.names[rank], seconds, self._state, self._loop, last)
        return View(own, self._state, seconds, setting.hosts, lambda: self._outcome(rank, seconds, setting.warnings, ()))

    def still(self, ended: bool) -> None:
        """Have nobody look at this round any more, but for a last time if the run has come to its end."""
        if self._teller:
            self._teller.close(ended)

    def _spilled(self) -> tuple[str, int, int, int, int]:
        spill, peak = self._spill, getrusage(RUSAGE_SELF).ru_maxrss << 10
        if spill is None:
            return "", 0, 0, 0, peak
        return spill.error, spill.nbytes_written, spill.nbytes_again, spill.nbytes_disk, peak

    def _keep(self, task: int, value: Value, seconds: float, before: float) -> None:
        self._setting.keeper.offer(self._plan.graph.tasks[task], value, seconds, before, task)

    def _leave_behind(self) -> None:
        """End the process from the second thread: user code in the main one does not come back."""
        error, comm = self._loop.error, self._setting.comm
        if error is None:
            os.setpriority(os.PRIO_PROCESS, threading.main_thread().native_id, 19)
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__     # the code left behind may have redirected them
            self._transfers.close()
            self._seconds = time.perf_counter() - self._setting.began - self._preparation
            status = self.conclude(self._epochs, comm.rank).status
            if self._loop.inside:
                desert(status)
            comm = settle(comm, True)
            if comm is None:
                leave(status)
            error = MachineError("a rank has died at the end, and an operation here keeps this one from meeting the others")
        abort(error, comm)


def _with(holding: Holding, held: Mapping[int, Value], damaged: tuple[int, ...]) -> Holding:
    """Add what is in memory to what is in the store, and which blocks there are damaged."""
    blocks = dict(holding.blocks) | {number: nbytes(value) for number, value in held.items()}
    return Holding(holding.rank, tuple(sorted(blocks.items())), tuple(task for task in holding.lost if task not in held),
                   holding.changed, holding.damages, damaged)


class _Closing(Struct, frozen=True, array_like=True):
    """What a rank says at the end: what went wrong with saving blocks and with those beyond its memory, and the bytes of these.

    Attributes:
        saving: For people; empty if nothing did.
        spilling: Likewise.
        spilled: Bytes written to scratch files.
        again: Bytes read from them, or from sources once more.
        scratch: The most that this rank's took [bytes].
        peak: The most memory that the process had [bytes].
        noted: Times of transfers and memory, if they are wanted.
    """

    saving: str
    spilling: str = ""
    spilled: int = 0
    again: int = 0
    scratch: int = 0
    peak: int = 0
    noted: Noted = Noted()


_decode_closing = msgpack.Decoder(_Closing).decode


def _encode_closing(closing: _Closing) -> bytes:
    texts = {name: getattr(closing, name).encode("utf-8", "backslashreplace").decode() for name in ("saving", "spilling")}
    return msgpack.encode(structs.replace(closing, **texts))


def _warnings(closings: Sequence[_Closing]) -> tuple[str, ...]:
    """Give what went wrong on any rank."""
    found: dict[str, list[int]] = {}
    for rank, closing in enumerate(closings):
        for text in filter(None, (closing.saving, closing.spilling)):
            found.setdefault(text, []).append(rank)
    return tuple(f"rank {ranges(ranks, ',')} {text}" for text, ranks in found.items())

"""What the user asks for, and what every rank knows at the end."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mpiflow.catalog.catalog import Catalog
from mpiflow.catalog.entries import Noted, Seen
from mpiflow.catalog.states import State
from mpiflow.operations.registry import Registry
from mpiflow.operations.values import Value
from mpiflow.peer.reading import Written
from mpiflow.planning.history import learned
from mpiflow.planning.machine import Machine
from mpiflow.planning.plan import Plan
from mpiflow.planning.reuse import Reuse
from mpiflow.planning.tasks import Kind
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
        watch: After how long without a move each rank says what it waits for [s]; 0 for never.
        unreachable: How long a rank may be silent whose node does not answer before the run is ended [s]; 0 for ever.
        silence: The same whatever its node does.
        memory: What blocks may take on each rank [bytes]; None for what the node has.
        scratch: Where blocks go that exceed it, and programs run.
        timed: Whether times of transfers and memory are noted on the way.
        written: What stands in place of the file, if a Python program has made it.
        keep: Names whose blocks stay in memory when the run is over; None for results and what no step reads, if ``embedded``.
        share: What values of these may take on every rank, which all get at the end, the smallest first [bytes].
        embedded: Whether the process goes on after the run, and has use for values.
        again: Whether ranks may hold blocks from before.
        log_level: What of Python's logging each rank keeps; empty to leave that to the program.
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
    watch: float = 30.0
    unreachable: float = 30.0
    silence: float = 0.0
    memory: int | None = None
    scratch: Path = Path(tempfile.gettempdir())
    timed: bool = False
    written: Written | None = None
    keep: tuple[str, ...] | None = None
    share: int = 0
    embedded: bool = False
    again: bool = False
    log_level: str = ""

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
        rank: This rank, at the end.
        starts: When tasks began to run, at first and again after each death or damage, as times of day [s].
        spilled: What was written to scratch files because memory was short, on all ranks [bytes].
        again: What was read from them, or from sources once more [bytes].
        scratch: The most that each rank's scratch file took [bytes].
        peaks: The most memory that each rank's process had [bytes].
        run: Name of the run.
        names: The numbers that the ranks had at first.
        noted: When blocks left and arrived on each rank, and its memory, if that was asked for.
        library: Name and version of the MPI.
        named: Datasets and steps whose blocks stay in memory.
        kept: Those blocks of them that this rank has made, by task.
        values: Those of them that are small, whole, on every rank.
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
    rank: int = 0
    starts: tuple[float, ...] = ()
    spilled: int = 0
    again: int = 0
    scratch: tuple[int, ...] = ()
    peaks: tuple[int, ...] = ()
    run: str = ""
    names: tuple[int, ...] = ()
    noted: tuple[Noted, ...] = ()
    library: str = ""
    named: tuple[str, ...] = ()
    kept: Mapping[int, Value] = field(default_factory=dict)
    values: Mapping[str, Value] = field(default_factory=dict)

    @property
    def learned(self) -> tuple[Seen, ...]:
        """The history with what this run has shown."""
        return learned(self.history, self.plan.graph, self.registry, list(self.catalog.tasks))

    @property
    def failed(self) -> list[int]:
        """Tasks that failed, ascending; a block that could not be brought in is only to be made again."""
        return [number for number in self.catalog.failed if self.plan.graph.tasks[number].kind is not Kind.RESTORE]

    @property
    def skipped(self) -> list[int]:
        """Tasks that were skipped, ascending."""
        return np.flatnonzero(self.catalog.tasks.states == State.SKIPPED).tolist()

    @property
    def turns(self) -> dict[str, int]:
        """How many turns each repeated step has had, if all of that is known: nothing of it was kept of earlier work."""
        entries, tasks = self.catalog.tasks, self.plan.graph.tasks
        return {name: sum(entries.state(gate) is State.DONE for gate in gates) for name, gates in self.plan.graph.turns.items()
                if tasks[gates[-1]].kind is not Kind.KEPT}

    @property
    def num_left(self) -> int:
        """Tasks that have yet to run; bringing in blocks does not count."""
        tasks = self.plan.graph.tasks
        return sum(tasks[number].kind not in (Kind.KEPT, Kind.RESTORE)
                   for number in np.flatnonzero(self.catalog.tasks.states < State.DONE).tolist())

    @property
    def unfinished(self) -> bool:
        """Whether the run was stopped before everything had run, and can go on."""
        return bool(self.stopped_by) and not self.failed and self.num_left > 0

    @property
    def status(self) -> int:
        """Exit status: 0 if everything ran, 1 if a step failed, 75 if the run was stopped and can go on (EX_TEMPFAIL)."""
        return 1 if self.failed else STOPPED if self.unfinished else 0

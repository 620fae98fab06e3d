"""Runs inside a program: on any communicator, as often as it likes, with values as numpy arrays."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpiflow.api.building import Workflow, load
from mpiflow.errors import DocumentError, LaunchError, StepError, StoppedError, did_you_mean, ranges
from mpiflow.operations.values import Value, columns
from mpiflow.peer.launch import check_comm, join_world
from mpiflow.peer.outcome import STOPPED, Outcome, Request
from mpiflow.peer.stopping import Stops
from mpiflow.report.console import NOWHERE, Files, keep_outcome
from mpiflow.report.html import page
from mpiflow.report.inline import report_html, run_html
from mpiflow.report.record import record
from mpiflow.report.summary import count, failure, human_bytes, summary
from mpiflow.storage.preview import result_files

if TYPE_CHECKING:
    from mpiflow.peer.launch import MPI

SHARE = 1 << 24         # bytes of values that all ranks get at the end, if nobody says otherwise


def run(workflow: Workflow | str | os.PathLike, comm: MPI.Comm | None = None, *, params: Mapping[str, Any] | None = None,
        results: str | os.PathLike = ".", keep: Sequence[str] | None = None, share: int = SHARE, check: bool = True,
        resume: bool = False, force: Sequence[str] = (), cache: str | os.PathLike | None = None, save: bool = True,
        store: str | os.PathLike = ".mpiflow", keep_going: bool = False, replan: bool = True, memory: int | None = None,
        scratch: str | os.PathLike | None = None, grace: float = 20.0, watch: float = 30.0, unreachable: float = 30.0,
        silence: float = 0.0, record: str | os.PathLike | None = None, report: str | os.PathLike | None = None) -> Run:
    """Run a workflow on the ranks of a communicator. **Collective** over ``comm``; for the main thread.

    The communicator is duplicated, so messages of the program and of mpiflow never mix, and several runs may go on at once on
    communicators that share no rank. MPI is initialised if it is not yet, and never finalised; without mpirun there is one rank.
    While the run goes on, SIGINT, SIGTERM and SIGUSR1 stop it; afterwards the program has its own handlers again.

    Args:
        workflow: A workflow, or the file of one. Ranks must build or name the same.
        comm: The ranks that take part; None for all.
        params: Other values of parameters.
        results: Where relative paths of results start.
        keep: Datasets and steps whose blocks stay in memory, each where it was made; None for the results, and the steps that
            no other step reads. They are freed with the ``Run``.
        share: All ranks get the values of these, the smallest first, as long as they take no more than this [bytes];
            ``run["name"]`` then never communicates. Others are brought by ``Run.value``.
        check: Whether a step that fails, and a signal to stop, raise an error; else ``Run.status`` tells.
        resume: Take from the store what earlier runs have made.
        force: Steps that run again in any case, with ``resume`` or ``cache``.
        cache: Where blocks are saved and taken from, whatever workflow made them.
        save: Whether blocks are saved in the store.
        store: Where runs leave blocks, run times and sizes for later ones.
        keep_going: When a step fails, finish what does not depend on it.
        replan: Whether ranks that drift from the plan make a new one.
        memory: What blocks may take on each rank [bytes].
        scratch: Where programs run, and blocks go that exceed the memory; a disk of each node.
        grace: How long running tasks may go on after a signal to stop [s].
        watch: After how long without a move each rank says what it waits for, on standard error [s]; 0 for never.
        unreachable: End the job when a node does not answer for so long [s]; 0 for never.
        silence: End the job when a rank gives no sign of life for so long [s]; 0 for never.
        record: Write what happened to this file, as JSON.
        report: Write it to this file as a page for people, in HTML.

    Returns:
        What came of it; values by name.

    Raises:
        DocumentError: The document is wrong; on every rank, with the same problems.
        LaunchError: Ranks see different things or ask for what is not there, on every rank; there is no MPI, or this is not the
            main thread: here.
        StepError: A step failed; on every rank, with the same report. ``error.run`` is what is left.
        StoppedError: A signal stopped the run; likewise.

    A bug of mpiflow, an operation that does not come back when it should end, and silence beyond its limit still end the whole
    job: the other ranks would wait for ever.
    """
    flow = workflow if isinstance(workflow, Workflow) else load(workflow)
    given = flow.given(params)
    taking = resume or cache is not None
    if given.unknown and taking:
        raise LaunchError(f"{'; '.join(given.unknown)}: whether that has changed nobody can tell, so nothing of earlier runs may "
                          "be taken. Give it as an argument, put the operation into a module, or leave out resume and cache")
    if force and not taking:
        raise LaunchError("force is for runs that take from earlier ones, with resume or cache; without, every step runs")
    request = Request(
        given.file, given.overrides, Path(results), keep_going, Path(store).absolute(), replan, save and not given.unknown,
        taking, tuple(force), grace, None if cache is None else Path(cache).absolute(), watch, unreachable, silence, memory,
        Path(scratch or tempfile.gettempdir()).absolute(), timed=(record or report) is not None, written=given.written,
        keep=None if keep is None else tuple(keep), share=share, embedded=True)
    files = Files(*(None if file is None else Path(file).absolute() for file in (record, report)))
    try:
        done = attempt(comm, request, files)
    except DocumentError as error:
        raise flow.blamed(error) from None
    if check:
        done.raise_failure()
    return done


def attempt(comm: MPI.Comm | None, request: Request, files: Files = NOWHERE,
            held: Mapping[str, Value] | None = None) -> Run:
    """Run what is asked for, whatever comes of its steps. **Collective**.

    Args:
        comm: The ranks; None for all.
        request: What to run.
        files: Where the record and the report go.
        held: Blocks that this rank has from before, by id.

    Raises:
        DocumentError, LaunchError: As for ``run``.
    """
    if threading.current_thread() is not threading.main_thread():
        raise LaunchError("mpiflow runs in the main thread only: there it can interrupt operations")
    comm = join_world() if comm is None else comm
    check_comm(comm)
    from mpiflow.peer import run as peer  # needs MPI, so only now

    stops = Stops(returning=True)
    stops.listen()
    return Run(peer.run(comm, request, lambda done: keep_outcome(done, files), stops, held=held), comm)


class Run(Mapping):
    """What came of a run: ``run["bits"]`` is a value. The same on every rank, but for ``local``.

    Values are numpy arrays, or dicts of such for tables; read-only, as they may be what other values share.
    """

    def __init__(self, outcome: Outcome, comm: MPI.Comm) -> None:
        """Wrap the outcome of a run on ``comm``."""
        self.outcome, self._comm = outcome, comm

    @property
    def status(self) -> int:
        """0 if everything ran, 1 if a step failed, 75 if a signal stopped it; as the command line's exit status."""
        return self.outcome.status

    @property
    def seconds(self) -> float:
        """How long it took, without reading and planning [s]."""
        return self.outcome.seconds

    @cached_property
    def summary(self) -> str:
        """What ran where, what moved, where the results are: what the command line prints."""
        return summary(self.outcome)

    @cached_property
    def record(self) -> dict[str, Any]:
        """All that is known of the run, as plain values: what ``--record`` writes."""
        return record(self.outcome)

    @property
    def failure(self) -> str:
        """Which step failed where, and why; empty if none did."""
        return failure(self.outcome) if self.outcome.failed else ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What else the user should know."""
        return self.outcome.warnings

    def report(self) -> Report:
        """Give the report of the run, which a notebook shows in place. Local; previews are read from files of results.

        It has more than 1 MB, all of which a notebook stores; ``run(..., report=FILE)`` leaves it beside the notebook.
        """
        return Report(self.outcome.workflow.document.name, page(self.record, result_files(self.record)))

    def raise_failure(self) -> None:
        """Raise what went wrong, if anything did; on every rank alike.

        Raises:
            StepError: A step failed.
            StoppedError: A signal stopped the run.
        """
        if self.outcome.failed:
            raise StepError(self.failure, self)
        if self.status == STOPPED:
            raise StoppedError(f"stopped by a signal at rank {ranges(self.outcome.stopped_by, ',')}, "
                               f"{count(self.outcome.num_left, 'task')} left; the same with resume=True goes on", self)

    # Values

    def __getitem__(self, name: str) -> Value:
        """Give a value that every rank has. Local: it never waits for anybody.

        Raises:
            KeyError: There is none of this name; on every rank alike. The message says how to have it.
        """
        if name in self.outcome.values:
            return self.outcome.values[name]
        raise KeyError(self._absence(name))

    def __iter__(self) -> Iterator[str]:
        """Go through the names of the values that every rank has."""
        return iter(self.outcome.values)

    def __len__(self) -> int:
        return len(self.outcome.values)

    def value(self, name: str, root: int | None = None) -> Value | None:
        """Bring a value to every rank, or to one. **Collective**, unless every rank has it already (``name in run``).

        Args:
            name: What ``keep`` has named, or kept by default.
            root: The rank that gets it; None for all.

        Returns:
            The value; None on other ranks than ``root``.

        Raises:
            KeyError: It is not kept, or was not made; on every rank alike.
            LaunchError: Ranks ask for different values at the same time; on every rank.
            MachineError: A rank has died.
            OperationError: Its blocks, or instances, cannot be joined.
        """
        outcome = self.outcome
        if name in outcome.values:
            return outcome.values[name] if root in (None, outcome.rank) else None
        if name not in self.blocks or not self._made(name):
            raise KeyError(self._absence(name))
        from mpiflow.peer.sharing import bring

        return bring(self._comm, outcome, name, root)

    def local(self, name: str) -> dict[int, Value]:
        """Give the blocks of a value that this rank holds, by their numbers, from 0. Local.

        Raises:
            KeyError: It is not kept.
        """
        if name not in self.blocks:
            raise KeyError(self._absence(name))
        tasks = self.outcome.plan.graph.datasets[name].tasks
        return {number: self.outcome.kept[task] for number, task in enumerate(tasks) if task in self.outcome.kept}

    @property
    def blocks(self) -> dict[str, tuple[int, ...]]:
        """Each value that is kept, and the rank that holds each of its blocks; -1 for one that was not made."""
        return {name: self.outcome.catalog.holders(name) for name in self.outcome.named}

    def _made(self, name: str) -> bool:
        return all(rank >= 0 for rank in self.outcome.catalog.holders(name))

    def _absence(self, name: str) -> str:
        known = self.outcome.plan.graph.datasets
        if name not in known:
            return f"no dataset or step {name!r}" + did_you_mean(name, known)
        if name not in self.outcome.named:
            return f"the blocks of {name!r} were not kept: run(..., keep=[{name!r}]) keeps them"
        if not self._made(name):
            return f"{name!r} was not made: {self.summary.splitlines()[0]}"
        catalog = self.outcome.catalog
        tasks = known[name].tasks
        size = human_bytes(sum(catalog.tasks[task].nbytes for task in tasks))
        return (f"{name!r} is not on every rank ({size} in {count(len(tasks), 'block')}): run.value({name!r}) brings it, which "
                f" all ranks must call; run.local({name!r}) gives the blocks here")

    # For people

    def __str__(self) -> str:
        return self.summary

    def __repr__(self) -> str:
        return f"<run of {self.outcome.workflow.document.name}: status {self.status}, {len(self)} values>"

    def _repr_html_(self) -> str:
        """Show where values are, and what they are if they are here."""
        shown = {name: _form(self[name]) if name in self else f"on ranks {ranges(ranks)}; value({name!r}) brings it"
                 for name, ranks in self.blocks.items()}
        return run_html(self.summary.splitlines()[0], self.summary + ("\n" + self.failure if self.failure else ""), shown)


@dataclass(frozen=True, repr=False)
class Report:
    """The report of a run, one page that needs nothing else.

    Attributes:
        name: Of the workflow.
        html: The page.
    """

    name: str
    html: str

    def __repr__(self) -> str:
        return f"<report of {self.name}, {human_bytes(len(self.html))}>"

    def _repr_html_(self) -> str:
        return report_html(self.html)


def _form(value: Value) -> str:
    """Columns, dtype, shape, and a number itself."""
    return ", ".join(f"{name + ': ' if name else ''}{array.dtype} {array.shape if array.ndim else f'= {array[()]}'}"
                     for name, array in columns(value))

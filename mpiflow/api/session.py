"""Interactive use: operations on names give handles at once; what they stand for is computed when a value is asked for.

All ranks run the same program, so all of them gather the same handles, and plan and run the same workflow of them.
"""

from __future__ import annotations

import copy
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx

from mpiflow.api.arguments import caller
from mpiflow.api.building import Handle, Workflow, load
from mpiflow.api.running import SHARE, Run, attempt
from mpiflow.errors import DocumentError, MpiflowError, StepError, did_you_mean
from mpiflow.operations.operation import Operation
from mpiflow.operations.registry import Registry, builtin_operations, load_module
from mpiflow.operations.values import Value
from mpiflow.peer.outcome import Request
from mpiflow.report.summary import failure_of
from mpiflow.workflow.terms import Term, call, term

if TYPE_CHECKING:
    from mpiflow.peer.launch import MPI


class Deferred(Handle):
    """What an expression stands for, computed or not; an expression itself, of which others can be made."""

    __slots__ = ("_run", "_session", "_step", "error")
    __hash__ = object.__hash__

    def __init__(self, session: Session, made: Term, step: str) -> None:
        """Prepare; ``Session`` makes these."""
        super().__init__(made.text, made.uses, made._level)
        self._session, self._step = session, step
        self._run: Run | None = None
        self.error: MpiflowError | None = None

    @property
    def state(self) -> str:
        """``waiting`` until it has been computed, then ``done`` or ``failed``; never waits itself. The same on every rank."""
        return "failed" if self.error else "done" if self._run else "waiting"

    def value(self, root: int | None = None) -> Value | None:
        """Give the value, on every rank or on one; computes all that waits, if this does. **Collective**.

        Args:
            root: The rank that gets it; None for all.

        Returns:
            An array, or a dict of arrays for a table, read-only; None on other ranks than ``root``.

        Raises:
            DocumentError: The expression is wrong; on every rank.
            StepError: It, or what it needs, failed; on every rank.
        """
        if self.state == "waiting":
            self._session._waiting[self._step] = self
            self._session.run()
        if self.error:
            raise self.error
        return self._run.value(self._step, root)

    def local(self) -> dict[int, Value]:
        """Give the blocks that this rank holds, by number; none as long as it waits. Local."""
        return self._run.local(self._step) if self._run else {}

    def __repr__(self) -> str:
        return f"<{self.text}: {self.state}>"


class Session:
    """Handles of datasets, steps and operations by name: ``s.real2bin(s.DS1 + s.DS2)``.

    What was computed stays in the memory of the ranks that made it until the session is closed, and the same recipe is computed
    once. Nothing goes on in the background: between two calls that are collective, ranks are the program's own.
    """

    def __init__(self, comm: MPI.Comm | None, workflow: Workflow, options: Mapping[str, Any]) -> None:
        """Begin; ``session`` says what the arguments are."""
        self._comm, self._options = comm, options
        self.workflow = workflow
        self._waiting: dict[str, Deferred] = {}     # by the names of their steps
        self._known: dict[str, Deferred] = {}       # by their texts
        self._held: dict[str, Value] = {}           # blocks of this rank, by id
        self._registries: dict[tuple[str, ...], Registry] = {}      # by the modules in them
        self._num_runs = self._num = 0
        self.last: Run | None = None

    def dataset(self, name: str, **keys: Any) -> Deferred:
        """Add a dataset; see ``Workflow.dataset``."""
        return self(self.workflow.dataset(name, **keys))

    def step(self, name: str, run: Any = None, **keys: Any) -> Deferred:
        """Add a step with a name; see ``Workflow.step``."""
        return self(self.workflow.step(name, run, **keys))

    def __call__(self, expression: Term) -> Deferred:
        """Give the handle of an expression, at once; the same for the same expression."""
        made = term(expression)
        if made.text not in self._known:
            self._known[made.text] = Deferred(self, made, self._step_of(made))
            if not isinstance(made, Handle):    # a name alone is computed where it is needed, or asked for
                self._waiting[self._known[made.text]._step] = self._known[made.text]
        return self._known[made.text]

    def _step_of(self, made: Term) -> str:
        """Name a step for an expression."""
        if isinstance(made, Handle):
            return made.text
        self.workflow._value(made)              # notes operations that come as Python objects
        self._num += 1
        self.workflow._places["steps", f"_{self._num}"] = caller()
        return f"_{self._num}"

    def __getattr__(self, name: str) -> Any:
        """Give a dataset, a step or an operation by its name."""
        if name.startswith("_"):                # what notebooks look for
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            operations = self._operations()
        if name in operations:
            return partial(self._apply, name, operations[name])
        raise AttributeError(f"no dataset, step or operation {name!r}" + did_you_mean(name, operations))

    def __dir__(self) -> list[str]:
        content = self.workflow._content
        return sorted({*super().__dir__(), *self._operations(), *content["datasets"], *content["steps"]})

    def __getitem__(self, name: str) -> Deferred:
        """Give a dataset or a step, also one that is called like a method of this object."""
        return self(self.workflow[name])

    def _operations(self) -> dict[str, Operation | None]:
        """The operations that names stand for; None where a document would load them."""
        self.workflow._open()
        files = tuple(self.workflow._content["operations"])
        if files not in self._registries:
            registry = self._registries[files] = builtin_operations()
            for file in files:
                load_module(self.workflow._file.parent / file, registry)
        return {**dict.fromkeys(self._registries[files]), **self.workflow._operations}

    def _apply(self, name: str, operation: Operation | None, *args: Any, **keywords: Any) -> Deferred:
        return self(call(name, args, keywords, operation))

    def run(self) -> Run | None:
        """Compute all that waits, in one plan. **Collective**; None if nothing waits.

        Raises:
            DocumentError: An expression is wrong; on every rank. What is right still waits.
        """
        if not self._waiting:
            return None
        batch = self._batch()
        given = batch.given()
        request = Request(given.file, given.overrides, keep_going=True, save=False, written=given.written,
                          keep=tuple(self._waiting), embedded=True, again=self._num_runs > 0, **self._options)
        try:
            done = attempt(self._comm, request, held=self._held)
        except DocumentError as error:
            blamed = batch.blamed(error)
            self._refuse(batch.wrong(error), blamed)
            raise blamed from None
        self._num_runs += 1
        self.last = done
        tasks = done.outcome.plan.graph.tasks
        self._held.update({tasks[number].id: value for number, value in done.outcome.kept.items()})
        for step, handle in self._waiting.items():
            handle._run = done
            if -1 in done.blocks[step]:
                handle.error = StepError(failure_of(done.outcome, step), done)
        self._waiting = {}
        return done

    def _refuse(self, steps: Sequence[str], error: DocumentError) -> None:
        """Wait no longer for what is wrong; if nobody knows which that is, for nothing."""
        for step in [step for step in self._waiting if step in steps] or list(self._waiting):
            self._waiting.pop(step).error = error

    def _batch(self) -> Workflow:
        """Give the document of all that waits, and of what this needs."""
        self.workflow._open()
        batch = copy.copy(self.workflow)
        content = dict(self.workflow._content, results={})
        own = {step: batch._value(handle) for step, handle in self._waiting.items() if step != handle.text}
        batch._content = content | {"steps": content["steps"] | own}
        try:
            graph = batch.workflow().graph if batch._content["steps"] else nx.DiGraph()
        except DocumentError:                   # the run says it, on all ranks alike
            return batch
        needed = set(self._waiting).union(*[nx.ancestors(graph, name) for name in self._waiting if name in graph])
        outer = {re.split(r"[.\[]", name)[0] for name in needed}     # inner workflows' names begin with their step's
        steps = {name: step for name, step in batch._content["steps"].items() if name in outer}
        batch._content["steps"] = steps or {"_": f"count({next(iter(self._waiting))})"}     # a document needs a step
        return batch

    def forget(self, *handles: Deferred) -> None:
        """Free the blocks of handles, on all ranks alike; they are computed again when they are asked for. Local."""
        for handle in handles:
            if handle._run is not None:
                graph = handle._run.outcome.plan.graph
                for task in graph.datasets[handle._step].tasks:
                    self._held.pop(graph.tasks[task].id, None)
                handle._run, handle.error = None, None

    def close(self) -> None:
        """Forget everything. Local."""
        self._waiting, self._known, self._held = {}, {}, {}

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def session(comm: MPI.Comm | None = None, workflow: Workflow | str | os.PathLike | None = None, *,
            operations: Sequence[str | os.PathLike | Callable[..., Any]] = (), params: Mapping[str, Any] | None = None,
            share: int = SHARE, memory: int | None = None, store: str | os.PathLike = ".mpiflow",
            scratch: str | os.PathLike | None = None, grace: float = 20.0, watch: float = 30.0, unreachable: float = 30.0,
            silence: float = 0.0) -> Session:
    """Begin to work with names, on all ranks of a communicator. Local; what asks for values is collective.

    Example::

        with mf.session(operations=["ops.py"]) as s:
            s.dataset("DS1", random={"shape": [1000], "seed": 1}, rank=1)
            s.dataset("DS2", random={"shape": [1000], "seed": 2}, rank=2)
            bits = s.real2bin(s.DS1 + s.DS2)            # a handle, at once
            print(bits.state)                           # waiting
            print(bits.value())                         # computed now, where the data lies

    Args:
        comm: The ranks, all of which run the same program; None for all.
        workflow: Where names come from, besides ``dataset`` and ``step``: a workflow, or the file of one, which all ranks see.
        operations: Files with @operation functions, or such functions.
        params: Values of parameters of the workflow.
        share: What values may take that all ranks get as soon as they are computed [bytes].
        memory: What blocks may take on each rank [bytes].
        store: Where run times and sizes are kept for later plans.
        scratch: Where programs run, and blocks go that exceed the memory.
        grace: How long running tasks may go on after a signal to stop [s].
        watch: After how long without a move each rank says what it waits for [s]; 0 for never.
        unreachable: End the job when a node does not answer for so long [s]; 0 for never.
        silence: End the job when a rank gives no sign of life for so long [s]; 0 for never.
    """
    if isinstance(workflow, Workflow):
        base = workflow.copy()
    else:
        base = Workflow("session") if workflow is None else load(workflow, params)
    for item in operations:
        if callable(item):
            base._use(item)
        else:
            base.operations(item)
    options = {"share": share, "memory": memory, "store": Path(store).absolute(), "grace": grace, "watch": watch,
               "scratch": Path(scratch or tempfile.gettempdir()).absolute(), "unreachable": unreachable, "silence": silence}
    return Session(comm, base, options)

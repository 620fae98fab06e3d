"""Values after a run: small ones are given to all ranks at its end, others go where they are asked for."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec
from mpi4py import MPI
from msgspec import msgpack

from mpiflow.catalog.catalog import Catalog, DatasetEntry
from mpiflow.catalog.states import State
from mpiflow.errors import LaunchError, MachineError, OperationError, did_you_mean, ranges
from mpiflow.operations.layout import ArrayHeader, allocate, describe, finished, forms, pieces
from mpiflow.operations.values import Value, columns, concatenate
from mpiflow.peer.epochs import Epochs, exchange
from mpiflow.peer.outcome import Outcome, Request
from mpiflow.peer.pulse import Pulse
from mpiflow.peer.survive import companion
from mpiflow.peer.watch import Meeting, Watch
from mpiflow.planning.tasks import TaskGraph
from mpiflow.storage.blocks import pack, unpack
from mpiflow.workflow.reading import Workflow

PIECE = 1 << 28         # bytes of one message
_decode_blocks = msgpack.Decoder(list[tuple[int, bytes]]).decode


class Asked(msgspec.Struct, frozen=True, array_like=True):
    """What a rank says when a value is asked for: whose, where it is to go (-1: everywhere), and the forms of its own blocks."""

    name: str
    root: int
    blocks: dict[int, tuple[ArrayHeader, ...]]


_decode_asked = msgpack.Decoder(Asked).decode


class Asking(Meeting):
    """Ranks that wait for each other because a value was asked for."""

    def __init__(self, what: str) -> None:
        self._what = what

    def lines(self, now: float, asked: bool) -> list[str]:
        """Say where this rank is."""
        return [f"waits in {self._what}, which all ranks must call, as this one has"]

    def excuse(self, rank: int) -> str:
        """Others may never come."""
        return f"it has not come to {self._what}"


def wanted_names(workflow: Workflow, graph: TaskGraph, request: Request) -> tuple[str, ...]:
    """Give the datasets and steps whose blocks stay in memory when the run is over. Pure.

    Raises:
        LaunchError: One of those that are asked for is not there.
    """
    known = graph.datasets
    if not request.embedded:
        return ()
    if request.keep is not None:
        for name in request.keep:
            if name not in known:
                raise LaunchError(f"keep: no dataset or step {name!r}" + did_you_mean(name, known))
        return tuple(dict.fromkeys(request.keep))
    read = workflow.graph.out_degree
    ends = [name for name in workflow.document.steps if not read(name) and name not in workflow.whole.homes]
    results = [_base(key, known) for key in workflow.document.results]
    return tuple(name for name in dict.fromkeys((*results, *ends)) if name in known)


def _base(key: str, known: Mapping[str, object]) -> str:
    """The dataset that a key of ``results`` is of: sweep for sweep.column.*."""
    while key and key not in known:
        key = key.rpartition(".")[0]
    return key


def whole(entry: DatasetEntry, catalog: Catalog) -> bool:
    """Whether all blocks of a dataset were made."""
    return all(catalog.tasks.state(task) is State.DONE for task in entry.tasks)


def size(entry: DatasetEntry, catalog: Catalog) -> int:
    """Give what a dataset takes [bytes]."""
    return sum(catalog.tasks[task].nbytes for task in entry.tasks)


def join(blocks: Sequence[Value]) -> Value:
    """Give the value of a dataset from its blocks, as result files have it.

    Raises:
        OperationError: They cannot be joined.
    """
    return blocks[0] if len(blocks) == 1 else concatenate(blocks)


def share(epochs: Epochs, outcome: Outcome) -> Outcome:
    """Give all ranks the values that are small, the smallest first, up to ``Request.share`` bytes. **Collective**.

    Which these are follows from the catalog, so it is the same on every rank.
    """
    catalog, entries = outcome.catalog, outcome.plan.graph.datasets
    there = sorted((size(entries[name], catalog), name) for name in outcome.named if whole(entries[name], catalog))
    chosen, left = [], outcome.request.share
    for nbytes, name in there:
        left -= nbytes
        if left >= 0:
            chosen.append(name)
    if len(outcome.hosts) == 1:
        values = {name: [outcome.kept[task] for task in entries[name].tasks] for _, name in there}
    elif chosen:
        tasks = {task for name in chosen for task in entries[name].tasks}
        own = [(task, _packed(value)) for task, value in outcome.kept.items() if task in tasks]
        parts = exchange(epochs, msgpack.encode(own), Asking("the end of mpiflow.run"))
        packed = {task: data for part in parts for task, data in _decode_blocks(part)}
        blocks = {task: unpack(data, "a value") for task, data in packed.items() if data}
        values = {name: [blocks[task] for task in entries[name].tasks] for name in chosen
                  if all(task in blocks for task in entries[name].tasks)}
    else:
        values = {}
    return replace(outcome, values={name: joined for name, found in values.items() if (joined := _joined(found)) is not None})


def _packed(value: Value) -> bytes:
    try:
        return pack(value)
    except OperationError:                      # a dtype that has no form as bytes
        return b""


def _joined(blocks: Sequence[Value]) -> Value | None:
    try:
        return join(blocks)
    except OperationError:                      # instances of different shapes; who asks for them is told
        return None


def bring(comm: MPI.Comm, outcome: Outcome, name: str, root: int | None) -> Value | None:
    """Bring the value of a dataset to one rank, or to all. **Collective** over the ranks of the run.

    Args:
        comm: The communicator of the run.
        outcome: What came of it.
        name: The dataset, whole.
        root: The rank that gets it; None for all.

    Returns:
        The value; None on other ranks than ``root``.

    Raises:
        LaunchError: Ranks ask for different values; on every rank.
        MachineError: A rank has died.
        OperationError: The blocks cannot be joined.
    """
    try:
        return _bring(companion(comm), outcome, name, root)
    except MPI.Exception as error:
        raise MachineError(f"the value of {name!r} did not arrive, as a rank has died or MPI failed: {error}") from None


def _bring(comm: MPI.Comm, outcome: Outcome, name: str, root: int | None) -> Value | None:
    if (comm.size, comm.rank) != (len(outcome.hosts), outcome.rank):
        raise MachineError(f"ranks have died since: {len(outcome.hosts)} took part in the run, and {comm.size} are here")
    what, tasks = f"value({name!r})", outcome.plan.graph.datasets[name].tasks
    epochs = Epochs(comm, Watch(Pulse(comm), outcome.request.watch, 0.0))
    kept = outcome.kept
    own = Asked(name, -1 if root is None else root, {task: _described(kept[task]) for task in tasks if task in kept})
    said = [_decode_asked(part) for part in exchange(epochs, msgpack.encode(own), Asking(what))]
    asked = {(one.name, one.root): [] for one in said}
    for rank, one in enumerate(said):
        asked[one.name, one.root].append(rank)
    if len(asked) > 1:
        listed = "; ".join(f"rank {ranges(ranks, ',')}: {name!r}" + (f" on rank {root}" if root >= 0 else "")
                           for (name, root), ranks in asked.items())
        raise LaunchError(f"ranks ask for different values at the same time: {listed}")
    described = {task: headers for one in said for task, headers in one.blocks.items()}
    if not all(described.values()):
        raise OperationError(f"{name!r} has a dtype that cannot be written as bytes; local({name!r}) gives the blocks of "
                             "each rank")
    blocks = [_block(comm, task, outcome.catalog.tasks[task].rank, root, kept, described[task]) for task in tasks]
    return join(blocks) if root in (None, comm.rank) else None


def _described(value: Value) -> tuple[ArrayHeader, ...]:
    """Describe a block; nothing if that is not possible, which all ranks have to hear."""
    try:
        return describe(value)
    except OperationError:
        return ()


def _block(comm: MPI.Comm, task: int, source: int, root: int | None, kept: Mapping[int, Value],
           headers: Sequence[ArrayHeader]) -> Value | None:
    """Bring one block; None where it is not wanted."""
    mine, wanted = source == comm.rank, root in (None, comm.rank)
    if not (mine or wanted):
        return None
    arrays = list(columns(kept[task])) if mine else allocate(forms(headers))
    parts = pieces(arrays, PIECE)
    if root is None:
        _complete([comm.Ibcast(part, source) for part in parts])
    elif source != root:
        _complete([comm.Isend(part, root) if mine else comm.Irecv(part, source) for part in parts])
    return kept[task] if mine else finished(arrays)


def _complete(requests: Sequence[MPI.Request]) -> None:
    """Wait until all are complete, without burning a core."""
    nap = 20e-6
    for request in requests:
        while not request.Test():
            time.sleep(nap)
            nap = min(nap * 1.5, 3e-4)

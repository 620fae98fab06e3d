"""What one rank saves while a run goes on, and what it finds of earlier work; no MPI here.

What takes longer to make again than to save is saved: each rank counts the time for which it has computed since the last block
that it saved, and saves the next one that is worth it. So short tasks cost nothing, and little is lost with any rank.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Container, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from mpiflow.catalog.entries import Holding
from mpiflow.errors import MachineError
from mpiflow.operations.registry import Registry
from mpiflow.operations.values import Value, nbytes
from mpiflow.planning.reuse import Reason
from mpiflow.planning.tasks import WRITES, Kind, Task, TaskGraph, written_file
from mpiflow.storage.lineage import Lineage
from mpiflow.storage.records import Made
from mpiflow.storage.results import absent_part, stamp
from mpiflow.storage.saving import INLINE, Writer
from mpiflow.storage.store import Found, Place, load, read_store
from mpiflow.workflow.programs import kept_files

LEAST = 5e-3            # seconds of computing that are worth saving a small block,
RATE = 500e6            # and so many bytes a second of it are worth saving a larger one
SPARE = 0.1             # share of a file system that is left free,
MOST_SPARE = 10e9       # but not more than this: large ones are never empty [bytes]
PATIENCE = 60.0         # seconds that blocks have to reach the disk at the end of a run
_MADE = frozenset({Kind.APPLY, Kind.COMBINE, Kind.FINISH, *WRITES})


class Keeper:
    """Saves blocks of one rank in one run. Local.

    Attributes:
        writer: Where they go.
    """

    def __init__(self, workflow: str, registry: Registry, store: Path, run: str, rank: int, host: str) -> None:
        """Prepare to save into ``store``; nothing is on the disk before the first block."""
        self.writer = Writer(store, run, rank)
        self._workflow, self._registry = workflow, registry
        self._store, self._rank, self._host = store, rank, host
        self._spent = 0.0                       # seconds of computing since the last block that was saved
        self._refused = False
        self._lineage: Lineage | None = None

    def follow(self, graph: TaskGraph, results: Path) -> None:
        """Say from now on of what is saved where it comes from: tasks are those of ``graph``, results go to ``results``."""
        self._lineage = Lineage(graph, self._registry, results)
        self.writer.start()

    def offer(self, task: Task, value: Value, seconds: float, before: float = 0.0, number: int = -1) -> None:
        """Save what a task has made, if that is worth it.

        Args:
            task: What was done.
            value: Its block.
            seconds: How long it ran [s].
            before: How long others ran whose blocks were not offered, since the last that was [s].
            number: The number of the task in the graph that is followed.
        """
        self._spent += before + seconds
        size = nbytes(value)
        if task.kind not in _MADE or (self._spent < LEAST + size / RATE and task.kind not in WRITES):
            return
        if size > INLINE and not self._has_room(size):
            self._refused = True
            return
        code = self._registry[task.operation].code if task.operation else ""
        made = Made(task.id, task.step, size, seconds, self._rank, self._host, self._workflow, code, ended=time.time())
        if self.writer.save(made, value, partial(self._lineage.told, number) if self._lineage else None):
            self._spent = 0.0

    def _has_room(self, size: int) -> bool:
        """Whether the file system has room enough that nobody else is left without."""
        try:
            usage = shutil.disk_usage(next(folder for folder in (self._store, *self._store.parents) if folder.exists()))
        except OSError:
            return True                         # the writer will say what is wrong
        return usage.free - size > min(SPARE * usage.total, MOST_SPARE)

    def close(self) -> str:
        """Bring everything onto the disk, and say what went wrong, if anything did; nothing may be offered any more."""
        flushed = self.writer.close(PATIENCE)
        if self.writer.error:
            return self.writer.error
        if not flushed:
            return f"did not save all blocks: the disk of {self._store} took longer than {PATIENCE:g} s at the end"
        return f"did not save all blocks: the disk of {self._store} is nearly full" if self._refused else ""


def find(graph: TaskGraph, workflow: str, registry: Registry, store: Path, results: Path,
         rank: int) -> tuple[Holding, dict[int, Place]]:
    """Look which blocks of ``graph`` are in ``store``. Local.

    Returns:
        What others are told, and where each block is.
    """
    numbers = {task.id: number for number, task in enumerate(graph.tasks)}
    try:
        found = read_store(store)
    except MachineError as error:
        return Holding(rank, damages=(str(error),)), {}
    places: dict[int, Place] = {}
    lost: set[int] = set()
    for number in sorted(numbers[id] for id in found.made.keys() & numbers.keys()):       # the parts of a result come before it
        if _there(graph, number, found, results, lost):
            places[number] = found.places[graph.tasks[number].id]
        else:
            lost.add(number)
    blocks = tuple([(number, found.made[graph.tasks[number].id].nbytes) for number in places])
    changed = tuple(sorted(_changed(graph, workflow, registry, found, numbers)))
    return Holding(rank, blocks, tuple(sorted(lost)), changed, tuple(found.damages)), places


def _there(graph: TaskGraph, number: int, found: Found, results: Path, lost: Container[int]) -> bool:
    """Whether a block looks as if it could be loaded; a written result counts as long as its files are as they were written.

    It does not if one of its parts is ``lost``. Of files that a program has made and that are kept it counts that they are there.
    """
    task = graph.tasks[number]
    place = found.places[task.id]
    if task.kind is Kind.APPLY and not all(os.path.exists(results / file) for file in kept_files(task.parameters)):
        return False
    if task.kind not in WRITES:
        return place.offset > 0 or os.path.exists(place.file)
    file = results / written_file(task)
    parts = [need for need in task.needs if graph.tasks[need].kind is Kind.WRITE_PART]
    try:
        same = np.array_equal(load(place), stamp(file))
        return same and not (parts and absent_part(file)) and not any(part in lost for part in parts)
    except (MachineError, OSError):
        return False


def _changed(graph: TaskGraph, workflow: str, registry: Registry, found: Found,
             numbers: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Give the steps that ran before in another way, and what is different.

    A step may have several operations, and not all that it made was saved; so its code has changed if it was made by code
    that it does not have now, and has code now by which nothing was made.
    """
    codes: dict[str, set[str]] = {}
    for task in graph.tasks:
        if task.kind in _MADE:
            codes.setdefault(task.step, set()).add(registry[task.operation].code if task.operation else "")
    before: dict[str, set[str]] = {}
    for id, made in found.made.items():
        if made.workflow == workflow and made.step in codes and id not in numbers:
            before.setdefault(made.step, set()).add(made.code)
    for step, seen in before.items():
        yield step, Reason.CODE_CHANGED if seen - codes[step] and codes[step] - seen else Reason.INPUT_CHANGED

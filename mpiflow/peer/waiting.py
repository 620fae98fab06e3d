"""What a rank does and waits for, in words; no MPI here."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from mpiflow.catalog.states import State
from mpiflow.errors import ranges
from mpiflow.peer.state import PeerState
from mpiflow.planning.tasks import Task

_SHOWN = 8              # lines of one kind
_NEXT = 3               # tasks that a silent rank may have come to
_OWN = str(Path(__file__).parent)


class UnderWay(Protocol):
    """What ``Transfers`` knows of blocks under way: task, other rank, messages left."""

    @property
    def num_left(self) -> int: ...

    @property
    def coming(self) -> list[tuple[int, int, int]]: ...

    @property
    def leaving(self) -> list[tuple[int, int, int]]: ...


class Work:
    """A rank that takes part in a run, as a watch sees it."""

    def __init__(self, state: PeerState, transfers: UnderWay) -> None:
        self._state = state
        self._transfers = transfers
        self._task: tuple[int | None, float] = None, 0.0

    @property
    def epoch(self) -> int:
        """The number of epochs that are over."""
        return self._state.catalog.version

    def progress(self) -> tuple[int, object]:
        """Give the number of epochs, and what is another when a task ends or a block moves; in each epoch while tasks run."""
        catalog, transfers = self._state.catalog, self._transfers
        if self._state.running != self._task[0]:
            self._task = self._state.running, time.perf_counter()
        beat = catalog.version if catalog.running or self._state.running is not None else 0
        received = sum([traffic.received for traffic in catalog.traffic])
        return catalog.version, (catalog.num_open, received, beat, transfers.num_left)

    def lines(self, now: float, asked: bool) -> list[str]:
        """Say what is running, what is under way and what is waited for; who asked has the stack already."""
        state, tasks = self._state, self._state.plan.graph.tasks
        found = []
        if state.running is not None:
            found.append(f"runs {name(state.running, tasks)} for {now - self._task[1]:.1f} s")
            found += [] if asked else [f"  {line}" for line in user_stack()]
        else:
            found.append("runs nothing" + (": it starts nothing more" if state.stopping else ""))
        entries = state.catalog.tasks
        found += _some(f"when rank {entries[task].rank} was last heard of, it ran {name(task, tasks)}"
                       for task in sorted(state.catalog.running - {state.running}))
        found += _some(self._waited_for())
        found += _some(f"receives {name(task, tasks)} from rank {rank}, {num} messages are left"
                       for task, rank, num in self._transfers.coming)
        found += _some(f"sends {name(task, tasks)} to rank {rank}, {num} messages are left"
                       for task, rank, num in self._transfers.leaving)
        return found if len(found) > 1 or state.running is not None else [*found, *self._open()]

    def excuse(self, rank: int) -> str:
        """Say why ``rank`` may be silent, with the tasks that it runs or comes to next, as far as this rank knows."""
        plan, entries = self._state.plan, self._state.catalog.tasks
        open_tasks = [task for task in plan.order if plan.ranks[task] == rank and not entries.state(task).final]
        running = [task for task in open_tasks if task in self._state.catalog.running]
        named = ", ".join(name(task, plan.graph.tasks) for task in running or open_tasks[:_NEXT])
        there = f"; {'it runs' if running else 'next there:'} {named}" if named else ""
        return f"an operation there keeps the interpreter to itself{there}"

    def _open(self) -> Iterable[str]:
        """Say why the run is not over although nothing is to be done here."""
        catalog, tasks = self._state.catalog, self._state.plan.graph.tasks
        open_tasks = np.flatnonzero(catalog.tasks.states < State.CANCELLED).tolist()
        if open_tasks:
            named = ", ".join(f"{name(task, tasks)} on rank {self._state.plan.ranks[task]}" for task in open_tasks[:_NEXT])
            yield f"{len(open_tasks)} tasks are open, as all know: {named}{', ...' if len(open_tasks) > _NEXT else ''}"
        busy = [rank for rank, settled in enumerate(catalog.settled) if not settled]
        if busy:
            yield f"rank {ranges(busy, ',')} has something to run or to send, as all know"
        sent, received = (sum(counts) for counts in zip(*((t.num_sent, t.received) for t in catalog.traffic), strict=True))
        if sent != received:
            yield f"{sent} blocks have left and {received} have arrived, as all know"

    def _waited_for(self) -> Iterable[str]:
        for block, source, made in awaited(self._state):
            yield (f"waits for the block of {name(block, self._state.plan.graph.tasks)} from rank {source}; as all know, it is "
                   f"{made}")


def awaited(state: PeerState) -> Iterable[tuple[int, int, str]]:
    """Give each block that tasks here wait for, the rank that it comes from, and the state of the task that makes it."""
    plan = state.plan
    for block in state.waiting_for:
        source = next((source for source, rank in plan.routes[block] if rank == state.rank), plan.ranks[block])
        yield block, source, state.catalog.tasks.state(block).name.lower()


def name(number: int, tasks: Sequence[Task]) -> str:
    """Name a task as people know it."""
    task = tasks[number]
    return f"task {number} (step {task.name!r}{f', operation {task.operation}' if task.operation else ''})"


def user_stack() -> list[str]:
    """Where user code is in the main thread, innermost call last; nothing if there is none."""
    frame = sys._current_frames().get(threading.main_thread().ident)
    frames = traceback.extract_stack(frame) if frame else []
    last = max((i for i, item in enumerate(frames) if item.filename.startswith(_OWN)), default=len(frames))
    return [f"at {item.filename}:{item.lineno} in {item.name}: {item.line}" for item in frames[last + 1:][-_SHOWN:]]


def _some(lines: Iterable[str]) -> list[str]:
    """Give the first lines, and how many more there are."""
    all_lines = list(lines)
    more = len(all_lines) - _SHOWN
    return all_lines if more <= 0 else [*all_lines[:_SHOWN], f"and {more} more of these"]

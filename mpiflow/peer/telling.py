"""How this rank stands, looked at about once a second by a thread of its own, for people; no MPI here.

It reads what other threads change, without a lock: what it sees may be a moment old, and it never keeps anybody waiting. A run
is not looked at in its first second: by then many are over.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mpiflow.catalog.states import State
from mpiflow.peer.loop import Loop
from mpiflow.peer.outcome import Outcome
from mpiflow.peer.state import PeerState
from mpiflow.peer.waiting import awaited
from mpiflow.storage.accounts import RankState, Waited
from mpiflow.storage.runs import birth

FIRST = 1.0             # seconds before the first look
PERIOD = 1.0            # seconds between two looks, at least,
SHARE = 300             # and so many times what a look takes of the processor
_CROWD = 50             # all ranks together write so many states a second: it may be one file server that takes them
_LISTED = 8             # blocks that a rank waits for
_LAST = 5.0             # seconds that the last look may take
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class View:
    """One look at a run that goes on.

    Attributes:
        own: How this rank stands.
        state: What it knows of the others: plan and catalog are to be read only.
        seconds: How long tasks have been running [s].
        hosts: Node of each rank.
        so_far: Gives what would be the outcome if the run ended now.
    """

    own: RankState
    state: PeerState
    seconds: float
    hosts: tuple[str, ...]
    so_far: Callable[[], Outcome]


Observer = Callable[[View], None]


class Teller:
    """Has somebody look at a round now and then."""

    def __init__(self, view: Callable[[bool], View], observe: Observer, first: float = FIRST) -> None:
        """Prepare; ``start`` starts.

        Args:
            view: Gives a look, and takes whether it is the last one.
            observe: Shows it to people, or keeps it for them.
            first: Seconds before the first look.
        """
        self._view, self._observe, self._first = view, observe, first
        self._looked = self._ended = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mpiflow-telling", daemon=True)

    def start(self) -> None:
        """Look from now on."""
        self._thread.start()

    def close(self, ended: bool) -> None:
        """Look no more; but a last time if the run has come to its end, and is known to anybody. Waits for that."""
        self._ended = ended
        self._closed.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(_LAST)

    def _work(self) -> None:
        pause = self._first
        try:
            while not self._closed.wait(pause):
                before, self._looked = time.thread_time(), True
                self._observe(self._view(False))
                pause = max(PERIOD, SHARE * (time.thread_time() - before))
            if self._looked and self._ended:
                self._observe(self._view(True))
        except Exception:           # what people see of a run must not end it
            print(f"mpiflow: warning: this rank is not reported on any more:\n{traceback.format_exc()}", file=sys.__stderr__)


def standing(run: str, workflow: str, name: int, seconds: float, state: PeerState, loop: Loop, ended: bool) -> RankState:
    """Say how this rank stands, and let the others know what memory it takes. Local, for any thread.

    Args:
        run: Name of the run.
        workflow: That of the workflow.
        name: The rank's number at first.
        seconds: How long tasks have been running [s].
        state: What it knows.
        loop: What it does.
        ended: Whether it has come to the end.
    """
    state.memory = memory = resident()
    catalog, doing = state.catalog, loop.doing
    num_tasks, num_done, num_failed = state.tally
    sent, received = state.moved
    tasks, size = state.plan.graph.tasks, len(catalog.settled)
    waited = [] if doing or ended else list(awaited(state))
    pid, now = os.getpid(), time.time()
    return RankState(
        run=run, name=name, rank=state.rank, host=socket.gethostname(), pid=pid, born=birth(pid), time=now,
        period=max(PERIOD, size / _CROWD), ended=ended, num_tasks=num_tasks, num_done=num_done, num_failed=num_failed,
        running=doing and doing[0], doing=tasks[doing[0]].name if doing else "",
        since=now - (time.perf_counter() - doing[1]) if doing else 0.0,
        waiting=tuple([Waited(task, tasks[task].name, *rest) for task, *rest in waited[:_LISTED]]), num_waiting=len(waited),
        sent=sent, received=received, memory=memory, epochs=catalog.version, workflow=workflow, seconds=seconds, size=size,
        all_tasks=len(tasks), all_done=int((catalog.tasks.states == State.DONE).sum()), all_failed=len(catalog.failed))


def resident(file: Path = Path("/proc/self/statm")) -> int:
    """Give what this process takes of the memory [bytes]; 0 if the system does not say."""
    try:
        return int(file.read_bytes().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0

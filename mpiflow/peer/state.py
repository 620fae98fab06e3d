"""One rank's part of a run as a pure state machine: events in, actions out; no MPI, no clock, no data.

Every rank owns one of these. What a rank decides follows from the plan, which all ranks share; from its own blocks and
tasks; and from the catalog, which after epoch k is the same everywhere. News travels by epochs only, blocks by
transfers only.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple

from mpiflow.catalog.catalog import Catalog
from mpiflow.catalog.entries import Delta, Form, TaskEntry, Traffic
from mpiflow.catalog.states import Change, State, advance
from mpiflow.errors import InternalError
from mpiflow.planning.plan import Plan


class Finished(NamedTuple):
    """The running task has made its block."""

    task: int
    start: float
    seconds: float
    nbytes: int
    form: Form = ()


class Raised(NamedTuple):
    """The running task has failed."""

    task: int
    start: float
    seconds: float
    error: str


class Stopped(NamedTuple):
    """The running task was interrupted, or will never come back."""

    task: int


class Arrived(NamedTuple):
    """A block from another rank is here, whole."""

    task: int


class Sent(NamedTuple):
    """A block has left for another rank, whole; its memory is ours again."""

    task: int
    rank: int
    nbytes: int


class EpochDue(NamedTuple):
    """It is time to take part in the next epoch."""


class EpochDone(NamedTuple):
    """An epoch is complete."""

    deltas: Sequence[Delta]


Event = Finished | Raised | Stopped | Arrived | Sent | EpochDue | EpochDone


class Run(NamedTuple):
    """Run a task; answered by Finished, Raised or Stopped."""

    task: int


class Send(NamedTuple):
    """Send a block; answered by Sent."""

    task: int
    rank: int


class Free(NamedTuple):
    """Forget a block: nobody here needs it any more."""

    task: int


class Exchange(NamedTuple):
    """Take part in the next epoch; answered by EpochDone."""

    delta: Delta


class Interrupt(NamedTuple):
    """Make the running task end; answered by Stopped, Finished or Raised."""

    task: int


class End(NamedTuple):
    """Every rank knows that the run is over: nothing is running or under way anywhere."""


Action = Run | Send | Free | Exchange | Interrupt | End


class PeerState:
    """What one rank knows and does.

    Attributes:
        rank: This rank.
        catalog: Its replica.
        running: The task that runs here now, if any.
        ended: Whether the run is over.
    """

    def __init__(self, rank: int, plan: Plan, catalog: Catalog, keep_going: bool = False) -> None:
        self.rank = rank
        self.plan = plan
        self.catalog = catalog
        self.keep_going = keep_going
        self.running: int | None = None
        self.ended = False
        self._stopping = False
        self._in_epoch = False
        self._news: dict[int, TaskEntry] = {}
        self._reported: tuple[bool, Traffic] | None = None
        self._traffic: dict[int, list[int]] = {}
        self._received = 0
        self._num_sending = 0
        self._position = {task: place for place, task in enumerate(plan.order)}
        self._states = {task: State.PLANNED for task in plan.order if plan.ranks[task] == rank}
        self._num_open = len(self._states)
        self._needs = {task: plan.graph.needs[task] for task in self._states}
        self._missing = {task: len(needs) for task, needs in self._needs.items()}
        self._held: set[int] = set()
        self._users: dict[int, int] = {}                    # block: local tasks and sends that still need it
        self._here = {
            block: [task for task in plan.graph.consumers[block] if task in self._states]
            for block in {need for needs in self._needs.values() for need in needs} | set(self._states)}
        self._ready = [(self._position[task], task) for task, num in self._missing.items() if not num]
        heapq.heapify(self._ready)
        self._handlers = {
            Finished: self._on_finished, Raised: self._on_raised, Stopped: self._on_stopped, Arrived: self._on_arrived,
            Sent: self._on_sent, EpochDue: self._on_epoch_due, EpochDone: self._on_epoch_done,
        }

    @property
    def settled(self) -> bool:
        """Whether this rank has nothing left to run or send."""
        return self._num_open == 0 and self._num_sending == 0

    @property
    def waiting_for(self) -> list[int]:
        """The blocks from other ranks that tasks here still wait for."""
        return sorted({
            need for task, state in self._states.items() if state is State.PLANNED
            for need in self._needs[task] if need not in self._held and need not in self._states})

    def begin(self) -> list[Action]:
        """Give the first actions."""
        return self._continue([])

    def handle(self, event: Event) -> list[Action]:
        """Take one event and give what is to be done now, in order.

        Raises:
            InternalError: The event cannot happen now, or ranks disagree; nothing was changed.
        """
        if self.ended:
            raise InternalError(f"rank {self.rank}: {event} after the end")
        return self._continue(self._handlers[type(event)](event))

    def _continue(self, actions: list[Action]) -> list[Action]:
        """Start the next task if there is one, and report at once what others wait for."""
        if self.running is None and self._ready and not self._stopping:
            _, task = heapq.heappop(self._ready)
            self._states[task] = advance(self._states[task], Change.START)
            self.running = task
            actions.append(Run(task))
        if not self._in_epoch and not self.ended and self._urgent:
            actions.append(self._exchange())
        return actions

    @property
    def _urgent(self) -> bool:
        """Whether others wait for our news: a failure, or that we are done."""
        if self._stopping and self._news:
            return True
        return self.settled and (bool(self._news) or self._reported != (True, self._own_traffic()))

    # Tasks

    def _close(self, task: int, change: Change, start: float = 0.0, seconds: float = 0.0, nbytes: int = 0,
               form: Form = (), error: str = "") -> None:
        """A task comes to its final state, which is news for the others."""
        self._states[task] = state = advance(self._states[task], change)
        self._num_open -= 1
        self._news[task] = TaskEntry(task, 0, state, self.rank, start, seconds, nbytes, form, error)

    def _back(self, task: int) -> None:
        """The running task has come back."""
        if self.running != task:
            raise InternalError(f"rank {self.rank}: task {task} ended, but {self.running} is running")
        self.running = None

    def _on_finished(self, event: Finished) -> list[Action]:
        task = event.task
        self._back(task)
        self._close(task, Change.FINISH, event.start, event.seconds, event.nbytes, event.form)
        actions: list[Action] = [Send(task, rank) for rank in self.plan.destinations[task] if not self._stopping]
        self._num_sending += len(actions)
        for send in actions:
            self._traffic.setdefault(send.rank, [0, 0])
        self._users[task] = len(actions)
        self._hold(task)
        return actions + self._release(self._needs[task]) + self._free_if_unused(task)

    def _on_raised(self, event: Raised) -> list[Action]:
        self._back(event.task)
        self._close(event.task, Change.FAIL, event.start, event.seconds, error=event.error)
        self._stopping = self._stopping or not self.keep_going
        return self._release(self._needs[event.task])

    def _on_stopped(self, event: Stopped) -> list[Action]:
        self._back(event.task)
        self._close(event.task, Change.CANCEL)
        return self._release(self._needs[event.task])

    # Blocks

    def _hold(self, block: int) -> None:
        """A block is here: tasks that waited for nothing else become ready."""
        self._held.add(block)
        waiting = [task for task in self._here[block] if not self._states[task].final]
        self._users[block] = self._users.get(block, 0) + len(waiting)
        for task in waiting:
            self._missing[task] -= 1
            if not self._missing[task]:
                heapq.heappush(self._ready, (self._position[task], task))

    def _release(self, blocks: Sequence[int]) -> list[Action]:
        """A task or send that needed ``blocks`` needs them no more."""
        freed: list[Action] = []
        for block in blocks:
            if block in self._held:
                self._users[block] -= 1
                freed += self._free_if_unused(block)
        return freed

    def _free_if_unused(self, block: int) -> list[Action]:
        if self._users[block]:
            return []
        self._held.remove(block)
        return [Free(block)]

    def _on_arrived(self, event: Arrived) -> list[Action]:
        block = event.task
        if block in self._held or block not in self._here or self.plan.ranks[block] == self.rank:
            raise InternalError(f"rank {self.rank}: block {block} arrived uncalled for")
        self._received += 1
        self._hold(block)
        return self._free_if_unused(block)

    def _on_sent(self, event: Sent) -> list[Action]:
        traffic = self._traffic[event.rank]
        traffic[0] += 1
        traffic[1] += event.nbytes
        self._num_sending -= 1
        return self._release((event.task,))

    # Epochs

    def _own_traffic(self) -> Traffic:
        sent = tuple((rank, blocks, nbytes) for rank, (blocks, nbytes) in sorted(self._traffic.items()))
        return Traffic(self._received, sent)

    def _exchange(self) -> Exchange:
        traffic = self._own_traffic()
        if self.running is not None:
            self._news[self.running] = TaskEntry(self.running, 0, State.RUNNING, self.rank)
        delta = Delta(self.rank, self.catalog.digest, self.settled, traffic, tuple(self._news.values()))
        self._reported = (self.settled, traffic)
        self._news = {}
        self._in_epoch = True
        return Exchange(delta)

    def _on_epoch_due(self, event: EpochDue) -> list[Action]:
        return [] if self._in_epoch else [self._exchange()]

    def _on_epoch_done(self, event: EpochDone) -> list[Action]:
        strangers = [delta.rank for delta in event.deltas if delta.digest != self.catalog.digest]
        if strangers:
            raise InternalError(f"ranks disagree on plan or catalog in epoch {self.catalog.version}: rank {self.rank} has "
                                f"digest {self.catalog.digest:016x}, ranks {strangers} have others; does an operation declare "
                                "nbytes or seconds by a function that does not always give the same?")
        self._in_epoch = False
        news = self.catalog.epoch(event.deltas)
        if self.catalog.quiet:
            self.ended = True
            return [End()]
        lost = {entry.task for entry in news if entry.state in (State.FAILED, State.CANCELLED)}
        return self._cancel(lost) if lost else []

    def _cancel(self, lost: set[int]) -> list[Action]:
        """Give up what cannot or shall not run any more, now that everyone knows of the failure."""
        if self.keep_going:
            doomed = self.plan.graph.descendants(lost)
        else:
            self._stopping = True
            doomed = set(self._states)
        actions: list[Action] = []
        for task in sorted(doomed.intersection(self._states)):
            if self._states[task] is State.PLANNED:
                self._close(task, Change.CANCEL)
                actions += self._release(self._needs[task])
            elif task == self.running:
                actions.append(Interrupt(task))
        self._ready = [(place, task) for place, task in self._ready if self._states[task] is State.PLANNED]
        heapq.heapify(self._ready)
        return actions

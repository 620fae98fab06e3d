"""One rank's part of a run as a pure state machine: events in, actions out; no MPI, no clock, no data.

Every rank owns one of these. What a rank decides follows from the plan, which all ranks share; from its own blocks and
tasks; and from the catalog, which after epoch k is the same everywhere. News travels by epochs only, blocks by
transfers only.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mpiflow.catalog.catalog import Catalog
from mpiflow.catalog.entries import Delta, Form, TaskEntry, Traffic
from mpiflow.catalog.states import Change, State, advance
from mpiflow.errors import InternalError
from mpiflow.planning.learning import LEAST_GAIN, Learning
from mpiflow.planning.machine import Machine
from mpiflow.planning.plan import Plan, make_plan


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
_PLANNED = State.PLANNED


class PeerState:
    """What one rank knows and does.

    A new plan is made in two epochs. When the catalog of version k shows that ranks have drifted from the plan, each
    rank freezes as it sees version k: it starts nothing, sends no block that it makes, forgets no block, and posts its next
    delta at once. So version k + 1 says of each task whether anybody has started it, and stays true until each rank
    has seen it: then all place the tasks that nobody has claimed anew, by the same function, and go on.

    Attributes:
        rank: This rank.
        catalog: Its replica.
        plan: The plan in force.
        running: The task that runs here now, if any.
        ended: Whether the run is over.
        num_plans: How many plans there were.
    """

    def __init__(self, rank: int, plan: Plan, catalog: Catalog, machine: Machine, *, keep_going: bool = False,
                 replan: bool = True) -> None:
        self.rank = rank
        self.catalog = catalog
        self.machine = machine
        self.keep_going = keep_going
        self.running: int | None = None
        self.ended = False
        self.num_plans = 0
        self._replan = replan and machine.size > 1
        self._learning: Learning | None = None
        self._spent = 0.0                               # what tasks took on all ranks, as of this version [s]
        self._frozen = False
        self._stopping = False                          # this rank starts nothing more
        self._over = False                              # and every rank knows that
        self._in_epoch = False
        self._news: dict[int, TaskEntry] = {}
        self._reported: tuple[bool, Traffic] | None = None
        self._traffic: dict[int, list[int]] = {}
        self._received = 0
        self._num_sending = 0
        self._sending: dict[int, int] = {}              # block: ranks that it is being sent to
        num = len(plan.graph.tasks)
        self._needs = plan.graph.needs
        self._consumers = plan.graph.consumers
        self._states = [State.PLANNED] * num            # of the tasks that are placed here
        self._missing = [0] * num                       # blocks that such a task waits for
        self._users: dict[int, int] = {}                # block that is here: tasks here and sends that still need it
        self._forwards: dict[int, list[int]] = {}       # block that will be here: ranks that get it from here
        self._expected: dict[int, int] = {}             # block: how often it will still arrive
        self._early: list[int] = []                     # blocks that a plan not seen yet has sent here
        self._doomed: set[int] = set()
        self._adopt(plan, range(num))
        self._handlers = {
            Finished: self._on_finished, Raised: self._on_raised, Stopped: self._on_stopped, Arrived: self._on_arrived,
            Sent: self._on_sent, EpochDue: self._on_epoch_due, EpochDone: self._on_epoch_done,
        }

    def _adopt(self, plan: Plan, tasks: Iterable[int]) -> None:
        """Follow ``plan``, which places ``tasks`` (and leaves all others where they are)."""
        self.plan = plan
        self.num_plans += 1
        self._ranks = plan.ranks
        mine = [task for task in tasks if plan.ranks[task] == self.rank]
        self._position = _positions(plan.order)
        self._num_open = len(mine) + (self.running is not None)
        held, missing, needs, position = self._users, self._missing, self._needs, self._position
        self._ready = []
        for task in mine:
            missing[task] = num = len(needs[task]) - sum(need in held for need in needs[task]) if held else len(needs[task])
            if not num:
                self._ready.append(position[task])
        heapq.heapify(self._ready)
        for block, edges in enumerate(plan.routes):
            for source, destination in edges:
                if source == self.rank:
                    self._forwards.setdefault(block, []).append(destination)
                if destination == self.rank:
                    self._expected[block] = self._expected.get(block, 0) + 1
        for block in self._early:
            self._expected[block] -= 1
        self._early = []

    @property
    def settled(self) -> bool:
        """Whether this rank has nothing left to run or send."""
        return self._num_open == 0 and self._num_sending == 0

    @property
    def waiting_for(self) -> list[int]:
        """The blocks from other ranks that tasks here still wait for."""
        return sorted({
            need for task, rank in enumerate(self._ranks) if rank == self.rank and self._states[task] is State.PLANNED
            for need in self._needs[task] if need not in self._users and self._ranks[need] != self.rank})

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
        if self.running is None and self._ready and not self._stopping and not self._frozen:
            task = self.plan.order[heapq.heappop(self._ready)]
            self._states[task] = advance(self._states[task], Change.START)
            self.running = task
            actions.append(Run(task))
        if not self._in_epoch and not self.ended and (not self._num_open or self._stopping) and self._urgent:
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
        return self._hold(task) + self._release(self._needs[task])

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

    def _hold(self, block: int) -> list[Action]:
        """A block is here: it goes on to others, and tasks that waited for nothing else become ready."""
        rank, ranks, states, missing, users = self.rank, self._ranks, self._states, self._missing, 0
        for task in self._consumers[block]:
            if ranks[task] == rank and states[task] is _PLANNED:
                users += 1
                missing[task] -= 1
                if not missing[task]:
                    heapq.heappush(self._ready, self._position[task])
        self._users[block] = users
        actions = self._send(block) if block in self._forwards else []
        return actions or self._free_if_unused(block)

    def _send(self, block: int) -> list[Action]:
        """Send a block that is here to those who get it from here; while frozen it waits for the new plan."""
        if self._stopping or self._frozen:
            return []
        sends: list[Action] = [Send(block, rank) for rank in self._forwards.pop(block)]
        self._users[block] += len(sends)
        self._sending[block] = self._sending.get(block, 0) + len(sends)
        self._num_sending += len(sends)
        return sends

    def _release(self, blocks: Sequence[int]) -> list[Action]:
        """A task or send that needed ``blocks`` needs them no more."""
        freed: list[Action] = []
        users = self._users
        for block in blocks:
            num = users.get(block)
            if num is not None:
                users[block] = num - 1
                if num == 1:
                    freed += self._free_if_unused(block)
        return freed

    def _free_if_unused(self, block: int) -> list[Action]:
        if self._users[block] or self._frozen:
            return []
        del self._users[block]
        return [Free(block)]

    def _on_arrived(self, event: Arrived) -> list[Action]:
        block = event.task
        num = self._expected.get(block)
        if num:
            self._expected[block] = num - 1
        elif self._frozen:                  # its sender has the new plan already
            self._early.append(block)
        else:
            raise InternalError(f"rank {self.rank}: block {block} arrived uncalled for")
        self._received += 1
        if block in self._users:        # it came twice, by an old plan and a new one
            return self._send(block) if block in self._forwards else []
        return self._hold(block)

    def _on_sent(self, event: Sent) -> list[Action]:
        traffic = self._traffic.setdefault(event.rank, [0, 0])
        traffic[0] += 1
        traffic[1] += event.nbytes
        self._num_sending -= 1
        self._sending[event.task] -= 1
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
            self.ended, self._frozen = True, False
            return [*self._sweep(), End()]
        lost = {entry.task for entry in news if entry.state in (State.FAILED, State.CANCELLED)}
        actions = self._cancel(lost) if lost else []
        if self._frozen:
            self._frozen = False
            return actions + self._plan_again()
        if self._replan and not self._over and self._drifted(news):
            self._frozen = True
            actions.append(self._exchange())
        return actions

    def _cancel(self, lost: set[int]) -> list[Action]:
        """Give up what cannot or shall not run any more, now that everyone knows of the failure."""
        if self.keep_going:
            doomed = self.plan.graph.descendants(lost)
            self._doomed |= doomed
        else:
            self._stopping = self._over = True
            doomed = set(range(len(self._ranks)))
        actions: list[Action] = []
        for task in sorted(doomed):
            if self._ranks[task] != self.rank:
                continue
            if self._states[task] is State.PLANNED:
                self._close(task, Change.CANCEL)
                actions += self._release(self._needs[task])
            elif task == self.running:
                actions.append(Interrupt(task))
        self._ready = [place for place in self._ready if self._states[self.plan.order[place]] is State.PLANNED]
        heapq.heapify(self._ready)
        return actions

    # Plans

    def _running(self) -> dict[int, float]:
        """For how long each running task has been running, as all ranks know it [s]."""
        tasks = self.catalog.tasks
        return {task: self.catalog.elapsed[tasks[task].rank] for task in sorted(self.catalog.running)}

    def _drifted(self, news: Sequence[TaskEntry]) -> bool:
        """Whether the catalog shows that another plan would be worth its cost."""
        self._spent += sum(entry.seconds for entry in news)
        if self._learning is None:
            if self._spent + sum(self.catalog.elapsed) < LEAST_GAIN:
                return False
            self._learning = Learning(self.plan, self.machine)
            news = self.catalog.tasks
        self._learning.learn(news)
        return self._learning.due(self._running())

    def _plan_again(self) -> list[Action]:
        """Place what nobody has claimed anew; what was held back while frozen goes on."""
        actions: list[Action] = []
        if not self._over:
            plan, free = self._new_plan()
            done = State.DONE
            entries = self.catalog.tasks
            self._forwards = {block: ranks for block, ranks in self._forwards.items() if entries[block].state is done}
            self._expected = {block: num for block, num in self._expected.items() if num and entries[block].state is done}
            self._adopt(plan, free)
            self.catalog.follow(plan.digest)
            self._count_users()
            for block in sorted(self._users.keys() & self._forwards.keys()):
                actions += self._send(block)
        return actions + self._sweep()

    def _sweep(self) -> list[Action]:
        """Forget what was only kept because this rank was frozen."""
        return [action for block in sorted(self._users) for action in self._free_if_unused(block)]

    def _new_plan(self) -> tuple[Plan, list[int]]:
        """Make the next plan, the same on all ranks; and give the tasks that it places."""
        entries, old = self.catalog.tasks, self._ranks
        claimed = [old[task] if entry.state is not State.PLANNED or task in self._doomed else -1
                   for task, entry in enumerate(entries)]
        free = [task for task, rank in enumerate(claimed) if rank < 0]
        copies = {}
        for block in sorted({need for task in free for need in self._needs[task]}):
            if entries[block].state is State.DONE:      # who still has to read it has it, or will get it
                copies[block] = tuple(sorted({
                    old[task] for task in self._consumers[block]
                    if task not in self._doomed and entries[task].state < State.CANCELLED}))
        running = self._running()
        plan = make_plan(self.plan.graph, self.machine, self._learning.progress(claimed, running, copies))
        self._learning.follow(plan, claimed)
        return plan, free

    def _count_users(self) -> None:
        """Count anew who needs the blocks that are here."""
        for block in self._users:
            self._users[block] = self._sending.get(block, 0) + sum(
                self._ranks[task] == self.rank and (self._states[task] is State.PLANNED or task == self.running)
                for task in self._consumers[block])


def _positions(order: Sequence[int]) -> list[int]:
    """The place of each task in the order."""
    places = [0] * len(order)
    for place, task in enumerate(order):
        places[task] = place
    return places

"""One rank's part of a run as a pure state machine: told what has happened, it tells its shell what to do.

It has no MPI, no clock and no data.

Every rank owns one of these. What a rank decides follows from the plan, which all ranks share; from its own blocks and
tasks; and from the catalog, which after epoch k is the same everywhere. News travels by epochs only, blocks by
transfers only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush
from itertools import compress
from operator import itemgetter
from typing import Protocol

import numpy as np

from mpiflow.catalog.catalog import Catalog
from mpiflow.catalog.entries import Delta, Form, News, TaskEntry, Traffic, pack
from mpiflow.catalog.states import Change, State, advance
from mpiflow.errors import InternalError
from mpiflow.peer.drift import Drift
from mpiflow.planning.plan import Plan
from mpiflow.storage.spill import LEAST


class Shell(Protocol):
    """What a state machine has done for it. None of this calls the machine back.

    Attributes:
        crowded: Whether blocks take so much memory that using them up comes before making more of them.
    """

    crowded: bool

    def start(self, task: int) -> None:
        """Run a task; answered by ``finished``, ``raised`` or ``stopped``."""

    def send(self, block: int, rank: int) -> int | None:
        """Send a block; give its size [bytes] if it has left already, else it is answered by ``sent``."""

    def free(self, block: int) -> None:
        """Forget a block: nobody here needs it any more."""

    def exchange(self, delta: Delta) -> None:
        """Take part in the next epoch; answered by ``epoch_done``."""

    def interrupt(self, task: int) -> None:
        """Make the running task end; answered as ``start`` is."""

    def end(self) -> None:
        """Every rank knows that the run is over: nothing is running or under way anywhere."""


_PLANNED, _RUNNING, _DONE = State.PLANNED, State.RUNNING, State.DONE     # an enumeration's names take long to look up
_USUAL = (_RUNNING, _DONE)
_NEVER_MADE = (State.FAILED, State.CANCELLED, State.SKIPPED)
_top = itemgetter(0)


class PeerState:
    """What one rank knows and does.

    A new plan is made in two epochs. When the catalog of version k shows that ranks have drifted from the plan, each
    rank freezes as it sees version k: it starts nothing, sends no block that it makes, forgets no block, and posts its next
    delta at once. So version k + 1 says of each task whether anybody has started it, and stays true until each rank
    has seen it: then all place the tasks that nobody has claimed anew, by the same function, and go on.

    A task whose guard does not hold is skipped. That it may run, it learns from its guard's block, without an epoch. That
    it does not, its rank tells all others, who then skip at once whatever cannot run without it.

    A part of a parallel operation starts only when all that comes before it in the plan's order is over here; see
    ``planning.teams``. While there are such parts, no new plan is made, and one that fails ends the run in any case: nobody
    knows what the others have said to each other.

    Attributes:
        rank: This rank.
        catalog: Its replica.
        plan: The plan in force.
        running: The task that runs here now, if any.
        ended: Whether the run is over.
        num_plans: How many plans there were.
        stopping: Whether this rank starts nothing more.
        stopped_by: Ranks that were asked to stop before the end, as all ranks know it.
        gone: Tasks that are skipped, as all ranks know; nobody waits for their blocks.
        memory: What this process takes [bytes]: the others are told.
    """

    __slots__ = (       # beyond 30 attributes Python looks each one up by its name, every time
        "_bytes_sent", "_consumers", "_doomed", "_drift", "_early", "_expected", "_form", "_forms", "_forwards", "_frozen",
        "_heaps", "_held", "_in_epoch", "_made", "_making", "_mine", "_missing", "_needs", "_news", "_num_open",
        "_num_sending", "_num_sent", "_order", "_over", "_place", "_position", "_ranks", "_readers", "_ready", "_received",
        "_reported", "_restored", "_sending", "_shell", "_states", "_stop_asked", "_swapping", "_teams", "_uses", "catalog",
        "ended", "gone", "keep_going", "memory", "num_plans", "plan", "rank", "running", "stopped_by", "stopping")

    def __init__(self, rank: int, plan: Plan, catalog: Catalog, drift: Drift | None = None, *, keep_going: bool = False,
                 restored: frozenset[int] = frozenset()) -> None:
        """Prepare; ``begin`` starts.

        Args:
            rank: This rank.
            plan: What to follow at first.
            catalog: Its replica.
            drift: Makes new plans; None if there are to be none.
            keep_going: Whether tasks go on that do not depend on one that failed.
            restored: Tasks whose failure is nobody's fault: it only takes along what depends on them.
        """
        self.rank = rank
        self._shell: Shell
        self.catalog = catalog
        self.keep_going = keep_going
        self.running: int | None = None
        self.ended = False
        self.num_plans = 0
        self.stopped_by: list[int] = []
        self.memory = 0
        self._restored = restored
        self._drift = drift
        self._frozen = False
        self._stop_asked = False                        # somebody wants this rank to stop before the end
        self.stopping = False
        self._over = False                              # and every rank knows that
        self._in_epoch = False
        self._nothing_new()
        self._reported: tuple[bool, Traffic] | None = None
        size = len(catalog.traffic)
        self._num_sent, self._bytes_sent = [0] * size, [0] * size     # to each rank
        self._received = 0
        self._num_sending = 0
        self._sending: dict[int, int] = {}              # block: ranks that it is being sent to
        num = len(plan.graph.tasks)
        self._teams = plan.graph.teams
        self._needs = plan.graph.needs
        self._consumers = plan.graph.consumers
        self._states = [State.PLANNED] * num            # of the tasks that are placed here
        self._missing = [0] * num                       # blocks that such a task waits for
        # Places in the order of tasks that wait for nothing: heaps. Apart from the others are those that make a large block, in
        # place of what they need or beyond it: where memory is short, they come after those that use blocks up.
        self._ready: list[int] = []
        self._swapping: list[int] = []
        self._making: list[int] = []
        self._heaps: dict[int, list[int]] = {}          # the heaps of such tasks, and of parts, which start otherwise
        self._mine: list[int] = []                      # places of the tasks here, last first, where some of them are parts
        self._readers: list[list[int] | None] = [None] * num    # block that will be here: tasks here that wait for it
        self._held = [False] * num                      # block: whether it is here
        self._uses = [0] * num                          # block: tasks here and sends under way that still need it
        self._forwards: list[list[int] | None] = [None] * num   # block that will be here: ranks that get it from here
        self._expected = [0] * num                      # block: how often it will still arrive
        self._early: list[int] = []                     # blocks that a plan not seen yet has sent here
        self._doomed: set[int] = set()
        self.gone: set[int] = set()
        self._adopt(plan, range(num))

    def _adopt(self, plan: Plan, tasks: Iterable[int]) -> None:
        """Follow ``plan``, which places ``tasks`` (and leaves all others where they are)."""
        self.plan = plan
        self.num_plans += 1
        self._ranks = plan.ranks
        self._order = plan.order
        mine = [task for task in tasks if plan.ranks[task] == self.rank]
        self._position = _positions(plan.order)
        self._num_open = len(mine) + (self.running is not None)
        held, missing, gone = self._held, self._missing, self.gone
        self._readers = readers = [None] * len(plan.ranks)
        self._uses = uses = self._uses_of_others()
        self._ready, self._swapping, self._making = [], [], []
        self._heaps = self._large(mine)
        for task in mine:
            num = 0
            for need in self._needs[task]:
                uses[need] += 1
                if not held[need] and need not in gone:
                    num += 1
                    _add(readers, need, task)
            missing[task] = num
            if not num:
                self._heaps.get(task, self._ready).append(self._position[task])
        for heap in (self._ready, self._swapping, self._making):
            heapify(heap)
        self._mine = sorted((self._position[task] for task in mine), reverse=True) if self._teams else []
        for block, edges in enumerate(plan.routes):
            for source, destination in edges:
                if source == self.rank:
                    _add(self._forwards, block, destination)
                if destination == self.rank:
                    self._expected[block] += 1
        for block in self._early:
            self._expected[block] -= 1
        self._early = []

    def _large(self, tasks: Iterable[int]) -> dict[int, list[int]]:
        """Give those of ``tasks`` that make large blocks their heaps, and parts one that nobody looks at."""
        nbytes = self.plan.estimates.nbytes
        heaps = {task: self._swapping if sum(nbytes[need] for need in self._needs[task]) >= nbytes[task] else self._making
                 for task in tasks if nbytes[task] >= LEAST}
        nowhere: list[int] = []
        return heaps | {task: nowhere for task in self._teams}

    def _uses_of_others(self) -> list[int]:
        """Count, for each block, sends under way and the running task, which no plan changes."""
        uses = [0] * len(self._states)
        for block, num in self._sending.items():
            uses[block] = num
        for need in () if self.running is None else self._needs[self.running]:
            uses[need] += 1
        return uses

    @property
    def settled(self) -> bool:
        """Whether this rank has nothing left to run or send."""
        return self._num_open == 0 and self._num_sending == 0

    @property
    def tally(self) -> tuple[int, int, int]:
        """How many tasks are placed here, and how many of them are done and have failed; for any thread."""
        return self._ranks.count(self.rank), self._states.count(State.DONE), self._states.count(State.FAILED)

    @property
    def moved(self) -> tuple[int, int]:
        """Bytes that have been sent from here, and blocks that have come; for any thread."""
        return sum(self._bytes_sent), self._received

    @property
    def waiting_for(self) -> list[int]:
        """The blocks from other ranks that tasks here still wait for."""
        return sorted({
            need for task, rank in enumerate(self._ranks) if rank == self.rank and self._states[task] is State.PLANNED
            for need in self._needs[task]
            if not self._held[need] and need not in self.gone and self._ranks[need] != self.rank})

    def comes(self, block: int) -> bool:
        """Whether a block may still come from another rank, as far as this one knows."""
        return bool(self._expected[block]) and self.catalog.tasks.state(block) not in _NEVER_MADE

    def begin(self, shell: Shell) -> None:
        """Start; ``shell`` does what is decided from now on."""
        self._shell = shell
        self._continue()

    def _continue(self) -> None:
        """Start the next task if there is one, and report at once what others wait for."""
        if self.running is None and not (self.stopping or self._frozen):
            if self._heaps:
                task = self._next()
            else:                                       # as nearly always
                task = self._order[heappop(self._ready)] if self._ready else None
            if task is not None:
                states = self._states
                states[task] = _RUNNING if states[task] is _PLANNED else advance(states[task], Change.START)
                self.running = task
                self._shell.start(task)
                return                                  # there is more to do here, so nobody waits for our news
        if (not self._num_open or self.stopping) and not self._in_epoch and not self.ended and self._urgent:
            self._exchange()

    def _next(self) -> int | None:
        """Choose what to start, if anything can: a part only if it is the first of all tasks here that are not over."""
        mine, order = self._mine, self._order
        while mine and self._states[order[mine[-1]]] is not _PLANNED:
            mine.pop()
        if mine and (first := order[mine[-1]]) in self._teams and not self._missing[first]:
            return first
        heap = self._soonest()
        return order[heappop(heap)] if heap else None

    def _soonest(self) -> list[int]:
        """Give the heap to start from: the one with the first task; where memory is short, what uses blocks up goes first."""
        heaps = [heap for heap in (self._ready, self._swapping, self._making) if heap]
        if len(heaps) < 2 or self._shell.crowded:
            return heaps[0] if heaps else []
        return min(heaps, key=_top)

    def next_use(self, block: int) -> int:
        """Say when a block that is here is needed next: the place in the order of its next task here; less if it is sent on."""
        if self._forwards[block] or self._sending.get(block):
            return -1
        here = [self._position[task] for task in self._consumers[block]
                if self._ranks[task] == self.rank and self._states[task] <= State.RUNNING]
        return min(here, default=len(self._order))

    @property
    def _urgent(self) -> bool:
        """Whether others wait for our news: a failure, or that we are done."""
        if self.stopping and (self._news or self._made or (self._stop_asked and not self._over)):
            return True
        return self.settled and (bool(self._news or self._made) or self._reported != (True, self._own_traffic()))

    # Tasks

    def finished(self, task: int, start: float, seconds: float, nbytes: int, form: Form = ()) -> None:
        """The running task has made its block.

        Args:
            task: Its number.
            start: When it started, since the run did [s].
            seconds: How long it ran [s].
            nbytes: Size of its block [bytes].
            form: Columns, dtypes and shapes of its block, where others want to know.

        Raises:
            InternalError: This task does not run here.
        """
        if self.running != task:
            self._back(task)                    # raises
        self.running = None
        self._hold(task)                        # others may wait for it
        self._states[task] = _DONE              # what ``_close`` does, without ceremony: it was running
        self._num_open -= 1
        if form is not self._form:
            self._form, self._place = form, self._forms.setdefault(form, len(self._forms))
        self._made.append(pack(task, self._place, start, seconds, nbytes))
        self._release(self._needs[task])
        if self._ready or self._heaps or not self._num_open or self.stopping:
            self._continue()

    def raised(self, task: int, start: float, seconds: float, error: str) -> None:
        """The running task has failed; ``error`` is its traceback.

        Raises:
            InternalError: This task does not run here.
        """
        self._back(task)
        self._close(task, Change.FAIL, start, seconds, error=error)
        self.stopping = self.stopping or self._fatal(task)
        self._release(self._needs[task])
        self._continue()

    def skipped(self, task: int, start: float, seconds: float, error: str = "") -> None:
        """The running task turned out not to be wanted: its guard says so, or it has failed, and others do without it.

        Others hear of it with the next epoch: no block tells them.

        Raises:
            InternalError: This task does not run here.
        """
        self._back(task)
        self._close(task, Change.SKIP, start, seconds, error=error)
        self._release(self._needs[task])
        self._continue()

    def stop(self) -> None:
        """Somebody wants the run to stop: all ranks start nothing more, what is running may end."""
        if not self.ended:
            self._stop_asked = self.stopping = True
            self._continue()

    def stopped(self, task: int) -> None:
        """The running task was interrupted, or will never come back.

        Raises:
            InternalError: This task does not run here.
        """
        self._back(task)
        self._close(task, Change.CANCEL)
        self._release(self._needs[task])
        self._continue()

    def _back(self, task: int) -> None:
        if self.running != task:
            raise InternalError(f"rank {self.rank}: task {task} ended, but {self.running} is running")
        self.running = None

    def _close(self, task: int, change: Change, start: float = 0.0, seconds: float = 0.0, nbytes: int = 0,
               form: Form = (), error: str = "") -> None:
        """A task comes to its final state, which is news for the others."""
        self._states[task] = state = advance(self._states[task], change)
        self._missing[task] = 0                 # whatever still arrives for it, it does not become ready
        self._num_open -= 1
        self._news.append(TaskEntry(task, 0, state, self.rank, start, seconds, nbytes, form, error))

    # Blocks

    def arrived(self, block: int) -> None:
        """A block from another rank is here, whole.

        Raises:
            InternalError: No plan sends it here.
        """
        num = self._expected[block]
        if num:
            self._expected[block] = num - 1
        elif self._frozen:                  # its sender has the new plan already
            self._early.append(block)
        else:
            raise InternalError(f"rank {self.rank}: block {block} arrived uncalled for")
        self._received += 1
        if not self._held[block]:
            self._hold(block)
        elif self._forwards[block]:         # it came twice, by an old plan and a new one
            self._send(block)
        if self.running is None:
            self._continue()

    def sent(self, block: int, rank: int, nbytes: int) -> None:
        """A block has left for another rank, whole; its memory is ours again.

        Raises:
            InternalError: It was not being sent.
        """
        if not self._sending.get(block):
            raise InternalError(f"rank {self.rank}: block {block} has left, but was not being sent")
        self._num_sent[rank] += 1
        self._bytes_sent[rank] += nbytes
        self._num_sending -= 1
        self._sending[block] -= 1
        self._release((block,))
        self._continue()

    def _hold(self, block: int) -> None:
        """A block is here: it goes on to others, and tasks that waited for nothing else become ready."""
        self._held[block] = True
        if self._forwards[block]:
            self._send(block)
        readers = self._readers[block]
        if readers:
            self._readers[block] = None
            self._supply(readers)
        if not self._uses[block]:
            self._free(block)

    def _supply(self, readers: Iterable[int]) -> None:
        """Tasks wait for one block less."""
        missing, ready = self._missing, self._ready
        for task in readers:
            missing[task] = num = missing[task] - 1
            if not num:
                heappush(self._heaps.get(task, ready) if self._heaps else ready, self._position[task])

    def _send(self, block: int) -> None:
        """Send a block that is here to those who get it from here; while frozen it waits for the new plan."""
        if self.stopping or self._frozen:
            return
        ranks, self._forwards[block] = self._forwards[block], None
        for rank in ranks:
            nbytes = self._shell.send(block, rank)
            if nbytes is not None:              # it has left already
                self._num_sent[rank] += 1
                self._bytes_sent[rank] += nbytes
            else:
                self._uses[block] += 1
                self._sending[block] = self._sending.get(block, 0) + 1
                self._num_sending += 1

    def _release(self, blocks: Iterable[int]) -> None:
        """A task or send that needed ``blocks`` needs them no more."""
        uses, held, frozen, free = self._uses, self._held, self._frozen, self._shell.free
        for block in blocks:
            uses[block] = num = uses[block] - 1
            if not num and held[block] and not frozen:      # while frozen it stays
                held[block] = False
                free(block)

    def _free(self, block: int) -> None:
        """Forget a block without users; while frozen it stays."""
        if not self._frozen:
            self._held[block] = False
            self._shell.free(block)

    # Epochs

    def _nothing_new(self) -> None:
        """All is told: from here on are entries and records for the next delta, and the forms of these, mostly the last again."""
        self._news, self._made, self._forms, self._form, self._place = [], [], {(): 0}, (), 0

    def _own_traffic(self) -> Traffic:
        sent = tuple((rank, blocks, self._bytes_sent[rank]) for rank, blocks in enumerate(self._num_sent) if blocks)
        return Traffic(self._received, sent)

    def _exchange(self) -> None:
        traffic = self._own_traffic()
        if self.running is not None:
            self._news.append(TaskEntry(self.running, 0, State.RUNNING, self.rank))
        delta = Delta(self.rank, self.catalog.digest, self.settled, traffic, tuple(self._news), stop=self._stop_asked,
                      memory=self.memory, done=b"".join(self._made), forms=tuple(self._forms))
        self._reported = (self.settled, traffic)
        self._nothing_new()
        self._in_epoch = True
        self._shell.exchange(delta)

    def epoch_due(self) -> None:
        """It is time to take part in the next epoch."""
        if not self._in_epoch and not self.ended:
            self._exchange()

    def epoch_done(self, deltas: Sequence[Delta]) -> None:
        """An epoch is complete; ``deltas`` are all ranks' parts.

        Raises:
            InternalError: Ranks disagree, or there was no epoch.
        """
        if not self._in_epoch:
            raise InternalError(f"rank {self.rank}: an epoch that was not posted is complete")
        strangers = [delta.rank for delta in deltas if delta.digest != self.catalog.digest]
        if strangers:
            raise InternalError(f"ranks disagree on plan or catalog in epoch {self.catalog.version}: rank {self.rank} has "
                                f"digest {self.catalog.digest:016x}, ranks {strangers} have others; does an operation declare "
                                "nbytes or seconds by a function that does not always give the same?")
        self._in_epoch = False
        news = self.catalog.epoch(deltas)
        if self.catalog.quiet:
            self.ended, self._frozen = True, False
            self._sweep()
            self._shell.end()
            return
        unmade = [entry for entry in news.entries if entry.state not in _USUAL]
        lost = {entry.task for entry in unmade if entry.state is not State.SKIPPED}
        if lost:
            self._cancel(lost, any(entry.state is State.FAILED and self._fatal(entry.task) for entry in unmade))
        if len(lost) < len(unmade) and not self._over:
            self._skip([entry.task for entry in unmade if entry.state is State.SKIPPED])
        if not self.stopped_by and any(delta.stop for delta in deltas):
            self.stopped_by = [delta.rank for delta in deltas if delta.stop]
            self._wind_down(interrupt=False)
        if self._frozen:
            self._frozen = False
            self._plan_again(news)
        elif self._drift and not self._over and self._drift.noticed(self.plan, news) and self._apart():
            self._frozen = True
            self._exchange()
        self._continue()

    def _fatal(self, task: int) -> bool:
        """Whether the run ends when this task fails."""
        return task in self._teams or not (self.keep_going or task in self._restored)

    def _cancel(self, lost: set[int], fatal: bool) -> None:
        """Give up what cannot or shall not run any more, now that everyone knows of the failure."""
        if fatal:
            self._wind_down(interrupt=True)
        elif not self._over:                    # else it was given up when the run began to end; what is running may end
            doomed = self.plan.graph.descendants(lost)
            self._doomed |= doomed
            self._give_up(sorted(doomed), interrupt=True)
        if not lost.isdisjoint(self._teams.get(self.running, ())):      # it waits for one that does not come, or not to the end
            self._shell.interrupt(self.running)

    def _skip(self, origins: Sequence[int]) -> None:
        """Skip what cannot run without ``origins``, now that everyone knows of them; those that can wait for them no more."""
        gone = self.plan.graph.skip(origins, self.gone)
        self._doomed.update(gone)
        for task in gone:
            if self._ranks[task] == self.rank and self._states[task] is _PLANNED:
                self._close(task, Change.SKIP)
                self._release(self._needs[task])
        for block in gone:
            self._supply(self._readers[block] or ())
            self._readers[block] = None

    def _wind_down(self, interrupt: bool) -> None:
        """Come to an end: every rank knows that nothing more starts anywhere."""
        self.stopping = self._over = True
        self._give_up(range(len(self._ranks)), interrupt)

    def _give_up(self, tasks: Iterable[int], interrupt: bool) -> None:
        """Cancel those of ``tasks`` that are to run here; one that is running is interrupted, or may end."""
        for task in tasks:
            if self._ranks[task] != self.rank:
                continue
            if self._states[task] is State.PLANNED:
                self._close(task, Change.CANCEL)
                self._release(self._needs[task])
            elif task == self.running and interrupt:
                self._shell.interrupt(task)
        for heap in (self._ready, self._swapping, self._making):
            heap[:] = sorted(place for place in heap if self._states[self._order[place]] is State.PLANNED)

    # Plans

    def _apart(self) -> bool:
        """Whether all ranks go their own ways: as all know, no part of a parallel operation is left."""
        return all(self.catalog.tasks.state(task).final for task in self._teams)

    def _plan_again(self, news: News) -> None:
        """Place what nobody has claimed anew; what was held back while frozen goes on."""
        if not self._over:
            plan, free = self._drift.plan_again(self.plan, self._doomed, news)
            for task in np.flatnonzero(self.catalog.tasks.states != _DONE).tolist():
                self._forwards[task], self._expected[task] = None, 0
            self._adopt(plan, free)
            self.catalog.follow(plan.digest)
            for block in [block for block in self._here() if self._forwards[block]]:
                self._send(block)
        self._sweep()

    def _sweep(self) -> None:
        """Forget what was only kept because this rank was frozen."""
        for block in [block for block in self._here() if not self._uses[block]]:
            self._free(block)

    def _here(self) -> list[int]:
        """The blocks that are here."""
        return list(compress(range(len(self._held)), self._held))


def _add(lists: list[list[int] | None], place: int, item: int) -> None:
    known = lists[place]
    if known is None:
        lists[place] = [item]
    else:
        known.append(item)


def _positions(order: Sequence[int]) -> list[int]:
    """The place of each task in the order."""
    places = [0] * len(order)
    for place, task in enumerate(order):
        places[task] = place
    return places

"""The loop of one rank: the thin shell around the state machine that owns the communicator, the clock and the data.

Tasks run in the main thread. While one runs, a second thread turns the loop in its place, so that epochs advance and
blocks are served; for short tasks it never wakes. One lock makes sure that only one of the two turns the loop, so
MPI_THREAD_SERIALIZED would do. What is in user code and must end is interrupted by a signal, and left behind when
that does not help.
"""

from __future__ import annotations

import gc
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from time import perf_counter

import msgspec
import numpy as np

from mpiflow.catalog.entries import Delta, Form, decode_delta, encode
from mpiflow.catalog.states import State
from mpiflow.errors import InternalError, MachineError, OperationError
from mpiflow.operations.interrupts import Interrupted
from mpiflow.operations.skipping import Skipped
from mpiflow.operations.values import Value, columns, nbytes
from mpiflow.peer.copies import Copies
from mpiflow.peer.epochs import Epochs
from mpiflow.peer.execute import Executor, Exhausted, describe_failure
from mpiflow.peer.keeping import LEAST
from mpiflow.peer.state import PeerState
from mpiflow.peer.stopping import Stops
from mpiflow.peer.transfers import Transfers
from mpiflow.peer.waiting import Work
from mpiflow.peer.watch import ASK, PERIOD, Watch
from mpiflow.storage.spill import Spill

BUSY_PERIOD = 0.1       # seconds between epochs on a rank that runs tasks
IDLE_PERIOD = 0.002     # and on one that waits
PATIENCE = 8.0          # seconds that other ranks have to hear of a failure
GRACE = 2.0             # seconds that an interrupted operation has to come back
REPRIEVE = 1.0          # seconds that an operation may go on in any case when a rank has died
_ALONE = 5e-5           # seconds: an idle rank looks again at once for so long,
_LOOKS = 64             # so many times before it looks at anything else,
_SPIN = 5e-4            # and for so long in all, leaving its core to others who want it
_BUSY_SPIN = 5e-3       # and for so long while blocks are under way
_LATE = 0.02            # then it sleeps for this share of the time that it has waited
_NAPS = (20e-6, 1e-2)   # seconds: but not less and not more than this
_PACE = 5e-4            # seconds: short tasks and the blocks between them go on for so long before anything else is looked at
_TICK = 2e-3            # seconds: how often the second thread looks while a task runs and an epoch is under way,
_LULL = 16e-3           # and while nothing is: each look takes caches from the task, if it came every 2 ms 5 % of its time
_REST = 32e-3           # seconds: how long it sleeps at most while tasks are short: each waking costs the main thread a pause
_BURST = 20             # and how many times in a row it looks while blocks are under way
_SWITCH = 5e-4          # seconds: how long Python code may keep the second thread waiting at each of its MPI calls
_GARBAGE = 100_000      # new objects between two searches for garbage, while nothing of ours makes any
_SIGNAL = signal.SIGRTMIN + 5


class Loop:
    """One rank's run, from the first action to the agreed end.

    Attributes:
        values: The blocks that are here.
        free: Forgets a block.
        kept: At the end, those of the wanted blocks that were made here.
        inside: Whether user code that was left behind may be inside MPI.
        error: Why this rank cannot go on, if it cannot.
    """

    __slots__ = (       # beyond 30 attributes Python looks each one up by its name, every time
        "_abandoned", "_asleep", "_began", "_closed", "_copies", "_deadline", "_death", "_epoch_over", "_epochs", "_executor",
        "_failed", "_forget", "_grace", "_interrupted", "_interrupts", "_keep", "_leave", "_lock", "_look_at", "_named",
        "_policies", "_posted", "_since", "_spill", "_state", "_stop_until", "_stops", "_struck", "_task", "_told",
        "_transfers", "_unoffered", "_wake", "_wanted", "_watch", "_worth", "_written", "error", "free", "inside", "kept",
        "values")

    def __init__(self, state: PeerState, epochs: Epochs, transfers: Transfers, executor: Executor,
                 named: frozenset[int], leave: Callable[[], None], stops: Stops,
                 keep: Callable[[int, Value, float, float], None] | None = None, grace: float = GRACE,
                 struck: Callable[[BaseException], bool] = lambda error: False, watch: Watch | None = None,
                 written: frozenset[int] = frozenset(), spill: Spill | None = None,
                 copies: Copies | None = None, wanted: frozenset[int] = frozenset()) -> None:
        """Prepare; ``run`` starts.

        Args:
            state: The state machine.
            epochs: Collectives, on a communicator of our own.
            transfers: Point-to-point messages, likewise.
            executor: Runs tasks.
            named: Tasks whose results other ranks want described.
            leave: Ends the process, when the run is over but user code does not come back.
            stops: Signals that ask for a stop.
            keep: Offered blocks made here that may be worth saving, each with the time that it took and the time of those before
                that were not offered [s].
            written: Tasks whose blocks are offered in any case.
            copies: Takes blocks that this rank needs no more; None if nobody else will.
            grace: How long running tasks may go on when somebody wants the run to stop [s].
            struck: Whether an error may come of the death of a rank that others survive; then it has told them.
            watch: Says what this rank waits for.
            spill: Where blocks are kept if their memory is limited.
            wanted: Blocks that are not forgotten: at the end those made here are in ``kept``.
        """
        self._state = state
        self._epochs = epochs
        self._transfers = transfers
        self._executor = executor
        self._policies = executor.policies
        self._named = named
        self._leave = leave
        self._keep = keep
        self._unoffered = 0.0                   # seconds of computing since the last block that was offered
        self._worth = LEAST if keep else math.inf
        self._written = written if keep else frozenset()
        self._copies = copies
        self._grace = grace
        self._stops, self._struck = stops, struck
        self._watch = watch
        self._look_at = 0.0                     # when to see next whether anything moves
        self._stop_until = math.inf             # running tasks may go on until then
        self._spill = spill
        self.values: dict[int, Value] = {} if spill is None else spill
        self.free: Callable[[int], None] = self.values.__delitem__ if copies is None else self._pass_on
        self._wanted = wanted
        self.kept: dict[int, Value] = {}
        self._forget = self.free
        if wanted:                              # so that those who want none pay nothing
            self.free = self._free_unwanted
        self._lock = threading.Lock()
        self._task: int | None = None           # to be run by the main thread
        self._since: float | None = None        # when the main thread went into a task
        self._interrupts = executor.interrupts
        self._interrupted: float | None = None  # when the task in the main thread was told to end,
        self._told = False                      # if not by its own timeout,
        self._deadline = math.inf               # which strikes then
        self._abandoned = False
        self.inside = False                     # and that while it may be inside MPI
        self._death: BaseException | None = None        # what told the second thread that a rank has died
        self._epoch_over = math.inf             # when the last epoch was over; later than ever while one is under way
        self._began = 0.0
        self._posted: Delta | None = None     # what this rank says in the epoch that is under way
        self._wake = threading.Event()
        self._asleep = False                    # the second thread, until a task starts
        self._closed = threading.Event()
        self._failed: tuple[float, str] | None = None   # a failure here that no epoch has carried yet
        self.error: BaseException | None = None

    def run(self) -> float:
        """Take part until every rank knows that the run is over.

        Returns:
            Seconds from the start until then.

        Raises:
            MPI.Exception: A rank has died.
            InternalError: Ranks disagree, or something else that cannot happen.
        """
        self._began = perf_counter()
        old = signal.signal(_SIGNAL, self._on_signal)
        helper = threading.Thread(target=self._help, name="mpiflow-progress", daemon=True)
        interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
        sys.setswitchinterval(_SWITCH)
        gc.freeze()                             # what was planned stays; searching it for garbage again and again is waste
        gc.set_threshold(_GARBAGE, *thresholds[1:])
        helper.start()
        try:
            with self._lock:
                self._epoch_over = self._began
                if self._watch:
                    self._watch.follow(Work(self._state, self._transfers), self._began)
                self._state.begin(self)
                self._turn_until_ended()
                return perf_counter() - self._began
        finally:
            self._closed.set()
            self._wake.set()
            helper.join()
            signal.signal(_SIGNAL, old)
            sys.setswitchinterval(interval)
            gc.set_threshold(*thresholds)
            gc.unfreeze()

    def _turn_until_ended(self) -> None:
        since: float | None = None              # there has been nothing to do
        waited, looks = 0.0, 1
        while not self._state.ended:
            if self._turn(waited, looks) or self._task is not None:
                since, waited, looks = None, 0.0, 1
                self._go_on()
            elif since is None:
                since, looks = perf_counter(), _LOOKS
            else:
                waited = perf_counter() - since
                if waited > _ALONE:
                    looks = 1
                    if waited > PERIOD:
                        self._look()
                    _nap(waited, _BUSY_SPIN if self._transfers.busy else _SPIN)
        self._look()                            # who could not look until now, says so

    def _go_on(self) -> None:
        """Run tasks, and take in the blocks that come for them, until there is neither, or it is time to look at the rest."""
        until = perf_counter() + _PACE
        while True:
            task = self._task
            if task is not None:
                self._task = None
                if self._run_task(task) > until:
                    return
            elif not self._receive(_LOOKS):
                return

    # Under the lock, which the main thread gives away only while it is in user code

    def _turn(self, waited: float = 0.0, looks: int = 1) -> bool:
        """Advance everything that is under way.

        Args:
            waited: For how long this rank has had nothing to do [s].
            looks: How many times to look for a block that arrives.

        Returns:
            Whether a block moved.
        """
        if self._death is not None:
            raise self._death
        state, transfers = self._state, self._transfers
        arrived = self._receive(looks)
        sent = transfers.sent() if transfers.sending else ()
        for item in sent:
            state.sent(*item)
        parts = self._epochs.poll()
        now = perf_counter()
        if parts is not None:
            self._failed = None
            self._epoch_over = now
            transfers.trim(now)
            deltas = [self._posted if rank == state.rank else decode_delta(part) for rank, part in enumerate(parts)]
            state.epoch_done(deltas)
            if self._copies is not None:
                self._copies.heard(deltas)
        elif now >= self._epoch_over + (BUSY_PERIOD if waited < IDLE_PERIOD else IDLE_PERIOD):
            state.epoch_due()
        if self._stops.asked or state.stopped_by:
            self._obey_stop(now)
        if self._failed and now - self._failed[0] > PATIENCE:
            raise OperationError(f"{self._failed[1]}\nand some rank did not hear of it for {PATIENCE} s: an operation there "
                                 "keeps the interpreter to itself")
        return arrived or bool(sent)

    def _receive(self, looks: int) -> bool:
        """Look up to ``looks`` times for blocks that arrive; whether any did."""
        arrived = self._transfers.receive(looks)
        if not arrived:
            return False
        for block, value in arrived:
            self.values[block] = value
            self._state.arrived(block)
        return True

    def _look(self) -> None:
        """Now and then hear signals, and see whether anything moves."""
        now = perf_counter()
        if now >= self._look_at:
            self._look_at = now + PERIOD
            self._hear_signals()
            if self._watch:
                self._watch.look(now)

    def _obey_stop(self, now: float) -> None:
        """Somebody wants the run to stop: pass it on, and when all ranks know, let what is running here go on for a while."""
        if not self._state.stopped_by:
            if not self._state.stopping:
                self._state.stop()
        elif self._stop_until == math.inf:
            self._stop_until = now + self._grace
        elif now > self._stop_until and self._state.running is not None:
            self.interrupt(self._state.running)

    @property
    def doing(self) -> tuple[int, float] | None:
        """The task whose code runs now, and since when, by ``time.perf_counter`` [s]; for any thread."""
        task, since = self._state.running, self._since
        return None if task is None or since is None else (task, since)

    def inside_task(self) -> int | None:
        """The task whose code runs now; for any thread."""
        return None if self._since is None else self._state.running

    # What the state machine has done

    @property
    def crowded(self) -> bool:
        """Whether blocks take most of the memory that they may."""
        return self._spill is not None and self._spill.crowded

    def start(self, task: int) -> None:
        """Let the main thread run a task when it is free."""
        self._task = task

    def send(self, block: int, rank: int) -> int | None:
        """Send a block; give its size [bytes] if it has left already."""
        return self._transfers.send(block, rank, self.values[block])

    def _pass_on(self, block: int) -> None:
        """Forget a block here, but let others have it when this rank outlives them."""
        copies, plan, spill = self._copies, self._state.plan, self._spill
        if spill is None:
            copies.take(block, self.values.pop(block), plan)
            return
        before = copies.nbytes
        if copies.holds(block, plan):
            copies.take(block, spill[block], plan)      # it may come from the scratch file
        del spill[block]
        spill.limit += before - copies.nbytes           # replicas stay in memory, the rest has what they leave

    def _free_unwanted(self, block: int) -> None:
        """Forget a block, unless the program around this run wants it."""
        if block not in self._wanted:
            self._forget(block)

    def exchange(self, delta: Delta) -> None:
        """Take part in the next epoch."""
        self._epoch_over = math.inf
        since = self._since
        if since is not None and self._state.running is not None:
            delta = msgspec.structs.replace(delta, elapsed=perf_counter() - since)
        self._posted = delta
        self._epochs.post(encode(delta))

    def interrupt(self, task: int) -> None:
        """Make the running task end."""
        if not self._told:
            self._told = True
            self._strike()

    def _strike(self) -> None:
        self._interrupted, self._interrupts.wanted = perf_counter(), True
        signal.pthread_kill(threading.main_thread().ident, _SIGNAL)

    def end(self) -> None:
        """Forget all blocks; user code left behind may still read its inputs."""
        if not self._abandoned:
            entries, rank = self._state.catalog.tasks, self._state.rank
            self.kept = {task: self.values[task] for task in sorted(self._wanted)
                         if entries[task].rank == rank and entries[task].state is State.DONE}
            self.values.clear()
        if self._copies is not None:
            self._copies.clear()

    # Tasks, in the main thread

    def _run_task(self, task: int) -> float:
        """Run a task and tell how it ended; give the time when it did."""
        self._since = start = perf_counter()
        if self._asleep:
            self._wake.set()
        if self._spill is not None:
            self._spill.pinned = self._executor.at_once(task)
        self._lock.release()
        try:
            value = self._executor.run(task, self.values) if task not in self._policies else self._persist(task)
        except BaseException as error:          # user code may raise anything
            self._end_badly(task, start, error)
            return perf_counter()
        end = perf_counter()
        self._lock.acquire()
        self._since = None
        if self._interrupted is not None:
            self._recover()
        seconds = end - start
        self.values[task] = value
        self._unoffered += seconds
        if self._unoffered >= self._worth or task in self._written:
            self._keep(task, value, seconds, self._unoffered - seconds)
            self._unoffered = 0.0
        plain = type(value) is np.ndarray
        form = () if task not in self._named else _plain_form(value.dtype, value.shape) if plain else _form(value)
        self._state.finished(task, start - self._began, seconds, value.nbytes if plain else nbytes(value), form)
        return end

    def _end_badly(self, task: int, start: float, error: BaseException) -> None:
        """Tell how a task ended that has raised ``error``: a failure is a message."""
        seconds = perf_counter() - start
        ended = isinstance(error, (Interrupted, KeyboardInterrupt, Skipped))
        text = str(error) if ended else describe_failure(error)
        self._lock.acquire()
        self._since = None
        self._recover()
        if isinstance(error, Skipped):
            self._state.skipped(task, start - self._began, seconds, text)
        elif isinstance(error, KeyboardInterrupt):
            raise error
        elif not ended:
            self._state.raised(task, start - self._began, seconds, text)
            if self._state.stopping and not self._failed:
                self._failed = perf_counter(), text
        elif self._death is not None:           # the task will run again, and its inputs stay for that
            raise self._death from None
        else:
            self._state.stopped(task)

    def _persist(self, task: int) -> Value:
        """Run a task as its step wants it: more than once if it fails, and not for too long."""
        policy = self._policies[task]
        timeout = math.inf if policy.timeout is None or self._executor.keeps_time(task) else policy.timeout
        for left in range(policy.retries, -1, -1):
            try:
                self._deadline = perf_counter() + timeout
                return self._executor.run(task, self.values)
            except Interrupted:
                if not self._timed_out():
                    raise
                failure: Exception = OperationError(f"it took longer than {timeout:g} s and was ended")
            except Skipped:
                raise
            except Exception as error:          # user code may raise anything
                failure = error
                self._timed_out()               # its time may have come just then
            finally:
                self._deadline = math.inf
            if not left:
                failure = Exhausted(failure, policy.retries + 1) if policy.retries else failure
                raise Skipped(describe_failure(failure)) if policy.skips else failure
        raise AssertionError

    def _timed_out(self) -> bool:
        """Whether a task was only interrupted for its own timeout; then it is not to end any more."""
        with self._lock:
            if not self._told and not self._abandoned:
                self._interrupted, self._interrupts.wanted = None, False
        return self._interrupted is None

    def _recover(self) -> None:
        """The main thread is back from a task that was to end, and has the lock again."""
        self._interrupted = None
        self._told = self._interrupts.wanted = False
        if self._abandoned:                     # the second thread has taken over and ends the process
            self._lock.release()
            while True:
                time.sleep(1)

    def _on_signal(self, number: int, frame: object) -> None:
        self._interrupts.strike()

    # The second thread

    def _hear_signals(self) -> None:
        """Notice signals to stop, and the one that asks what this rank waits for."""
        if ASK in self._stops.hear() and self._watch:
            self._watch.ask()

    def _help(self) -> None:
        """Turn the loop while the main thread is in a task."""
        rest = _TICK / 2
        try:
            while not self._closed.is_set():
                since = self._since
                if since is not None and perf_counter() >= self._look_at:
                    with self._lock:
                        self._look()
                if since is None or perf_counter() - since < _TICK:
                    rest = min(2 * rest, _REST)
                    self._rest(since, rest)
                    continue
                rest = _TICK / 2
                moved = False
                self._hear_signals()
                for _ in range(_BURST if self._transfers.busy else 1):
                    with self._lock:
                        moved = (self._since is not None and self._turn()) or moved
                        self._keep_time()
                        self._abandon_if_stuck()
                        ended = self._state.ended
                    if ended and self._abandoned:
                        self._leave()
                if moved or self._transfers.busy:
                    self._closed.wait(_TICK / 10)
                elif self._epoch_over == math.inf:
                    self._closed.wait(_TICK)
                else:
                    self._sleep(since, _LULL)
        except BaseException as error:          # the main thread may never look, so this one ends the run
            if not self._struck(error):
                self._give_in(error)
            self._call_back(error)

    def _call_back(self, error: BaseException) -> None:
        """A rank has died and the others meet: what runs here may go on for as long as it has, and no longer."""
        self._death = error                     # which the main thread raises next, when it is back
        self._executor.release()
        since = self._since
        if since is None or self._closed.wait(max(REPRIEVE, perf_counter() - since)):
            return
        with self._lock:
            if self._since is not None:
                self.interrupt(self._state.running)
        if not self._closed.wait(GRACE):
            stuck = MachineError("a rank has died, and an operation here keeps this one from meeting the others")
            self._give_in(error if isinstance(error, InternalError) else stuck)

    def _give_in(self, error: BaseException) -> None:
        """End the run: this rank cannot go on."""
        self.error = error
        self._leave()

    def _rest(self, since: float | None, rest: float) -> None:
        """Sleep for ``rest``; with no task for long, until one starts."""
        if since is None:
            self._sleep(None)
        self._closed.wait(rest)

    def _sleep(self, since: float | None, timeout: float | None = None) -> None:
        """Sleep until another task starts than the one that did at ``since``, or for ``timeout``."""
        self._wake.clear()
        self._asleep = True                     # before the last look: who starts a task from now on wakes this thread
        if self._since == since and not self._closed.is_set():
            self._wake.wait(timeout)
        self._asleep = False

    def _keep_time(self) -> None:
        """Interrupt a task that has taken longer than its step allows."""
        if perf_counter() > self._deadline and self._since is not None and self._interrupted is None:
            self._deadline = math.inf
            self._strike()

    def _abandon_if_stuck(self) -> None:
        """Go on without the main thread if its task should end and does not.

        One past its own timeout only is waited for, but for a part of a parallel operation: it may wait for others inside MPI.
        """
        if self._interrupted is None or self._abandoned or self._since is None or not (self._told or self._is_part()):
            return
        now = perf_counter()
        if now - self._interrupted > GRACE:
            self._abandoned, self.inside = True, self._is_part()
            task = self._state.running
            if self._told:
                self._state.stopped(task)
            else:
                text = (f"it took longer than {self._executor.policies[task].timeout:g} s, and does not come back: its ranks may "
                        "wait for each other inside MPI")
                self._state.raised(task, self._since - self._began, now - self._since, text)

    def _is_part(self) -> bool:
        return self._state.running in self._state.plan.graph.teams


def _form(value: dict[str, np.ndarray]) -> Form:
    return tuple([(name, array.dtype.str, array.shape) for name, array in columns(value)])


@lru_cache(1024)
def _plain_form(dtype: np.dtype, shape: tuple[int, ...]) -> Form:
    return (("", dtype.str, shape),)            # numpy writes a dtype anew each time, which takes as long as a short task


def _nap(waited: float, spin: float) -> None:
    """Give way, later sleep in growing steps: who waits must not slow the one that computes."""
    if waited < spin:
        os.sched_yield()
    else:
        time.sleep(min(max(waited * _LATE, _NAPS[0]), _NAPS[1]))

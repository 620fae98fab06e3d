"""Saving blocks while a run goes on: the run queues them, a thread writes them.

A block is saved when its record in the journal is on the disk, and its file, if it has one, was there before. Whatever ends
the process, what is left is a beginning of what was saved, in that order, and at most one piece of a record.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Condition, Event, Thread

from mpiflow.errors import OperationError
from mpiflow.operations.values import Value
from mpiflow.storage.records import Made
from mpiflow.storage.shelf import Shelf

INLINE = 64 << 10       # blocks up to this size [bytes] go into the journal itself
PENDING = 256 << 20     # large blocks are refused while more of them than this [bytes] wait to be written; small ones likewise
WINDOW = 0.2            # blocks that come within this time [s] share a flush, which keeps the interpreter from tasks for some ms
_COMMIT = 64 << 20      # as many as have this size together [bytes]
_OBJECTS = 1 << 10      # what a queued block takes beside its elements, about [bytes]

Completion = Callable[[Made, Value], Made]


class Writer:
    """Saves what one rank makes in one run. Nothing is on the disk before the first block.

    The thread runs from the first block on, or from ``start`` on. All methods are for one thread. What the writing thread
    changes, only it changes.

    Attributes:
        error: Why nothing is saved any more, for people; None as long as all is well.
        num_saved: Blocks on the disk.
        nbytes_saved: Their size [bytes].
    """

    def __init__(self, store: Path, run: str, rank: int, inline: int = INLINE, pending: int = PENDING) -> None:
        """Prepare to save into ``store``, which ``run`` and ``rank`` together must be new to. See INLINE and PENDING."""
        self.error: str | None = None
        self.num_saved = self.nbytes_saved = 0
        self._store, self._inline, self._pending = store, inline, pending
        self._shelf = Shelf(store, run, rank, inline)
        self._queue: deque[tuple[Made, Value, Completion | None]] = deque()
        self._put, self._taken = [0, 0], [0, 0]         # sizes [bytes], of small and of large blocks, by each of the threads
        self._num_offered = self._num_put = 0
        self._num_dealt = self._num_taken = 0           # the first when it is on the disk, or will never be
        self._awake, self._hurry, self._progress = Event(), Event(), Condition()
        self._closing = False
        self._thread: Thread | None = None

    @property
    def num_unsaved(self) -> int:
        """Blocks that were refused, or could not be written; those that wait do not count."""
        return self._num_offered - self._num_put + self._num_dealt - self.num_saved

    def start(self) -> None:
        """Start the thread; who does it beforehand does not wait for it at the first block."""
        if self._thread is None:
            self._thread = Thread(target=self._work, name="mpiflow-saving", daemon=True)
            self._thread.start()

    def save(self, made: Made, value: Value, complete: Completion | None = None) -> bool:
        """Queue a block. Takes a microsecond and never waits; ``value`` must not change any more.

        Args:
            made: What is known of it.
            value: The block.
            complete: Adds what takes longer to find out; called by the thread that writes.

        Returns:
            Whether it was taken. It is not if too much waits already, after an error, or when closed.
        """
        self._num_offered += 1
        large = made.nbytes > self._inline
        if self.error or self._put[large] - self._taken[large] > self._pending:
            return False
        self._put[large] += made.nbytes + _OBJECTS
        self._num_put += 1
        self._queue.append((made, value, complete))
        if not self._awake.is_set():
            self._wake()
        return True

    def _wake(self) -> None:
        self.start()
        self._awake.set()

    def flush(self, timeout: float) -> bool:
        """Wait until all that was taken is on the disk.

        Returns:
            Whether it is; False after an error, or when ``timeout`` [s] is over.
        """
        def dealt() -> bool:
            return self._num_dealt == self._num_put

        if not dealt() and self._thread.is_alive():     # in a process that was forked off it is not
            self._hurry.set()
            self._wake()
            with self._progress:
                self._progress.wait_for(dealt, timeout)
        return dealt() and not self.error

    def close(self, timeout: float) -> bool:
        """Flush and end; nothing is taken any more. What is not on the disk within ``timeout`` [s] is not waited for.

        Returns:
            Whether all that was taken is on the disk.
        """
        deadline = time.monotonic() + timeout
        flushed = self.flush(timeout)
        self._pending, self._closing = -1, True
        if self._thread and self._thread.is_alive():
            self._hurry.set()
            self._wake()
            self._thread.join(max(0, deadline - time.monotonic()))
            flushed = flushed and not self._thread.is_alive()
        return flushed and not self.error

    def _work(self) -> None:
        while not self._closing or self._queue:
            self._awake.wait()
            self._hurry.wait(WINDOW)    # others come, and share the flush
            self._awake.clear()         # before the queue is looked at: what comes from now on wakes this thread again
            self._hurry.clear()
            self._guard(self._write)
        self._guard(self._shelf.end)

    def _guard(self, work: Callable[[], None]) -> None:
        if self.error:
            self._drop()
            return
        try:
            work()
        except OSError as error:
            where = f" ({os.fsdecode(error.filename)})" if error.filename else ""
            self._fail((os.strerror(error.errno) if error.errno else str(error)) + where)
        except Exception as error:      # the run must not wait for a thread that is gone
            self._fail(f"{type(error).__name__}: {error}")

    def _write(self) -> None:
        for _ in range(len(self._queue)):       # those that come meanwhile have a flush of their own: it must come to one
            if self._shelf.nbytes_gathered + self._queue[0][0].nbytes > _COMMIT:
                self._commit()                  # before it is taken: then it is not on the disk
            made, value, complete = self._queue.popleft()
            self._num_taken += 1
            with suppress(OperationError):      # no bytes for its dtype: not saved, so it will be made again
                self._shelf.add(complete(made, value) if complete else made, value)
            self._taken[made.nbytes > self._inline] += made.nbytes + _OBJECTS
            del value                   # others may want its memory
        self._commit()

    def _commit(self) -> None:
        num, nbytes = self._shelf.num_gathered, self._shelf.nbytes_gathered
        self._shelf.commit()
        self.num_saved += num
        self.nbytes_saved += nbytes
        self._deal()

    def _deal(self) -> None:
        with self._progress:
            self._num_dealt = self._num_taken
            self._progress.notify_all()

    def _fail(self, reason: str) -> None:
        self.error = (f"cannot save blocks in {self._store}: {reason}; "
                      "the run goes on, but cannot be resumed past this point")
        self._shelf.close()
        self._drop()

    def _drop(self) -> None:
        while self._queue:
            self._queue.popleft()
            self._num_taken += 1
        self._deal()

"""The newest entry of every task. There may be millions of tasks, most end well, and few readers want to see each of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from mpiflow.catalog.entries import RECORD, Form, TaskEntry
from mpiflow.catalog.states import State

_STATES = tuple(State)
_PLANNED, _DONE, _OVER = int(State.PLANNED), State.DONE, State.CANCELLED    # over is that, and all that is greater


class Entries(Sequence[TaskEntry]):
    """The entry of each task; most of them are made when somebody asks for them.

    Any thread may read while one writes: a state comes after what belongs to it.

    Attributes:
        states: State of each task, uint8.
        single: Entries that were put one by one. Of all others, tasks that are done have a record, and the rest is only planned.
    """

    def __init__(self, num: int) -> None:
        self._states = bytearray(num)               # the memory of ``states``: to read one item there is fast
        self.states = np.frombuffer(self._states, np.uint8)
        self.single: dict[int, TaskEntry] = {}
        self._open: set[int] = set()                # of tasks that are not over: few
        self._records, self._ranks = np.zeros(num, RECORD), np.full(num, -1, np.int32)
        self._forms: list[Form] = [()]              # all forms that records have,
        self._places: dict[Form, int] = {(): 0}     # and where each of them stands there

    def __len__(self) -> int:
        return len(self._states)

    def __getitem__(self, task: int) -> TaskEntry:
        state, found = _STATES[self._states[task]], self.single.get(task)
        return found or self._entry(task, state, self._ranks.item(task), self._records.item(task))

    def __iter__(self) -> Iterator[TaskEntry]:
        single = self.single.copy()                 # first: what is put as a record meanwhile is in both
        columns = zip(self.states.tolist(), self._ranks.tolist(), self._records.tolist(), strict=True)
        for task, (state, rank, record) in enumerate(columns):
            known = self.single.get(task) or (single.get(task) if state != _DONE else None)
            yield known or self._entry(task, _STATES[state], rank, record)

    def _entry(self, task: int, state: State, rank: int, record: tuple[int, int, float, float, int]) -> TaskEntry:
        return TaskEntry(task, 0, state, rank, *record[2:], self._forms[record[1]])

    def state(self, task: int) -> State:
        """Give the state of one task."""
        return _STATES[self._states[task]]

    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Give of each task its state (uint8), rank (int32), seconds (float64) and the size of its result (uint64) [bytes].

        They belong to the caller.
        """
        states = self.states.copy()                 # first: what belongs to them is there
        ranks, seconds, nbytes = self._ranks.copy(), self._records["seconds"].copy(), self._records["nbytes"].copy()
        for task, entry in self.single.copy().items():
            ranks[task], seconds[task], nbytes[task] = entry.rank, entry.seconds, entry.nbytes
        return states, ranks, seconds, nbytes

    def put(self, entry: TaskEntry) -> None:
        """Replace the entry of a task."""
        task = entry.task
        self.single[task] = entry
        self._states[task] = entry.state
        if entry.state < _OVER:
            self._open.add(task)
        elif self._open:
            self._open.discard(task)

    def put_ends(self, entries: Iterable[TaskEntry]) -> tuple[list[TaskEntry], list[TaskEntry]]:
        """Put the first news of planned tasks that have ended well, as nearly all ``entries`` are; give these, and the others."""
        states, single = self._states, self.single
        put: list[TaskEntry] = []
        others: list[TaskEntry] = []
        for entry in entries:
            task = entry.task
            if entry.state is _DONE and states[task] == _PLANNED and not entry.attempt and task not in single:
                single[task] = entry
                states[task] = _DONE
                put.append(entry)
            else:
                others.append(entry)
        return put, others

    def place(self, form: Form) -> int:
        """Give the number that stands for ``form`` here."""
        if form not in self._places:
            self._forms.append(form)                # before anybody can look for it
            self._places[form] = len(self._places)
        return self._places[form]

    def usual(self, done: np.ndarray) -> np.ndarray:
        """Say of each of ``done`` whether it replaces what is known, and no later one is of its task.

        Args:
            done: Tasks that have ended well in their first attempt, intp.

        Raises:
            IndexError: There is no such task.
        """
        found = self.states[done] < _OVER
        order, last = np.arange(len(done)), np.empty(len(self), np.intp)
        last[done] = order
        found &= last[done] == order
        again = [task for task in sorted(self._open) if self.single[task].attempt]
        return found & ~np.isin(done, again) if again else found

    def put_done(self, tasks: np.ndarray, ranks: np.ndarray, forms: np.ndarray, done: np.ndarray) -> list[int]:
        """Replace the entries of tasks that were not over, and have ended well.

        Args:
            tasks: Their numbers, intp, each of them once.
            ranks: Where each has run.
            forms: The place of its form here.
            done: Its ``RECORD``, contiguous.

        Returns:
            Those that had an entry put by itself, as what is running has.
        """
        words = RECORD.itemsize // 8                # numpy moves rows of numbers fast, but not records
        self._records.view(np.uint64).reshape(-1, words)[tasks] = done.view(np.uint64).reshape(-1, words)
        self._records["form"][tasks], self._ranks[tasks] = forms, ranks
        self.states[tasks] = State.DONE
        begun = [task for task in sorted(self._open) if self._states[task] == State.DONE]
        for task in begun:
            del self.single[task]
        self._open.difference_update(begun)
        return begun

"""How far a run has come, in words. Pure: from what one rank knows, which is what the last epoch has made common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from mpiflow.catalog.states import State
from mpiflow.report.summary import count, human_bytes

if TYPE_CHECKING:
    from mpiflow.peer.state import PeerState
    from mpiflow.planning.plan import Plan

FIRST_LINE = 10.0       # seconds before the first line in a log, and at least between two,
_RARER = 20             # later this part of what has passed: 79 lines in an hour, 144 in a day, 214 in a month
_LETTERS = 32           # ranks that have a letter each
_BAR = 20               # columns of the bar
_SOON = 0.5             # seconds that are not worth a word


class Doing(StrEnum):
    """What a rank does, as a letter on the display."""

    BUSY = "#"
    WAITING = "w"
    IDLE = "."


@dataclass(frozen=True)
class Progress:
    """How a run stands.

    Attributes:
        name: Of the workflow.
        seconds: How long tasks have been running [s].
        num_tasks: All tasks.
        num_done, num_failed: How many of them are done, and have failed.
        ranks: What each rank does.
        nbytes: Moved between ranks [bytes].
        rate: The same, lately [bytes/s].
        memory: What all processes take [bytes], as far as it is known.
        left: Expected time to the end [s]; None if there is nothing to expect it from.
        num_done_by: Tasks that are done, by rank: to compare with.
    """

    name: str
    seconds: float
    num_tasks: int
    num_done: int
    num_failed: int
    ranks: tuple[Doing, ...]
    nbytes: int = 0
    rate: float = 0.0
    memory: int = 0
    left: float | None = None
    num_done_by: tuple[int, ...] = field(default=(), repr=False)


class Gauge:
    """Measures how far a run has come, again and again."""

    def __init__(self) -> None:
        self._plan: Plan | None = None
        self._last: Progress | None = None

    def measure(self, name: str, state: PeerState, seconds: float) -> Progress:
        """Look at what is known after ``seconds``."""
        catalog = state.catalog
        if state.plan is not self._plan:
            self._follow(state.plan)
        states, ranks, took, _ = catalog.tasks.columns()
        done = states == State.DONE
        size = len(catalog.settled)
        done_by = np.bincount(ranks[done], minlength=size)
        nbytes = sum(nbytes for traffic in catalog.traffic for _, _, nbytes in traffic.sent)
        before = self._last
        since = seconds - before.seconds if before else seconds
        found = Progress(
            name, seconds, len(states), int(done.sum()), int((states == State.FAILED).sum()),
            self._doing(state, done_by.tolist()), nbytes, (nbytes - (before.nbytes if before else 0)) / max(since, 1e-9),
            sum(catalog.memory), self._left(state, states, took, seconds), tuple(done_by.tolist()))
        self._last = found
        return found

    def _follow(self, plan: Plan) -> None:
        """Tasks of one step that do the same are expected to take as much longer or shorter than planned as each other."""
        self._plan = plan
        numbers: dict[tuple[str, str], int] = {}
        self._groups = np.array([numbers.setdefault((task.step, task.kind), len(numbers)) for task in plan.graph.tasks], np.int64)
        self._expected, self._ranks = np.array(plan.estimates.seconds), np.array(plan.ranks, np.int64)

    def _doing(self, state: PeerState, done_by: Sequence[int]) -> tuple[Doing, ...]:
        """What each rank does; one whose tasks are short is seldom seen in one, but gets something done."""
        catalog, last = state.catalog, self._last
        before = last.num_done_by if last and len(last.num_done_by) == len(done_by) else (0,) * len(done_by)
        busy = {catalog.tasks[task].rank for task in list(catalog.running)}
        return tuple([
            Doing.BUSY if rank in busy or done_by[rank] > before[rank] else Doing.IDLE if settled else Doing.WAITING
            for rank, settled in enumerate(catalog.settled)])

    def _left(self, state: PeerState, states: np.ndarray, took: np.ndarray, seconds: float) -> float | None:
        """What is left takes as long as the rank with most of it does, and all of it at the pace so far.

        Steps of which something is done tell how wrong the plan is of them. If most of what is left is of others, it is believed.
        """
        done, still = states == State.DONE, states < State.CANCELLED
        if not still.any():
            return 0.0
        num = self._groups.max() + 1
        planned, actual = (np.bincount(self._groups[done], each[done], minlength=num) for each in (self._expected, took))
        seen = np.bincount(self._groups[done], minlength=num) > 0
        if 2 * seen[self._groups[still]].sum() < still.sum():
            left = state.plan.seconds - seconds
        else:
            ratios = np.where(seen, actual / np.maximum(planned, 1e-12), 1.0)
            open_seconds, elapsed = (self._expected * ratios[self._groups])[still], sum(state.catalog.elapsed)
            pace = max((took[done].sum() + elapsed) / max(seconds, 1e-9), 1.0)
            busiest = np.bincount(self._ranks[still], open_seconds).max()
            left = float(max((open_seconds.sum() - elapsed) / pace, busiest - elapsed))
        return left if left >= _SOON else None  # what runs takes longer than expected, and nobody knows how long


# When

def next_line(seconds: float) -> float:
    """Say when the line after one at ``seconds`` is due; that after 0 is the first [s]."""
    return seconds + max(FIRST_LINE, seconds / _RARER)


# Texts

def clock(seconds: float) -> str:
    """Write a time for people: 0:07, 12:34, 2:03:04."""
    whole = round(seconds)
    minutes = f"{whole // 60 % 60:0{2 if whole >= 3600 else 1}}:{whole % 60:02}"
    return f"{whole // 3600}:{minutes}" if whole >= 3600 else minutes


def line(found: Progress) -> str:
    """One line for a log."""
    doing = [(found.ranks.count(kind), kind.name.lower()) for kind in Doing]
    parts = [f"mpiflow: {clock(found.seconds)}: {found.num_done} of {count(found.num_tasks, 'task')} done"
             + (f", {found.num_failed} failed" if found.num_failed else ""),
             f"{count(len(found.ranks), 'rank')}: {', '.join(f'{num} {what}' for num, what in doing if num)}"]
    if found.nbytes:
        parts.append(f"{human_bytes(found.nbytes)} moved" + (f", {human_bytes(found.rate)}/s" if found.rate >= 1 else ""))
    if found.memory:
        parts.append(f"memory {human_bytes(found.memory)}")
    if found.left is not None:
        parts.append(f"about {clock(found.left)} left")
    return "; ".join(parts)


def display(found: Progress, columns: int) -> str:
    """One line for a terminal of ``columns``: as much as it can hold, without its last column."""
    share = found.num_done / max(found.num_tasks, 1)
    bar = "#" * int(share * _BAR)
    counts = f"{found.num_done}/{found.num_tasks}" + (f" {found.num_failed} FAILED" if found.num_failed else "")
    parts = [(0, counts), (3, f"[{bar:-<{_BAR}}]"), (1, clock(found.seconds)),
             (2, "" if found.left is None else f"{clock(found.left)} left"), (4, _letters(found.ranks)),
             (5, f"{human_bytes(found.nbytes)} moved, {human_bytes(found.rate)}/s" if found.nbytes else ""),
             (6, f"memory {human_bytes(found.memory)}" if found.memory else ""), (7, found.name)]
    parts = [part for part in parts if part[1]]
    while len(parts) > 1 and sum(len(text) + 2 for _, text in parts) - 2 >= columns:
        parts.remove(max(parts))
    return "  ".join(text for _, text in parts)[:columns - 1]


def _letters(ranks: Sequence[Doing]) -> str:
    """A letter for each rank, or how many there are of each."""
    if len(ranks) <= _LETTERS:
        return "".join(ranks)
    return " ".join(f"{ranks.count(kind)}{kind}" for kind in Doing if kind in ranks)

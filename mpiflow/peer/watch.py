"""A watch over one rank: when nothing moves, or somebody asks by SIGUSR2, it says what the rank waits for.

It looks at most every 50 ms, from where the rank has nothing better to do. When an epoch is overdue it finds out who is
missing, and ends the run if the user has set a limit for that.
"""

from __future__ import annotations

import contextlib
import faulthandler
import math
import os
import signal
from collections.abc import Callable, Sequence
from typing import Protocol

from mpiflow.errors import SilenceError

ASK = signal.SIGUSR2
PERIOD = 0.05           # seconds between two looks
_BEAT = 1.0             # seconds between two signs of life, at most at first;
_SLOWER = 16            # later this part of the time that has passed,
_CROWD = 200            # and no more than so many messages a second
_MISSED = 2.5           # a rank that has left out so many signs of life is silent,
_PATIENT = 0.4          # but not before this part of the user's limit is over
_TURN = 0.5             # seconds that each rank leaves to the one before it, so that one speaks for all


class Sight(Protocol):
    """What a watch looks at."""

    @property
    def epoch(self) -> int:
        """The number of epochs that are over; for any thread."""

    def progress(self) -> tuple[int, object]:
        """Give the number of epochs that are over, and what is another when something has moved."""

    def lines(self, now: float, asked: bool) -> list[str]:
        """Say what this rank does and waits for."""

    def excuse(self, rank: int) -> str:
        """Say why another rank may be silent although nothing is wrong with it."""


class Heart(Protocol):
    """Signs of life; see ``Pulse``."""

    rank: int
    size: int
    mortal: bool
    heard: list[float]

    def begin(self) -> None: ...
    def beat(self) -> None: ...
    def listen(self, now: float) -> None: ...
    def rest(self) -> None: ...


class Meeting:
    """Ranks that wait for each other while no task runs."""

    epoch = 0

    def progress(self) -> tuple[int, object]:
        """Nothing but the end of the exchange is progress."""
        return 0, None

    def lines(self, now: float, asked: bool) -> list[str]:
        """Say where this rank is."""
        return ["waits for all ranks to have read and planned, or saved and reported, as this one has"]

    def excuse(self, rank: int) -> str:
        """Others may take longer."""
        return "it still reads, plans or saves"


def listen() -> None:
    """Let SIGUSR2 ask this process what it does, from now on.

    The stack of the main thread is written by C code at once, even if an operation keeps the interpreter to itself. The
    rest is written by ``Watch``, which hears of the signal by the file descriptor that Python writes its number to.
    """
    signal.signal(ASK, lambda number, frame: None)
    with contextlib.suppress(OSError, ValueError, RuntimeError):        # no standard error
        faulthandler.register(ASK, file=2, all_threads=False, chain=True)


def write(text: str) -> None:
    """Write to standard error at once and in one piece, whatever user code has made of Python's."""
    with contextlib.suppress(OSError):
        os.write(2, text.encode("utf-8", "backslashreplace"))


class Watch:
    """Notices that nothing moves. Local, but for the signs of life that its ``pulse`` sends.

    Attributes:
        hosts: Node of each rank, once that is known.
        unreached: Says which nodes do not answer; nothing if all do.
    """

    def __init__(self, pulse: Heart, report: float, silence: float, write: Callable[[str], None] = write,
                 early: float = 0.0) -> None:
        """Prepare; ``follow`` starts.

        Args:
            pulse: Signs of life.
            report: After how long without a move this rank says what it waits for [s]; 0 for never.
            silence: How long a rank may be silent before the run is ended [s]; 0 for ever.
            write: Takes the text.
            early: Ranks give signs of life when an epoch is overdue by so much [s], if not before; 0 for no such time.
        """
        self.hosts: Sequence[str] = ()
        self.unreached: Callable[[], str] = str
        self._pulse = pulse
        self._report, self._silence = report or math.inf, silence or math.inf
        self._first = min(self._report, self._silence, 2 * early or math.inf)
        self._write = write
        self._asked = False
        self._sight: Sight = Meeting()
        self._seen: tuple[int, object] = self._sight.progress()
        self._looked = self._epoch_at = self._moved_at = 0.0
        self._next = self._report
        self._beat_since: float | None = None
        self._beat_at = 0.0

    def follow(self, sight: Sight, now: float) -> None:
        """Look at ``sight`` from ``now`` on [s]."""
        self._sight, self._seen = sight, sight.progress()
        self._looked = self._epoch_at = self._moved_at = now
        self._rest()
        self._calm()

    def pace(self) -> object:
        """Give what is another when an epoch is over; for any thread."""
        sight = self._sight
        return sight, sight.epoch

    def ask(self) -> None:
        """Somebody wants to know what this rank does; the next look tells."""
        self._asked = True

    def look(self, now: float) -> None:
        """See whether anything has moved; to be called often.

        Raises:
            SilenceError: A rank is silent for longer than the user allows.
            MPI.Exception: A rank has died.
        """
        away = now - self._looked
        if away < PERIOD:
            return
        self._looked = now
        if away > self._first / 2:
            self._return(away)
        self._compare(now)
        overdue, still = now - self._epoch_at, now - min(self._epoch_at, self._moved_at)
        if overdue > self._first / 2:
            self._beat(now, overdue)
        if self._asked or still >= self._next:
            if still >= self._next:
                self._next = 2 * still
            self._tell(now)
        elif still < self._report:
            self._calm()
        if overdue > self._silence:
            self._judge(now, overdue)

    def _return(self, away: float) -> None:
        """This rank itself did not get to run, so it cannot say that others did not move."""
        self._epoch_at += away
        self._moved_at += away
        self._rest()
        if away > self._report:
            self._say([f"did not get to look for {away:.0f} s: it was stopped, or something kept the interpreter to itself"])

    def _compare(self, now: float) -> None:
        seen = self._sight.progress()
        if seen[0] != self._seen[0]:
            self._epoch_at = now
            self._rest()
        if seen[1] != self._seen[1]:
            self._moved_at = now
        self._seen = seen

    def _calm(self) -> None:
        """Things move, or move again."""
        if self._next > self._report:
            self._say(["goes on"])
        self._next = self._report

    # Who is missing

    def _rest(self) -> None:
        if self._beat_since is not None:
            self._pulse.rest()
            self._beat_since = None

    def _interval(self, overdue: float) -> float:
        """Seconds between two signs of life; each rank comes to about the same."""
        return max(min(_BEAT, self._first / 8), overdue / _SLOWER, self._pulse.size / _CROWD)

    def _beat(self, now: float, overdue: float) -> None:
        if self._beat_since is None:
            self._beat_since = self._beat_at = now
            self._pulse.begin()
        self._pulse.listen(now)
        if now >= self._beat_at:
            self._beat_at = now + self._interval(overdue)
            self._pulse.beat()

    def _silent(self, now: float, overdue: float, least: float) -> list[int]:
        """The ranks that have not been heard of for ``least`` [s] or more since this one listens."""
        since = self._beat_since
        if since is None:
            return []
        least = max(least, _MISSED * self._interval(overdue))
        return [rank for rank, heard in enumerate(self._pulse.heard)
                if rank != self._pulse.rank and now - max(heard, since) > least]

    def _judge(self, now: float, overdue: float) -> None:
        """End the run if a rank is silent for too long; one rank speaks for all."""
        silent = self._silent(now, overdue, self._silence * _PATIENT)
        before = sum(rank not in silent for rank in range(self._pulse.rank))
        if silent and overdue > self._silence + min(before * _TURN, 10 * _TURN):
            rest = ("; ranks that are stopped on other nodes are not for mpiflow to kill: end them, should they be left"
                    if self._pulse.mortal else "")
            raise SilenceError("; ".join(self._missing(rank, now) for rank in silent) +
                               f"\nno epoch has been over for {overdue:.0f} s, and --silence allows {self._silence:g} s: the run "
                               f"is ended on all ranks. What was saved is kept: the same command with --resume goes on{rest}")

    def _missing(self, rank: int, now: float) -> str:
        seconds = now - max(self._pulse.heard[rank], self._epoch_at)
        return (f"rank {rank}{self._on(rank)} has given no sign of life for {seconds:.0f} s (last epoch {self._seen[0]}): it is "
                f"stopped, its node is gone, or {self._sight.excuse(rank)}")

    # What is written

    def _on(self, rank: int) -> str:
        return f" on node {self.hosts[rank]}" if self.hosts else ""

    def _tell(self, now: float) -> None:
        overdue, still = now - self._epoch_at, now - self._moved_at
        asked, self._asked = self._asked, False
        lines = [f"{'is asked' if asked else 'nothing moves'} (pid {os.getpid()}): epoch {self._seen[0] + 1} began "
                 f"{overdue:.1f} s ago, and something moved {still:.1f} s ago", *self._sight.lines(now, asked)]
        if self._beat_since is not None:
            silent = self._silent(now, overdue, self._first * _PATIENT)
            found = self.unreached()            # then MPI may keep back what those that can be reached have sent
            lines += [found] if found else [self._missing(rank, now) for rank in silent] or ["all other ranks give signs of life"]
        self._say(lines)

    def _say(self, lines: Sequence[str]) -> None:
        start = f"mpiflow: rank {self._pulse.rank}{self._on(self._pulse.rank)}: "
        self._write("".join(f"{start}{line}\n" for line in lines))

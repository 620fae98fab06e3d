"""Signals that ask a rank to stop before the end, from batch systems and people."""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Stops:
    """Notices SIGNALS from ``listen`` on; before, they end the process as usual. For the main thread; one at a time.

    Attributes:
        asked: The last signal; None before there was one.
    """

    def __init__(self, returning: bool = False) -> None:
        """Do nothing yet; ``returning`` if the process goes on after the run, and has its own handlers again."""
        self._returning = returning
        self.asked: int | None = None
        self._old: dict[int, object] = {}
        self._waken = self._waking = self._old_waking = -1

    def listen(self) -> None:
        """Begin to notice signals."""
        self._waken, self._waking = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._old = {number: signal.signal(number, self._note) for number in SIGNALS}
        self._old_waking = signal.set_wakeup_fd(self._waking, warn_on_full_buffer=False)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = number

    def hear(self) -> bytes:
        """Notice signals from any thread while the main one is in C code, which Python's own handlers have to wait for.

        Returns:
            The numbers of all signals, of these and of others, that have come since the last call.
        """
        heard = b""
        with contextlib.suppress(BlockingIOError):
            heard = os.read(self._waken, 64)
        for number in heard:
            if number in SIGNALS:
                self.asked = number
        return heard

    def close(self) -> None:
        """Put everything back; but once asked to stop, this process ends as it has decided to.

        Open MPI sends SIGTERM and SIGCONT again to ranks that are ending.
        """
        signal.set_wakeup_fd(self._old_waking)
        for number, handler in self._old.items():
            signal.signal(number, handler if self.asked is None or self._returning else signal.SIG_IGN)
        os.close(self._waking)
        os.close(self._waken)


def ignore_all() -> None:
    """From now on signals to stop are too late to mean anything."""
    with contextlib.suppress(ValueError):       # only the main thread may say so
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

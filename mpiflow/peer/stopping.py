"""Signals that ask for a stop before the end, from batch systems and people; no MPI here.

They may come at any time: while a run is prepared, while its tasks run, while it is brought to its end.
"""

from __future__ import annotations

import signal

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_noted: list[int] = []


def listen() -> None:
    """From now on such a signal does not end this process, but is noted. Local."""
    _noted.clear()
    for number in STOP_SIGNALS:
        signal.signal(number, lambda number, frame: note(number))


def note(number: int) -> None:
    """Signal ``number`` has come."""
    _noted.append(number)


def noted() -> int | None:
    """Give the first signal that has come, if any has."""
    return _noted[0] if _noted else None

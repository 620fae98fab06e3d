"""Interruptions of what runs in the main thread: raised where it can be left, put off where it cannot."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class Interrupted(BaseException):
    """Raised in user code that must end; no ``except Exception`` catches it."""


class Interrupts:
    """When the main thread may be interrupted.

    Attributes:
        open: Whether it may be now.
        wanted: Whether it is to be, as soon as it may.
    """

    def __init__(self) -> None:
        self.open = False
        self.wanted = False

    def strike(self) -> None:
        """Interrupt: called in the main thread, by the handler of a signal.

        Raises:
            Interrupted: It may be interrupted now.
        """
        if self.open:
            raise Interrupted

    @contextlib.contextmanager
    def only(self, open: bool) -> Iterator[None]:
        """Say for a while whether it may be interrupted; what was put off comes as soon as it may.

        Raises:
            Interrupted: It is to be, and may be.
        """
        before, self.open = self.open, open
        try:
            self._obey()
            yield
        finally:
            self.open = before
        self._obey()

    def _obey(self) -> None:
        if self.open and self.wanted:
            raise Interrupted

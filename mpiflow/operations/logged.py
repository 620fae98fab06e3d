"""What is logged on a rank, with Python's logging: by operations, by what they import, and by mpiflow."""

from __future__ import annotations

import logging
import sys

from mpiflow.operations.printed import Printed

LEVELS = ("error", "warning", "info", "debug")
_OWN = "mpiflow"                # the logger of our own modules, which speak for no task
_MODULES = "_mpiflow_"          # modules of operations have names that begin so; people know them by their files


class Logged(logging.Handler):
    """Keeps what is logged, with the task that runs; what is a warning or worse goes to standard error as well."""

    def __init__(self, level: str, printed: Printed) -> None:
        """Prepare.

        Args:
            level: One of LEVELS: what is less is left out.
            printed: Knows which task runs, and keeps its lines.
        """
        super().__init__(level.upper())
        self._printed = printed
        self.setFormatter(logging.Formatter("%(levelname)s %(source)s: %(message)s"))
        self._before = logging.WARNING

    def listen(self) -> None:
        """Take what is logged from now on."""
        root = logging.getLogger()
        self._before = root.level
        root.addHandler(self)
        root.setLevel(self.level)

    def close(self) -> None:
        """Take no more."""
        root = logging.getLogger()
        if self in root.handlers:
            root.removeHandler(self)
            root.setLevel(self._before)
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record; for any thread."""
        own = record.name.partition(".")[0] == _OWN
        record.source = record.module if record.name.startswith(_MODULES) else record.name
        try:
            text = self.format(record)
        except Exception:       # an argument of user code that cannot be written: it is told as logging tells it
            self.handleError(record)
            return
        task = None if own else self._printed.doing()
        if record.levelno >= logging.WARNING and sys.stderr is not None:
            sys.stderr.write(f"{text}\n")          # and is kept with the task, as all that it prints
            if task is not None:
                return
        if self._printed.keep is not None:
            name = "" if task is None else self._printed.name_of(task)
            self._printed.keep(-1 if task is None else task, name, "log", text.splitlines())

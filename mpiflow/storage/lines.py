"""Appending to the file of lines that tasks on one rank have printed."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from weakref import WeakSet

import msgspec

from mpiflow.storage.accounts import Line
from mpiflow.storage.runs import lines_file

MOST = 64 << 20         # bytes of lines that are kept of one rank
_SHARED = 0.01          # seconds: lines that follow each other faster share a write,
_GATHERED = 32 << 10    # of at most about so many bytes
_encode = msgspec.json.Encoder().encode


class Lines:
    """The file of one rank; it is made when there is a line.

    Lines of "err" are written at once, others as well unless they come in quick succession: these wait for a flush.

    Attributes:
        error: Why no more lines are kept, for people; empty as long as all is well.
    """

    def __init__(self, folder: Path, name: int, most: int = MOST) -> None:
        """Prepare.

        Args:
            folder: That of the run.
            name: The rank's number at first.
            most: Bytes that may be kept.
        """
        self.error = ""
        self._file, self._left = folder / lines_file(name), most
        self._opened = -1
        self._pending: deque[bytes] = deque()
        self._gathered, self._written = 0, 0.0
        self._writing = Lock()
        _open.add(self)

    def append(self, task: int, name: str, stream: str, texts: Sequence[str]) -> None:
        """Append lines of one task; see ``runs.Line``. For any thread."""
        if self._left <= 0:
            return
        now = time.time()
        data = b"".join([_line(Line(now, task, name, stream, text)) for text in texts])
        self._left -= len(data)
        if self._left <= 0:
            data = _line(Line(now, -1, "", "err", "mpiflow: tasks on this rank print too much; no more of it is kept"))
        self._pending.append(data)
        self._gathered += len(data)
        if stream == "err" or not 0 <= now - self._written < _SHARED or self._gathered > _GATHERED:
            self.flush()

    def flush(self) -> None:
        """Write what waits; for any thread."""
        if not self._pending:
            return
        with self._writing:
            data = b"".join([self._pending.popleft() for _ in range(len(self._pending))])
            self._gathered, self._written = 0, time.time()
            try:
                if self._opened < 0:
                    self._file.parent.mkdir(parents=True, exist_ok=True)
                    self._opened = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
                os.write(self._opened, data)
            except OSError as error:
                self._left, self.error = 0, os.strerror(error.errno)

    def close(self) -> None:
        """Write what waits, and close the file."""
        self.flush()
        self._left = 0
        if self._opened >= 0:
            os.close(self._opened)
            self._opened = -1


def _flush_all() -> None:
    for lines in list(_open):
        lines.flush()


_open: WeakSet[Lines] = WeakSet()
os.register_at_fork(before=_flush_all)          # or children would write it once more


def _line(line: Line) -> bytes:
    try:
        return _encode(line) + b"\n"
    except UnicodeEncodeError:                  # half of a pair of surrogates, as names of files have
        return _encode(msgspec.structs.replace(line, text=line.text.encode("utf-8", "backslashreplace").decode())) + b"\n"

"""Appending to the file of lines that tasks on one rank have printed."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from mpiflow.storage.runs import Line, lines_file

MOST = 64 << 20         # bytes of lines that are kept of one rank
_encode = msgspec.json.Encoder().encode


class Lines:
    """The file of one rank; it is made when there is a line. Lines are in it as soon as they are appended.

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

    def append(self, task: int, name: str, stream: str, texts: Sequence[str]) -> None:
        """Append lines of one task; see ``runs.Line``. For any thread: each call is one write."""
        if self._left <= 0:
            return
        now = time.time()
        data = b"".join([_line(Line(now, task, name, stream, text)) for text in texts])
        self._left -= len(data)
        if self._left <= 0:
            data = _line(Line(now, -1, "", "err", "mpiflow: tasks on this rank print too much; no more of it is kept"))
        try:
            if self._opened < 0:
                self._open()
            os.write(self._opened, data)
        except OSError as error:
            self._left, self.error = 0, os.strerror(error.errno)

    def _open(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._opened = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)

    def close(self) -> None:
        """Close the file."""
        self._left = 0
        if self._opened >= 0:
            os.close(self._opened)
            self._opened = -1


def _line(line: Line) -> bytes:
    try:
        return _encode(line) + b"\n"
    except UnicodeEncodeError:                  # half of a pair of surrogates, as names of files have
        return _encode(msgspec.structs.replace(line, text=line.text.encode("utf-8", "backslashreplace").decode())) + b"\n"

"""What tasks print: every line goes where it would go anyway, and is kept with the task that it comes from.

Lines of Python code are taken from ``sys.stdout`` and ``sys.stderr``, those of programs from the files that take them. What C or
Fortran code prints by itself, below Python, is not seen here.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import Lock, get_ident
from typing import Any, TextIO

LONGEST = 64 << 10      # characters of a line: a longer one is kept in pieces
_PIECES = 1000          # and is looked at after so many pieces, or when one has so many characters
_PIECE = 1 << 20        # bytes of a program's output that are read at a time

NOTHING: Mapping[str, str] = {}

Keep = Callable[[int, str, str, Sequence[str]], None]       # takes number and name of a task, "out", "err" or "log", and lines


class Printed:
    """Takes what tasks of this rank print.

    Attributes:
        doing: Gives the number of the task that runs; None if none does, and then nothing is kept.
        name_of: Gives the name of a task.
        keep: Keeps lines; None if nobody wants them.
        flush: Brings them to where others see them.
    """

    def __init__(self, before: Mapping[str, str] = NOTHING) -> None:
        """Do nothing yet; ``before`` precedes each line on "out" and "err", and is not kept."""
        self._before = before
        self.doing: Callable[[], int | None] = lambda: None
        self.name_of: Callable[[int], str] = str
        self.keep: Keep | None = None
        self.flush: Callable[[], None] = lambda: None
        self._followed: list[_Followed] = []
        self._following = Lock()
        self._tees: list[tuple[str, TextIO, Tee]] = []

    def listen(self) -> None:
        """Take what is printed from now on."""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is not None:
                tee = Tee(stream, name[3:], self, self._before.get(name[3:], ""))
                self._tees.append((name, stream, tee))
                setattr(sys, name, tee)

    def close(self) -> None:
        """Take no more; what user code has put in place of our streams stays."""
        for name, stream, tee in self._tees:
            tee.end()
            if getattr(sys, name) is tee:
                setattr(sys, name, stream)
        self.flush()
        self._tees, self.keep = [], None

    # Programs

    @contextlib.contextmanager
    def following(self, files: Mapping[str, Path]) -> Iterator[None]:
        """Keep what the program of the running task writes to ``files``, for each of "out" and "err"."""
        keep, doing = self.keep, self.doing()
        if keep is not None and doing is not None:
            name = self.name_of(doing)
            self._followed = [_Followed(file, partial(keep, doing, name, stream)) for stream, file in files.items()]
        try:
            yield
        finally:
            self.catch_up(ended=True)
            self._followed = []

    def catch_up(self, ended: bool = False) -> None:
        """Keep what programs have written since the last time, and let others see all that was kept; for any thread."""
        if self._followed:
            with self._following:
                for followed in self._followed:
                    followed.catch_up(ended)
        self.flush()


class Tee:
    """Stands for a stream, and keeps what is written."""

    def __init__(self, stream: TextIO, name: str, printed: Printed, before: str) -> None:
        self._stream, self._name, self._printed, self._before = stream, name, printed, before
        self._fresh = True                      # the last line is at its end
        self._begun: dict[int, tuple[int, list[str]]] = {}      # for each thread: task, pieces of a line

    def write(self, text: str) -> int:
        """Write, and keep the lines that are whole."""
        if self._before and text:
            self._stream.write(self._before + text if self._fresh else text)
            self._fresh = text.endswith("\n")
        else:
            self._stream.write(text)
        if self._printed.keep is not None:
            begun, doing = self._begun.get(get_ident()), self._printed.doing()
            if begun is None or "\n" in text or doing != begun[0] or max(len(begun[1]), len(text)) > _PIECES:
                self._take(begun, doing, text)
            else:
                begun[1].append(text)
        return len(text)

    def writelines(self, lines: Sequence[str]) -> None:
        """Write several pieces."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush, and let others see what was kept."""
        self._stream.flush()
        self._printed.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _take(self, begun: tuple[int, list[str]] | None, doing: int | None, text: str) -> None:
        if begun:
            del self._begun[get_ident()]
            if begun[0] == doing:
                text = "".join(begun[1]) + text
            else:                               # a task that is over has not ended its line
                self._keep(begun[0], ["".join(begun[1])])
        if doing is None:
            return
        *whole, rest = text.split("\n")
        if whole:
            self._keep(doing, whole)
        if len(rest) > LONGEST:
            rest = _shown(rest)
            self._keep(doing, [rest[at:at + LONGEST] for at in range(0, len(rest), LONGEST)])
        elif rest:
            self._begun[get_ident()] = doing, [rest]

    def _keep(self, task: int, lines: Sequence[str]) -> None:
        keep = self._printed.keep
        if keep:
            keep(task, self._printed.name_of(task), self._name, [_shown(line) for line in lines])

    def end(self) -> None:
        """Keep what has not come to the end of its line."""
        for task, parts in list(self._begun.values()):
            self._keep(task, ["".join(parts)])
        self._begun.clear()


class _Followed:
    """A file that grows while a program writes it."""

    def __init__(self, file: Path, keep: Callable[[Sequence[str]], None]) -> None:
        self._file, self._keep = file, keep
        self._read, self._rest = 0, b""

    def catch_up(self, ended: bool) -> None:
        """Keep the lines that are whole; at the end the rest as well."""
        with contextlib.suppress(OSError), open(self._file, "rb") as opened:
            opened.seek(self._read)
            while data := opened.read(_PIECE):
                self._read += len(data)
                *whole, self._rest = (self._rest + data).split(b"\n")
                self._keep_all(whole)
                if len(self._rest) > LONGEST:
                    self._keep_all([self._rest])
                    self._rest = b""
        if ended and self._rest:
            self._keep_all([self._rest])
            self._rest = b""

    def _keep_all(self, lines: Sequence[bytes]) -> None:
        if lines:
            self._keep([_shown(line.decode("utf-8", "backslashreplace").replace("\0", "\\0")) for line in lines])


def _shown(line: str) -> str:
    """Give what a terminal shows of a line that returns to its start, as progress bars do."""
    return line if "\r" not in line else line.rstrip("\r").rpartition("\r")[2]

"""The exception tree: what the user wrote, what the user's code did, what the machine did, our bug."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass


class MpiflowError(Exception):
    """Any error that mpiflow reports by itself; ``status`` is the exit status that it leads to."""

    status = 3


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong in what the user wrote, and where (line and column count from 1)."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.message}"


class DocumentError(MpiflowError):
    """The workflow document, or something that it names, is wrong; holds every problem found."""

    status = 2

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))


class LaunchError(MpiflowError):
    """The program was started in a way that cannot work: wrong arguments, no MPI, ranks that do not meet."""

    status = 2


class PlanningError(MpiflowError):
    """The workflow cannot run on this machine as it is: a task needs more memory than any rank may use."""

    status = 2


class OperationError(MpiflowError):
    """An operation broke its contract: a result that is no array, a dtype other than declared."""

    status = 1


class MachineError(MpiflowError):
    """A file, a disk or a network did not do what it should."""

    status = 1


class DamagedError(MachineError):
    """Something that was stored is not what was written, or is not there any more."""


class StepError(MpiflowError):
    """A step failed, so the run did; on every rank alike.

    Attributes:
        run: What is left of the run: values that were made, summary, record.
    """

    status = 1

    def __init__(self, message: str, run: object = None) -> None:
        super().__init__(message)
        self.run = run


class StoppedError(StepError):
    """A signal stopped the run before the end; on every rank alike. The same with ``resume=True`` goes on."""

    status = 75


class SilenceError(MachineError):
    """A rank has given no sign of life for longer than the user allows."""


class InternalError(MpiflowError):
    """Something that cannot happen did: a bug of mpiflow."""


def did_you_mean(word: str, known: Iterable[str], least: float = 0.6) -> str:
    """Name the known word nearest to ``word``, as the end of an error message; empty when none is near."""
    near = difflib.get_close_matches(word, sorted(known), n=1, cutoff=least)
    return f"; did you mean {near[0]!r}?" if near else ""


def near_file(file: str | os.PathLike[str] | None) -> str:
    """Name the file that may be meant by one that is not there, as the end of an error message. Local.

    Args:
        file: What is looked for; None if nobody knows.
    """
    folder, name = os.path.split(os.fspath(file or ""))
    try:
        known = sorted(os.listdir(folder or "."))
        return "" if not name or name in known else did_you_mean(name, [one for one in known if one.isprintable()], 0.75)
    except (OSError, ValueError):
        return ""


def ranges(numbers: Iterable[int], between: str = " ") -> str:
    """Write numbers shortly, runs of them by their ends: 0-3 5."""
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return between.join(str(a) if a == b else f"{a}-{b}" for a, b in parts)

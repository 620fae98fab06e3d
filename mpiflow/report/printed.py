"""What tasks have printed, for people and programs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from mpiflow.report.condition import Sight, tasks_of
from mpiflow.storage.accounts import Line

Printed = tuple[int, Line]      # the rank's number at first, and the line


def lines_of(sight: Sight, word: str, lines: Iterable[Printed]) -> list[Printed]:
    """Choose the lines of a step or an instance: task after task, each in the order in which they were printed.

    Raises:
        LaunchError: There is no such step, and nothing was printed by one.
    """
    lines = list(lines)
    found = [(rank, line) for rank, line in lines if word == line.name or line.name.startswith(f"{word}[")]
    if not found or sight.record is not None:
        numbers = {task.task for task in tasks_of(sight, word)}
        found = [(rank, line) for rank, line in lines if line.task in numbers]
    begins: dict[tuple[int, int], float] = {}
    for rank, line in found:
        begins.setdefault((line.task, rank), line.time)
    return sorted(found, key=lambda item: (begins[item[1].task, item[0]], item[1].task, item[0]))


def lines_on(rank: int, lines: Iterable[Printed]) -> list[Printed]:
    """Choose the lines of one rank, by its number at first."""
    return [(name, line) for name, line in lines if name == rank]


def rank_text(found: Sequence[Printed]) -> str:
    """Write the lines of a rank in their order, each with its time and task."""
    written = [f"{datetime.fromtimestamp(line.time).isoformat(timespec='milliseconds')[11:]} {line.name or '-'}: {line.text}"
               for _, line in found]
    return "\n".join(written) if written else "nothing was printed or logged there"


def lines_text(found: Sequence[Printed], word: str) -> str:
    """Write them under a head for each task and rank."""
    written, last = [], None
    for rank, line in found:
        if (line.task, rank) != last:
            last = line.task, rank
            at = datetime.fromtimestamp(line.time).strftime("%H:%M:%S")
            written.append(f"-- {line.name or word}, task {line.task} on rank {rank}, {at}")
        written.append(line.text)
    return "\n".join(written) if written else f"{word} has printed nothing (or C or Fortran code has, by itself)"


def lines_json(found: Sequence[Printed]) -> list[dict[str, Any]]:
    """The same as plain values; times are times of day [s]."""
    return [{"rank": rank, **msgspec.to_builtins(line)} for rank, line in found]

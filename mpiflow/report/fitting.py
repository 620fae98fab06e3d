"""Tables and lines in the width of a terminal. Pure."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import Any

LEAST = 6               # characters that are left of a column,
_WORDS = 24             # and of the last one, which goes on below
_GAP = re.compile(r"(?<=\S) {2,}(?=\S)")        # between an example and what it does


def table(rows: Sequence[Sequence[Any]], width: int | None = None) -> list[str]:
    """Align columns; the first row is the heading.

    Args:
        rows: Cells, as many in each row.
        width: What there is room for, in characters: the widest cells are shortened, the last one goes on below; None for any.
    """
    return [line for lines in table_rows(rows, width) for line in lines]


def table_rows(rows: Sequence[Sequence[Any]], width: int | None = None) -> list[list[str]]:
    """Align columns likewise, and give the lines of each row."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    if width is not None and widths:
        _narrow(widths, width - 2 * len(widths))
    return [_row(row, widths) for row in cells]


def _narrow(widths: list[int], room: int) -> None:
    """Take from the last column what it can go without, then from the widest."""
    widths[-1] = min(widths[-1], max(_WORDS, room - sum(widths[:-1])))
    while sum(widths) > room and max(widths) > LEAST:
        widths[widths.index(max(widths))] -= 1


def _row(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    start = "  " + "".join(f"{_cut(cell, width):{width}}  " for cell, width in zip(row[:-1], widths, strict=False))
    parts = [row[-1]] if len(row[-1]) <= widths[-1] else textwrap.wrap(row[-1], widths[-1], break_on_hyphens=False) or [""]
    return [(start + parts[0]).rstrip(), *(" " * len(start) + part for part in parts[1:])]


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else cell[:width - 1] + "…"


def folded(line: str, width: int) -> list[str]:
    """Break a line that is too long at blanks; what an example does goes on below where it began."""
    if len(line) <= width or " " not in line.strip():
        return [line]
    gap, indent = _GAP.search(line), len(line) - len(line.lstrip())
    margin = gap.end() if gap and gap.end() <= width * 2 // 3 else min(indent + 2, width // 2)
    return textwrap.wrap(line, width, subsequent_indent=" " * margin, break_long_words=False, break_on_hyphens=False)

"""What ``doctor`` has found, for people and for programs. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

_WIDTH = 80


class Health(StrEnum):
    """How well something is: NOTE is worth knowing, but nothing is wrong."""

    OK = "ok"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What.
        health: How it is.
        text: What was found.
        remedy: What to do about it, if anything.
    """

    name: str
    health: Health
    text: str
    remedy: str = ""


def findings_text(found: Sequence[Finding]) -> str:
    """A line for each, and what to do; lines of 80 columns."""
    lines = []
    for one in found:
        head = f"{one.health:4}  {one.name:10}  "
        lines += textwrap.wrap(one.text, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head)) or [head.rstrip()]
        for text in one.remedy.splitlines():
            indent = " " * len(head)
            lines += textwrap.wrap(text, _WIDTH, initial_indent=indent + "→ ", subsequent_indent=indent + "  ",
                                   break_long_words=False, break_on_hyphens=False)
    bad = [one.name for one in found if one.health is Health.BAD]
    return "\n".join([*lines, "", f"not well: {', '.join(bad)}" if bad else "all is well"])


def findings_values(found: Iterable[Finding]) -> list[dict[str, Any]]:
    """The same as plain values."""
    return [asdict(one) | {"health": str(one.health)} for one in found]

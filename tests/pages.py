"""What a page of the documentation has its reader do, and what is printed then.

A ``python`` or ``yaml`` block whose first line is ``# name`` is a file, other ``python`` blocks are programs, and of ``console``
blocks the lines with ``$`` are typed, as are those of ``sh`` blocks, which install something. What is printed stands below, or in
the ``text`` block behind; ``...`` is anything.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).resolve().parent.parent / "docs"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# ([\w./-]+\.(?:py|yaml))\n")


class Action(NamedTuple):
    """One thing to do: its kind is "python", "console" or "sh", or the name of the file that the text is for."""

    kind: str
    text: str
    printed: str | None = None      # None if the page does not say


def actions(page: Path) -> list[Action]:
    """Give what a page has its reader do, in order.

    Raises:
        AssertionError: It has a block that nobody knows what to do with.
    """
    found: list[Action] = []
    for language, text in FENCE.findall(page.read_text()):
        named = FILE.match(text)
        if language in ("python", "yaml") and named:
            found.append(Action(named[1], text))
        elif language == "python":
            found.append(Action("python", text))
        elif language == "text":
            found[-1] = found[-1]._replace(printed=text)
        elif language == "console":
            for command in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                line, _, printed = command.partition("\n")
                found.append(Action("console", line, printed))
        else:
            assert language == "sh", f"{page.name} has a block of {language!r}, which nobody runs"
            found += [Action("sh", line) for line in text.splitlines()]
    return found


def pattern(expected: str) -> str:
    """Give a regular expression for what is printed."""
    lines = ["(?:.*\n)*?" if line == "..." else ".*".join(map(re.escape, line.split("..."))) + "\n"
             for line in expected.rstrip("\n").split("\n")]
    return "".join(lines)


def check(action: Action, printed: str) -> None:
    """See that something printed what the page says.

    Raises:
        AssertionError: It did not.
    """
    if action.printed is not None:
        assert re.fullmatch(pattern(action.printed), printed.rstrip("\n") + "\n"), (
            f"{action.kind}: {action.text}\nprints\n{printed}\nnot\n{action.printed}")

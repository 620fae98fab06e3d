"""A document as plain values that remember where they stand, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from mpiflow.errors import Problem

Path = tuple[str | int, ...]


@dataclass(slots=True)
class Located:
    """A document as plain values, and where each of them stands.

    Attributes:
        file: Name of the document, for messages.
        value: The document, parameters put in.
        marks: Line and column, counted from 1, of each value by its path.
        keys: The same of each key.
        texts: Texts that are as in the file, so that an offset into one has a place there.
        exactly: Gives ``texts`` again, as nodes that know the text around them; the quick ones do not.
        problems: What is wrong, so far.
        broken: Paths at which something is wrong: what follows from it need not be said as well.
    """

    file: str
    value: Any = None
    marks: dict[Path, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Path, tuple[int, int]] = field(default_factory=dict)
    texts: dict[Path, yaml.ScalarNode] = field(default_factory=dict)
    exactly: Callable[[], dict[Path, yaml.ScalarNode]] | None = None
    problems: list[Problem] = field(default_factory=list)
    broken: set[Path] = field(default_factory=set)

    def report(self, path: Path, message: str, key: bool = False, offset: int | None = None) -> None:
        """Add a problem at the value at ``path``, at its key, or at the character ``offset`` of its text."""
        self.broken.add(path)
        marks = self.keys if key and path in self.keys else self.marks
        place = path
        while place not in marks and place:
            place = place[:-1]
        line, column = marks.get(place, (1, 1))
        if offset is not None and marks is self.marks and path in self.texts:
            line, column = _place_inside(self._text(path), offset)
        self.problems.append(Problem(self.file, line, column, message))

    def broken_inside(self, *paths: Path) -> bool:
        """Whether something is wrong at or inside one of ``paths``."""
        return bool(self.broken) and any(place[:len(path)] == path for place in self.broken for path in paths)

    def _text(self, path: Path) -> yaml.ScalarNode:
        """The node of a text, with the text around it; asked for only when there is something to report."""
        if self.exactly is not None:
            exact = self.exactly()
            self.texts = {place: exact.get(place, node) for place, node in self.texts.items()}
            self.exactly = None
        return self.texts[path]

    def heard(self, line: int, column: int) -> None:
        """Note that something is wrong at a place, which is reported by somebody else."""
        self.broken.update(path for marks in (self.marks, self.keys) for path, mark in marks.items() if mark == (line, column))

    def followed_by(self, path: Path) -> str:
        """The character behind a text, if it is as in the file."""
        mark = self._text(path).end_mark if path in self.texts else None
        return mark.buffer[mark.pointer:].lstrip()[:1] if mark and mark.buffer else ""


def _place_inside(node: yaml.ScalarNode, offset: int) -> tuple[int, int]:
    """Line and column of character ``offset`` of a text, which YAML may have folded; escaped texts give their start."""
    start, end = node.start_mark, node.end_mark
    if start.buffer is None:
        return start.line + 1, start.column + 1
    raw = start.buffer[start.pointer:end.pointer]
    first, last = 0, len(raw)
    if node.style in ("'", '"'):
        first, last = 1, last - 1
    elif node.style in ("|", ">"):
        first = raw.find("\n") + 1
    visible = [index for index in range(first, last) if not raw[index].isspace()]
    if [raw[index] for index in visible] != [letter for letter in node.value if not letter.isspace()]:
        return start.line + 1, start.column + 1
    num = sum(not letter.isspace() for letter in node.value[:offset])
    index = visible[num] if num < len(visible) else visible[-1] + 1 if visible else first
    newline = raw.rfind("\n", 0, index)
    return start.line + 1 + raw.count("\n", 0, index), index - newline if newline >= 0 else start.column + 1 + index

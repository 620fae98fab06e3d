"""The loop of a step, ``for: {i: range(4)}``: its items, and plain values with an item put in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PARAMETER = re.compile(r"\$(?:\$|([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})")
MAX_ITEMS = 1_000_000
_WHOLE = r"\s*([-+]?\d(?:_?\d)*)\s*"
_RANGE = re.compile(rf"\s*range\s*\({_WHOLE}(?:,{_WHOLE})?(?:,{_WHOLE})?,?\s*\)\s*")
_FORMS = "range(stop), range(start, stop) or range(start, stop, step) with whole numbers"


@dataclass(frozen=True, slots=True)
class Loop:
    """The variable of a loop and the plain values that it takes, in order."""

    variable: str
    items: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Joined:
    """A text with the item between its pieces."""

    pieces: tuple[str, ...]


ITEM = Joined(())       # the item itself, not a text made of it


def template(value: Any, variable: str) -> tuple[Any, bool]:
    """Give a plain value in which ``ITEM`` and ``Joined`` stand where texts have ``$variable``; and whether there are any.

    ``$$`` in a text becomes a dollar sign.
    """
    if isinstance(value, str) and "$" in value:
        return _text_template(value, variable)
    if isinstance(value, list):
        parts = [template(item, variable) for item in value]
        return [part for part, _ in parts], any(varies for _, varies in parts)
    if isinstance(value, dict):
        named = {key: template(item, variable) for key, item in value.items()}
        return {key: part for key, (part, _) in named.items()}, any(varies for _, varies in named.values())
    return value, False


def _text_template(text: str, variable: str) -> tuple[Any, bool]:
    if text in (f"${variable}", f"${{{variable}}}"):
        return ITEM, True
    pieces, start, piece = [], 0, ""
    for match in PARAMETER.finditer(text):
        piece += text[start:match.start()]
        start = match.end()
        if (match[1] or match[2]) == variable:
            pieces.append(piece)
            piece = ""
        else:
            piece += "$" if match[0] == "$$" else match[0]
    piece += text[start:]
    return (Joined((*pieces, piece)), True) if pieces else (piece, False)


def bound(template: Any, item: Any) -> Any:
    """Give the plain value that a template stands for when the loop is at ``item``."""
    if template is ITEM:
        return item
    if isinstance(template, Joined):
        return str(item).join(template.pieces)
    if isinstance(template, list):
        return [bound(part, item) for part in template]
    if isinstance(template, dict):
        return {key: bound(part, item) for key, part in template.items()}
    return template


def escaped(value: Any) -> Any:
    """Give a plain value whose texts ``template`` leaves as they are."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, list):
        return [escaped(item) for item in value]
    if isinstance(value, dict):
        return {key: escaped(item) for key, item in value.items()}
    return value


def parse_items(written: Sequence[Any] | str) -> Sequence[Any]:
    """Give the items of a loop: a list as it is, or what a text like ``range(10)`` stands for.

    Raises:
        ValueError: There are no items, or too many, or the text is something else; the message says what.
    """
    items = _parse_range(written) if isinstance(written, str) else written
    if not items:
        raise ValueError(f"{written.strip()} has no items" if isinstance(written, str) else "the list has no items")
    if len(items) > MAX_ITEMS:
        raise ValueError(f"{len(items):,} items are too many; {MAX_ITEMS:,} are possible")
    return items


def _parse_range(text: str) -> range:
    match = _RANGE.fullmatch(text)
    if match is None or any(number and len(number) > 19 for number in match.groups()):
        raise ValueError(f"{text!r} is no list and no range; write [a, b, ...], {_FORMS}")
    numbers = [int(number) for number in match.groups() if number]
    if len(numbers) == 3 and numbers[2] == 0:
        raise ValueError(f"{text.strip()} never ends: its step is 0")
    return range(*numbers)

"""Queries for datasets and operations: ``tag:md and size>1GiB``. Pure.

    query  = both {"or" both}           both = one {["and"] one}
    one    = "not" one | "(" query ")" | word | key ":" pattern | key relation number

A word by itself is a name. Patterns know ``*``, ``?`` and ``[...]``; what has blanks stands in quotes.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

from mpiflow.errors import LaunchError, did_you_mean
from mpiflow.workflow.policies import parse_nbytes, parse_seconds

TEXTS = ("name", "step", "tag", "unit", "workflow", "operation", "dtype", "host", "id", "file")
NUMBERS = ("size", "age", "seconds", "rank", "blocks", "ndim", "rows")
_READ: dict[str, Callable[[str], float]] = {"size": parse_nbytes, "age": parse_seconds, "seconds": parse_seconds}
_EXAMPLES = {"size": "1GiB", "age": "2d", "seconds": "10m"}
_RELATIONS = {"<=": operator.le, ">=": operator.ge, "!=": operator.ne, "<": operator.lt, ">": operator.gt, "=": operator.eq}
_TOKEN = re.compile(r"""\s*(?:(?P<sign>[()]) | (?P<relation><=|>=|!=|[<>=:]) | (?P<quoted>"[^"]*"|'[^']*')
                             | (?P<word>[^\s()<>=!:"']+))""", re.VERBOSE)
_END = "end"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a query can ask of one thing: for each key its texts or numbers, of which any may fit."""

    texts: Mapping[str, Sequence[str]]
    numbers: Mapping[str, Sequence[float]]


Query = Callable[[Facts], bool]


class _Token(NamedTuple):
    kind: str
    text: str
    place: int


def parse_query(text: str) -> Query:
    """Read a query; an empty one fits everything.

    Raises:
        LaunchError: It is none; the message points at the place.
    """
    parser = _Parser(text)
    return parser.whole() if text.strip() else lambda facts: True


class _Parser:
    def __init__(self, text: str) -> None:
        self._text, self._next = text, 0
        self._tokens: list[_Token] = []
        start, end = 0, len(text.rstrip())
        while start < end:
            match = _TOKEN.match(text, start)
            if not match:
                place = end - len(text[start:end].lstrip())
                quote = text[place] in "\"'"
                raise self._error(place, "this quote has no end" if quote else f"{text[place]!r} means nothing here")
            kind = match.lastgroup
            word = match[kind][1:-1] if kind == "quoted" else match[kind]
            self._tokens.append(_Token(kind, word, match.start(kind)))
            start = match.end()
        self._tokens.append(_Token(_END, "", end))

    def whole(self) -> Query:
        """A query up to its end."""
        query = self._either()
        token = self._tokens[self._next]
        if token.kind != _END:
            raise self._error(token.place, f"{token.text!r} is not expected here")
        return query

    def _either(self) -> Query:
        parts = [self._both()]
        while self._took("or"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else lambda facts: any(part(facts) for part in parts)

    def _both(self) -> Query:
        parts = [self._one()]
        while self._took("and") or not self._at_end():
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else lambda facts: all(part(facts) for part in parts)

    def _at_end(self) -> bool:
        token = self._tokens[self._next]
        return token.kind == _END or (token.kind == "sign" and token.text == ")") or (token.kind == "word" and token.text == "or")

    def _took(self, *words: str) -> _Token | None:
        """Take the next token if it is one of ``words``, which are signs, relations or keywords."""
        token = self._tokens[self._next]
        if token.kind == "quoted" or token.text not in words or token.kind == _END:
            return None
        self._next += 1
        return token

    def _one(self) -> Query:
        if self._took("not"):
            inner = self._one()
            return lambda facts: not inner(facts)
        opened = self._took("(")
        if opened:
            inner = self._either()
            if not self._took(")"):
                raise self._error(opened.place, "this bracket is never closed")
            return inner
        token = self._tokens[self._next]
        if token.kind not in ("word", "quoted") or token.text in ("and", "or"):
            raise self._error(token.place, "something to look for is missing here")
        self._next += 1
        relation = self._took(":", *_RELATIONS)
        return self._key(token, relation) if relation and token.kind == "word" else _texts("name", token.text)

    def _key(self, key: _Token, relation: _Token) -> Query:
        if key.text not in (*TEXTS, *NUMBERS):
            raise self._error(key.place, f"no key {key.text!r}" + (
                did_you_mean(key.text, (*TEXTS, *NUMBERS)) or f" (keys: {', '.join((*TEXTS, *NUMBERS))})"))
        value = self._tokens[self._next]
        if value.kind not in ("word", "quoted"):
            raise self._error(value.place, f"{key.text}{relation.text} of what? A value is missing here")
        self._next += 1
        if key.text in TEXTS:
            if relation.text not in (":", "=", "!="):
                raise self._error(relation.place, f"{key.text!r} is a text: write {key.text}:{value.text}")
            fits = _texts(key.text, value.text)
            return (lambda facts: not fits(facts)) if relation.text == "!=" else fits
        try:
            number = 0.0 if value.text == "0" else _READ.get(key.text, float)(value.text)
        except ValueError:
            raise self._error(value.place, f"{value.text!r} is no value for {key.text!r}; write for example "
                                           f"{key.text}>{_EXAMPLES.get(key.text, '8')}") from None
        compare = _RELATIONS["=" if relation.text == ":" else relation.text]
        return lambda facts: any(compare(found, number) for found in facts.numbers.get(key.text, ()))

    def _error(self, place: int, message: str) -> LaunchError:
        return LaunchError(f"{message}\n  {self._text}\n  {' ' * place}^")


def _texts(key: str, pattern: str) -> Query:
    if key == "id":
        return lambda facts: any(found.startswith(pattern) for found in facts.texts.get("id", ()))
    return lambda facts: any(found == pattern or fnmatchcase(found, pattern) for found in facts.texts.get(key, ()))

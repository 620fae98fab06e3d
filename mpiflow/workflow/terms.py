"""Expressions of documents, written in Python: ``real2bin(a + c)`` on handles is the text ``real2bin(a + c)``.

Nothing is computed, and there is no second language: a term is text that ``parsing`` reads like any other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

_COMPARISON, _SUM, _PRODUCT, _SIGN, _POWER, _ATOM = range(1, 7)      # how firmly signs bind, as in Python
_NUMBERS = (int, float)
_UFUNCS = {
    "add": ("+", _SUM), "subtract": ("-", _SUM), "multiply": ("*", _PRODUCT), "divide": ("/", _PRODUCT),
    "true_divide": ("/", _PRODUCT), "floor_divide": ("//", _PRODUCT), "remainder": ("%", _PRODUCT), "power": ("**", _POWER),
    "less": ("<", _COMPARISON), "less_equal": ("<=", _COMPARISON), "greater": (">", _COMPARISON),
    "greater_equal": (">=", _COMPARISON), "equal": ("==", _COMPARISON), "not_equal": ("!=", _COMPARISON),
}


class Term:
    """An expression; operators and operations make further ones of it.

    ``+ - * / // % **`` and comparisons are those of documents. ``term["mean"]`` is a column of a table, ``term["*"]`` all
    instances of a step with a loop, ``term["T >= 300, seed == 0"]`` some of them. numpy's functions of single elements
    (``np.sqrt(term)``) become the operations of that name.

    Attributes:
        text: The expression, as a document has it.
        uses: The operations in it that have come as Python objects, by name.
    """

    __slots__ = ("_level", "text", "uses")
    __hash__ = object.__hash__

    def __init__(self, text: str, uses: Mapping[str, Any] | None = None, level: int = _ATOM) -> None:
        self.text, self.uses, self._level = text, dict(uses or {}), level

    def __repr__(self) -> str:
        return f"<expression {self.text}>"

    def __str__(self) -> str:
        return self.text

    def __bool__(self) -> NoReturn:
        raise TypeError(f"{self.text!r} is an expression, whose value is not known yet: it cannot be true or false")

    def __iter__(self) -> NoReturn:
        raise TypeError(f"{self.text!r} is an expression, whose value is not known yet: it cannot be gone through; "
                        "for_={'row': {'rows': ...}} does a step for each row")

    def __getitem__(self, key: str) -> Term:
        """Give a column (``"mean"``), all instances (``"*"``) or some (``"T >= 300"``)."""
        if not isinstance(key, str):
            raise TypeError(f"{self.text}[...]: the name of a column, '*' or a condition like 'T >= 300' is text, not {key!r}")
        if key.isidentifier() or key == "*":
            return Term(f"{self._within(_ATOM)}.{key}", self.uses)
        return Term(f"{self._within(_ATOM)}[{key}]", self.uses)

    def _within(self, level: int) -> str:
        """The text, in brackets where signs around it bind more firmly than those in it."""
        return self.text if self._level >= level else f"({self.text})"

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **keywords: Any) -> Term:
        if method != "__call__" or keywords:
            return NotImplemented
        if ufunc.__name__ in _UFUNCS:
            return _binary(*_UFUNCS[ufunc.__name__], *inputs)
        return call(ufunc.__name__, inputs, {})

    def __neg__(self) -> Term:
        return Term(f"-{self._within(_SIGN)}", self.uses, _SIGN)

    def __pos__(self) -> Term:
        return Term(f"+{self._within(_SIGN)}", self.uses, _SIGN)

    def __radd__(self, other: Any) -> Term:
        # Python's sum() begins with 0, which is no summand of a linear operation.
        return self if type(other) is int and other == 0 else _binary("+", _SUM, other, self)


def _sign(sign: str, level: int) -> tuple[Callable[[Any, Any], Term], Callable[[Any, Any], Term]]:
    return lambda self, other: _binary(sign, level, self, other), lambda self, other: _binary(sign, level, other, self)


for _name, _text, _level in (("add", "+", _SUM), ("sub", "-", _SUM), ("mul", "*", _PRODUCT), ("truediv", "/", _PRODUCT),
                             ("floordiv", "//", _PRODUCT), ("mod", "%", _PRODUCT), ("pow", "**", _POWER)):
    _forward, _backward = _sign(_text, _level)
    setattr(Term, f"__{_name}__", _forward)
    if _name != "add":
        setattr(Term, f"__r{_name}__", _backward)
for _name, _text in (("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">="), ("eq", "=="), ("ne", "!=")):
    setattr(Term, f"__{_name}__", _sign(_text, _COMPARISON)[0])


def _binary(sign: str, level: int, left: Any, right: Any) -> Term:
    """Write ``left sign right`` with the brackets that it needs."""
    left, right = term(left), term(right)
    lowest, highest = {_COMPARISON: (level + 1, level + 1), _POWER: (_ATOM, _SIGN)}.get(level, (level, level + 1))
    return Term(f"{left._within(lowest)} {sign} {right._within(highest)}", {**left.uses, **right.uses}, level)


def term(value: Any) -> Term:
    """Give an expression or a plain value as a term.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(value, Term):
        return value
    text = written(value)
    return Term(text, level=_SIGN if text.startswith("-") else _ATOM)


def call(name: str, arguments: Sequence[Any], keywords: Mapping[str, Any], operation: Any = None) -> Term:
    """Give the call of an operation as a term; ``operation`` is the object, if the program has it."""
    parts = [term(item) for item in arguments]
    named = {key: term(item) for key, item in keywords.items()}
    uses = {key: item for part in (*parts, *named.values()) for key, item in part.uses.items()}
    if operation is not None and uses.setdefault(name, operation) is not operation:
        raise ValueError(f"two operations are called {name!r} in one expression; give one another name")
    return Term(f"{name}({', '.join([*(part.text for part in parts), *(f'{key}={part.text}' for key, part in named.items())])})",
                uses)


def written(value: Any) -> str:
    """Write a plain value as expressions have it; numpy's numbers and arrays become numbers and lists.

    Raises:
        TypeError: It is no plain value.
    """
    value = value.tolist() if hasattr(value, "tolist") else value
    if value is None or isinstance(value, (bool, *_NUMBERS)):
        return repr(value)
    if isinstance(value, str):
        return repr(value).replace("$", "$$")
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(item.text if isinstance(item, Term) else written(item) for item in value)}]"
    raise TypeError(f"an expression may hold handles, numbers, text, lists, true, false and none, not {type(value).__name__}")


def variable(name: str) -> Term:
    """Give a parameter of the document, or a variable of a step's loop: ``$name``.

    Raises:
        ValueError: That is no name.
    """
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(f"{name!r} is no name of a parameter or a variable: letters, digits and _, no digit first")
    return Term(f"${name}")

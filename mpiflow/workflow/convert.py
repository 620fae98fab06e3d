"""From plain values to the types of ``model``, field by field, so that one mistake does not hide the next."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Sequence
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from mpiflow.errors import did_you_mean
from mpiflow.workflow.located import Located, Path
from mpiflow.workflow.loops import LOOPS
from mpiflow.workflow.model import LARGEST, Document, Name
from mpiflow.workflow.parsing import ExpressionError, parse_expression

_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_WORDS = {
    str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list", dict: "a mapping",
    type(None): "nothing",
}


def convert_document(located: Located) -> Document | None:
    """Give the document as far as it is right; what is wrong is reported in ``located``, each mistake once."""
    if not isinstance(located.value, dict):
        if () not in located.broken:
            located.report((), "the document must be a mapping that starts with 'mpiflow: 1'")
        return None
    fields = _fields(located, Document, located.value, ())
    return Document(**{"mpiflow": 1, "name": "", "steps": {}, **fields})


def _fields(located: Located, kind: type, value: dict[str, Any], path: Path, outer: Sequence[str] = ()) -> dict[str, Any]:
    """Convert the fields of ``kind`` that ``value`` has; report unknown, missing and wrong ones.

    Args:
        located: Takes what is wrong.
        kind: A Struct.
        value: A mapping.
        path: Where it stands.
        outer: Keys of the mapping around it.
    """
    known = _known(kind)
    for key in (key for key in value if key not in known and not _cut_off(key, value, [value.get("run")])):
        hint = f"; it belongs beside {path[-1]!r}, not into it" if key in outer else did_you_mean(key, known)
        if key in LOOPS and not hint:
            hint = f"; it belongs into a step: name: {{{key}: {{i: [1, 2]}}, run: ...}}"
        located.report((*path, key), f"unknown key {key!r}" + hint, key=True)
        located.broken.update((*path, other) for other in known if other not in value and did_you_mean(key, [other]))
    found = {}
    for key, item in known.items():
        here = (*path, key)
        if key in value and value[key] is not None:
            done = _convert(located, item.type, value[key], here, tuple(known))
            if done is not None:
                found[item.name] = done
        elif key in value:
            _report_nothing(located, here)
        elif item.required and here not in located.broken:
            located.report(path, f"key {key!r} is missing" + (f" in {path[-1]!r}" if path else ""), key=True)
    return found


@cache
def _known(kind: type) -> dict[str, msgspec.structs.FieldInfo]:
    """The fields of a Struct by their keys."""
    return {item.encode_name: item for item in msgspec.structs.fields(kind)}


def _cut_off(key: str, value: dict[str, Any], expressions: Iterable[Any]) -> bool:
    """Whether ``key`` is the end of an expression that YAML cut at a comma; the expression is reported itself."""
    return value[key] is None and ")" in key and any(isinstance(text, str) and _unclosed(text) for text in expressions)


def _unclosed(text: str) -> bool:
    try:
        parse_expression(text)
    except ExpressionError as error:
        return error.unclosed
    return False


def _report_nothing(located: Located, path: Path) -> None:
    if path not in located.broken:
        located.report(path, f"{_title(path)} has no value", key=True)


def _convert(located: Located, kind: Any, value: Any, path: Path, outer: Sequence[str] = ()) -> Any:
    """Give ``value``, which is not None, as ``kind``, or report why not and give None."""
    options = _options(kind)
    structs = [option for option in options if isinstance(option, type) and issubclass(option, msgspec.Struct)]
    if structs and isinstance(value, dict):
        return _struct(located, structs[0], value, path, outer)
    if get_origin(_plain_kind(kind)) is dict and isinstance(value, dict):
        return _named(located, kind, value, path)
    elements = next((option for option in options if get_origin(_plain_kind(option)) is list), None)
    if elements and isinstance(value, list) and not _convert_elements(located, elements, value, path):
        return None
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError:
        pass
    located.report(path, f"{_title(path)} must be {_wanted(kind)}, not {shown(value)}" + _hint(options, value))
    return None


def _convert_elements(located: Located, kind: Any, value: list[Any], path: Path) -> bool:
    """Convert each element by itself; tell whether all are right."""
    (element,) = get_args(_plain_kind(kind))
    right = True
    for index, item in enumerate(value):
        here = (*path, index)
        if item is None:
            _report_nothing(located, here)
        right &= item is not None and _convert(located, element, item, here) is not None
    return right


def _struct(located: Located, kind: type, value: dict[str, Any], path: Path, outer: Sequence[str]) -> Any:
    fields = _fields(located, kind, value, path, outer)
    try:
        return kind(**fields)                           # what is wrong in it was reported; go on with the rest
    except TypeError:                                   # a required field is missing or wrong
        return None


def _named(located: Located, kind: Any, value: dict[str, Any], path: Path) -> dict[str, Any] | None:
    """Convert a mapping from names chosen by the user."""
    chosen, element = get_args(_plain_kind(kind))
    done = {}
    for name, item in value.items():
        here = (*path, name)
        if path[-1:] in (("for",), ("zip",)) and ")" in name:           # a range that YAML cut at a comma; it is reported itself
            continue
        right = chosen is not Name or (_NAME.fullmatch(name) and not keyword.iskeyword(name))
        if not right and _cut_off(name, value, value.values()) and element is not Any:
            continue
        if not right:
            located.report(here, f"{name!r} cannot be a name: only a-z, A-Z, 0-9 and _, no digit first, no Python keyword", True)
        if item is None and element is not Any:
            _report_nothing(located, here)
            continue
        converted = _convert(located, element, item, here) if item is not None else None
        if right and (converted is not None or element is Any):
            done[name] = converted
    if not value and _least(kind):
        located.report(path, f"{path[-1]!r} is empty")
        return None
    return done


# What messages say

def _options(kind: Any) -> tuple[Any, ...]:
    """The alternatives of a union, without None: no value is reported as such."""
    if get_origin(kind) in (Union, UnionType):
        return tuple(option for option in get_args(kind) if option is not type(None))
    return (kind,)


def _plain_kind(kind: Any) -> Any:
    return kind.__origin__ if get_origin(kind) is Annotated else kind


def _least(kind: Any) -> int:
    """The length that a value of ``kind`` must have at least."""
    return next((meta.min_length for meta in getattr(kind, "__metadata__", ()) if meta.min_length), 0)


def _wanted(kind: Any) -> str:
    """Say in words what a value of ``kind`` is."""
    options = _options(kind)
    if len(options) > 1:
        words = [_wanted(option) for option in options if not (option is int and float in options)]
        return " or ".join(words)
    kind = options[0]
    plain = _plain_kind(kind)
    if get_origin(plain) is Literal:
        literals = ", ".join(str(value) for value in get_args(plain))
        return f"one of {literals}" if len(get_args(plain)) > 1 else literals
    if isinstance(plain, type) and issubclass(plain, msgspec.Struct):
        return "a mapping"
    plain = get_origin(plain) or plain
    return _WORDS[plain] + "".join(_limits(meta, plain) for meta in getattr(kind, "__metadata__", ()))


def _limits(meta: msgspec.Meta, plain: type) -> str:
    if meta.ge is not None and meta.ge > -LARGEST:
        return f" from {meta.ge} to {meta.le}" if meta.le is not None and meta.le < LARGEST else f" of at least {meta.ge}"
    if meta.min_length is not None and plain is not dict:
        return f" of length {meta.min_length}" + ("" if meta.max_length == meta.min_length else " or more")
    return ""


def _hint(options: Sequence[Any], value: Any) -> str:
    """Help with what is written wrong most often."""
    plain = [_plain_kind(option) for option in options]
    literals = [item for option in plain if get_origin(option) is Literal for item in get_args(option) if isinstance(item, str)]
    if isinstance(value, str) and literals:
        return did_you_mean(value, literals)
    if any(get_origin(option) is list for option in plain) and not isinstance(value, (list, dict)):
        return f"; write [{_written(value)}]"
    if isinstance(value, dict) and len(value) == 1 and "." in (key := next(iter(value))):       # [prog, {in.x}]
        return f"; quote it: \"{{{key}}}\""
    if isinstance(value, float) and value.is_integer() and float not in options:
        return f"; write {_written(value)}"
    if isinstance(value, int) and value > LARGEST:
        return "; it is too large"
    return ""


def _title(path: Path) -> str:
    """Name a value: the key and, in a list, the place."""
    name = path[-1]
    return f"element {name + 1} of {_title(path[:-1])}" if isinstance(name, int) else repr(name)


def _written(value: Any) -> str:
    whole = isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST
    return f"{int(value):_}" if whole else shown(value)


def shown(value: Any) -> str:
    """Give ``value`` as the user would write it, shortened."""
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."

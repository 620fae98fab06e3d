"""Arguments of Python calls as documents have them, and the lines of the program that they stand in."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from mpiflow.workflow.writing import flow

_OWN = os.path.dirname(os.path.dirname(__file__))


class Place(NamedTuple):
    """Where the user wrote something."""

    file: str
    line: int
    column: int = 1


def overrides_of(params: Mapping[str, Any] | None) -> dict[str, str]:
    """Give values of parameters as YAML text."""
    return {name: flow(plain(value)) for name, value in (params or {}).items()}


def key_of(word: str) -> str:
    """The key of documents that a Python keyword argument stands for."""
    return word.rstrip("_").replace("_", "-") if word == "on_error" else word.removesuffix("_")


def plain(value: Any) -> Any:
    """Give a value as YAML has it."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, range):
        return f"range({value.start}, {value.stop}, {value.step})"
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def caller() -> Place:
    """The line of the program that called us."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OWN):
        frame = frame.f_back
    return Place(frame.f_code.co_filename, frame.f_lineno)

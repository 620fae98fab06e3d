"""YAML text to plain values that remember their line and column, with parameters put in."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from mpiflow.errors import DocumentError, Problem, did_you_mean

Path = tuple[str | int, ...]
_PARAMETER = re.compile(r"\$(?:\$|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})")
MAX_NODES = 2_000_000


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads 1e-5 as a number, as YAML 1.2 does."""


_Loader.yaml_implicit_resolvers = {key: list(value) for key, value in yaml.SafeLoader.yaml_implicit_resolvers.items()}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789"))


@dataclass(slots=True)
class Located:
    """A document as plain values, and where each of them stands.

    ``marks`` gives (line, column), counted from 1, of each value by its path; ``keys`` the same of each key.
    """

    file: str
    value: Any = None
    marks: dict[Path, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Path, tuple[int, int]] = field(default_factory=dict)
    plain: set[Path] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)

    def report(self, path: Path, message: str, key: bool = False, offset: int = 0) -> None:
        """Add a problem at ``path``; ``offset`` counts characters into a scalar that stands on one line."""
        marks = self.keys if key and path in self.keys else self.marks
        while path not in marks and path:
            path = path[:-1]
        line, column = marks.get(path, (1, 1))
        shift = offset if path in self.plain else 0
        self.problems.append(Problem(self.file, line, column + shift, message))


def parse(text: str, file: str) -> yaml.Node:
    """Compose the one YAML document in ``text``.

    Raises:
        DocumentError: The text is not YAML, is empty, or holds several documents.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ": ".join(part for part in (error.context, error.problem) if part)
        raise DocumentError([Problem(file, mark.line + 1, mark.column + 1, f"not YAML: {what}")]) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise DocumentError([Problem(file, 1, 1, f"not YAML: {' '.join(str(error).split())}")]) from None
    if node is None:
        raise DocumentError([Problem(file, 1, 1, "the document is empty; it must start with 'mpiflow: 1'")])
    return node


def locate(text: str, file: str, overrides: Mapping[str, str]) -> Located:
    """Read ``text`` into plain values, every ``$name`` replaced by its parameter.

    Args:
        text: YAML.
        file: Its name, for messages.
        overrides: Parameters given on the command line, as YAML text.

    Raises:
        DocumentError: The text is not YAML, or an override names no parameter.
    """
    root = parse(text, file)
    document = Located(file)
    reader = _Reader(document)
    try:
        plain = reader.read(root, ())
        params = plain.get("params") if isinstance(plain, dict) else None
        params = dict(params) if isinstance(params, dict) else {}
        for name, value in overrides.items():
            params[name] = _override(name, value, params, file)
        if isinstance(plain, dict):
            plain = {key: value if key in ("params", "name") else reader.substitute(value, (key,), params)
                     for key, value in plain.items()}
            plain.update({"params": params} if params else {})
    except RecursionError:
        raise DocumentError([Problem(file, 1, 1, "the document is nested too deeply")]) from None
    document.value = plain
    return document


def _override(name: str, text: str, params: Mapping[str, Any], file: str) -> Any:
    if name not in params:
        message = f"--set {name}: the document has no parameter {name!r}" + did_you_mean(name, map(str, params))
        raise DocumentError([Problem(file, 0, 0, message)])
    try:
        reader = _Reader(Located(f"--set {name}"))
        value = reader.read(parse(text, f"--set {name}"), ())
    except DocumentError as error:
        raise DocumentError([Problem(f"--set {name}", 0, 0, p.message) for p in error.problems]) from None
    if reader.document.problems:
        raise DocumentError(reader.document.problems)
    return value


class _Reader:
    """Turns nodes into values and notes where they stood; anchors may be used, within MAX_NODES values."""

    def __init__(self, document: Located) -> None:
        self.document = document
        self.constructor = yaml.constructor.SafeConstructor()
        self.num_nodes = 0

    def read(self, node: yaml.Node, path: Path) -> Any:
        self.num_nodes += 1
        if self.num_nodes > MAX_NODES:
            raise DocumentError([Problem(self.document.file, 1, 1, f"the document has more than {MAX_NODES:,} values")])
        mark = node.start_mark
        self.document.marks[path] = (mark.line + 1, mark.column + 1 + (getattr(node, "style", None) in ("'", '"')))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        if node.start_mark.line == node.end_mark.line:
            self.document.plain.add(path)
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        self._check_keys(node, path)
        try:
            self.constructor.flatten_mapping(node)          # <<: *anchor, placed before the mapping's own keys
        except yaml.MarkedYAMLError as error:
            self.document.report(path, str(error.problem))
        values: dict[str, Any] = {}
        for key, item in node.value:
            if isinstance(key, yaml.ScalarNode):
                here = (*path, key.value)
                self.document.keys[here] = (key.start_mark.line + 1, key.start_mark.column + 1)
                values[key.value] = self.read(item, here)
        return values

    def _check_keys(self, node: yaml.MappingNode, path: Path) -> None:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            mark, message = key.start_mark, None
            if not isinstance(key, yaml.ScalarNode):
                message = "a key must be plain text"
            elif key.value in seen:
                message = f"key {key.value!r} stands twice (first on line {seen[key.value]})"
            else:
                seen[key.value] = mark.line + 1
            if message:
                self.document.problems.append(Problem(self.document.file, mark.line + 1, mark.column + 1, message))

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        try:
            value = self.constructor.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            problem = getattr(error, "problem", None) or error
            self.document.report(path, f"cannot read {node.value!r}: {problem}")
            return None
        if isinstance(value, (bool, int, str)) or value is None:
            return value
        if isinstance(value, float) and math.isfinite(value):
            return value
        if isinstance(value, float):
            self.document.report(path, f"{node.value!r} is not a finite number")
            return None
        return node.value                                   # dates and the like are text here

    def substitute(self, value: Any, path: Path, params: Mapping[str, Any]) -> Any:
        """Replace $name in every text of ``value``; $$ stands for a dollar sign."""
        if isinstance(value, dict):
            return {key: self.substitute(item, (*path, key), params) for key, item in value.items()}
        if isinstance(value, list):
            return [self.substitute(item, (*path, index), params) for index, item in enumerate(value)]
        if not isinstance(value, str) or "$" not in value:
            return value
        whole = _PARAMETER.fullmatch(value)
        if whole and (whole[1] or whole[2]):
            return self._parameter(whole, path, params)
        self.document.plain.discard(path)                   # offsets no longer fit the text in the file
        return _PARAMETER.sub(lambda match: str(self._parameter(match, path, params)), value)

    def _parameter(self, match: re.Match[str], path: Path, params: Mapping[str, Any]) -> Any:
        name = match[1] or match[2]
        if name is None:
            return "$"
        if name not in params:
            self.document.report(path, f"no parameter {name!r} under params" + did_you_mean(name, map(str, params)))
            return None
        return params[name]

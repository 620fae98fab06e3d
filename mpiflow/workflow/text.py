"""YAML text to plain values that remember their line and column."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable
from typing import Any

import yaml

from mpiflow.errors import DocumentError, Problem
from mpiflow.workflow.located import Located, Path

MAX_NODES = 1_000_000
_NO_TEXT = re.compile("[\0\ud800-\udfff]")        # what can be escaped in YAML, but neither printed nor put in a file name
_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+")
_TAG = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """SafeLoader without YAML 1.1's traps: 1e-5 is a number; 12:30 and 2026-11-01 are text."""


_NUMBERS = {
    "float": r"[-+]?((\d[\d_]*\.[\d_]*|\.\d[\d_]*)([eE][-+]?\d+)?|\d[\d_]*[eE][-+]?\d+|\.(inf|Inf|INF))|\.(nan|NaN|NAN)",
    "int": r"[-+]?(0b[01_]+|0x[\da-fA-F_]+|\d[\d_]*)",
}
_REPLACED = {_TAG + kind for kind in (*_NUMBERS, "timestamp")}
_Loader.yaml_implicit_resolvers = {
    first: [item for item in resolvers if item[0] not in _REPLACED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()}
for _kind, _pattern in _NUMBERS.items():
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(f"^(?:{_pattern})$"), list("-+.0123456789"))
RESOLVERS = _Loader.yaml_implicit_resolvers       # what texts stand for when they have no quotes


def _quick_loader() -> type:
    """Give the same loader on libyaml, which is many times faster, but whose nodes do not know the text around them.

    Only its events are used: its own composer ends the process when the text is nested very deeply.
    """
    if not yaml.__with_libyaml__:
        return _Loader

    class Quick(yaml.composer.Composer, yaml.cyaml.CParser, yaml.resolver.Resolver):
        yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers

        def __init__(self, text: str) -> None:
            yaml.cyaml.CParser.__init__(self, text)
            yaml.composer.Composer.__init__(self)
            yaml.resolver.Resolver.__init__(self)

        def descend_resolver(self, current_node: yaml.Node, current_index: Any) -> None:
            """Nothing: there are no resolvers by path."""

        def ascend_resolver(self) -> None:
            """Nothing."""

    return Quick


_QuickLoader = _quick_loader()


def decode(data: bytes, file: str) -> str:
    """Give the text of a document.

    Raises:
        DocumentError: It is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[:error.start].decode("utf-8", "replace")
        message = f"not UTF-8 text: {error.reason} 0x{data[error.start]:02x}"
        raise DocumentError([Problem(file, *_line_and_column(before), message)]) from None


def _line_and_column(before: str) -> tuple[int, int]:
    """Where the character behind ``before`` stands."""
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def parse(text: str, file: str) -> yaml.Node:
    """Compose the one YAML document in ``text``, quickly; what libyaml refuses, or cannot nest, is left to ``parse_exactly``.

    So are tabs, in which libyaml sees more sense than PyYAML.

    Raises:
        DocumentError: The text is not YAML, is empty, or holds several documents.
    """
    try:
        node = None if "\t" in text else yaml.compose(text, Loader=_QuickLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        node = None
    return parse_exactly(text, file) if node is None else node


def parse_exactly(text: str, file: str) -> yaml.Node:
    """Compose the one YAML document in ``text`` into nodes that know the text around them.

    Raises:
        DocumentError: The text is not YAML, is empty, or holds several documents.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark, context = error.problem_mark or error.context_mark, error.context or ""
        if context and error.context_mark and error.context_mark.line != mark.line:
            context += f" from line {error.context_mark.line + 1} on"
        what = ": ".join(part for part in (context, error.problem) if part)
        raise DocumentError([Problem(file, mark.line + 1, mark.column + 1, f"not YAML: {what}")]) from None
    except yaml.reader.ReaderError as error:
        place = _line_and_column(text[:error.position])
        raise DocumentError([Problem(file, *place, f"not YAML: character U+{ord(text[error.position]):04X}")]) from None
    except RecursionError:
        raise DocumentError([Problem(file, 1, 1, "the document is nested too deeply")]) from None
    except (yaml.YAMLError, ValueError) as error:           # e.g. an escape of a character that does not exist
        raise DocumentError([Problem(file, 1, 1, f"not YAML: {' '.join(str(error).split())}")]) from None
    if node is None:
        raise DocumentError([Problem(file, 1, 1, "the document is empty; it must start with 'mpiflow: 1'")])
    return node


def read(text: str, document: Located) -> Any:
    """Read ``text`` into plain values; where they stood, and what is wrong with them, is noted in ``document``.

    Raises:
        DocumentError: The text is not YAML, or far too large.
    """
    return _Reader(document).read(parse(text, document.file), ())


def unfilled(text: str, file: str) -> Located:
    """Read ``text`` into plain values, parameters not put in; see ``parameters.filled``.

    Raises:
        DocumentError: The text is not YAML, or far too large.
    """
    document = Located(file, exactly=lambda: _texts(text, file))
    try:
        document.value = read(text, document)
    except RecursionError:
        raise DocumentError([Problem(file, 1, 1, "the document is nested too deeply")]) from None
    return document


def _texts(text: str, file: str) -> dict[Path, yaml.ScalarNode]:
    """The nodes of all texts, with the text around them."""
    exact = Located(file)
    with contextlib.suppress(DocumentError, RecursionError):        # libyaml takes a little more than PyYAML
        _Reader(exact).read(parse_exactly(text, file), ())
    return exact.texts


class _Reader:
    """Turns nodes into values and notes where they stood; anchors may be used, within MAX_NODES values."""

    def __init__(self, document: Located) -> None:
        self.document = document
        self.constructor = yaml.constructor.SafeConstructor()
        self.num_nodes = 0
        self.flat: set[int] = set()

    def read(self, node: yaml.Node, path: Path) -> Any:
        self.num_nodes += 1
        if self.num_nodes > MAX_NODES:
            raise DocumentError([Problem(self.document.file, 1, 1, f"the document has more than {MAX_NODES:,} values")])
        mark = node.start_mark
        self.document.marks[path] = (mark.line + 1, mark.column + 1)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        expected = "map" if isinstance(node, yaml.MappingNode) else "seq"
        if node.tag != _TAG + expected:
            self.document.report(path, f"tag {node.tag.replace(_TAG, '!!')!r} is not possible here")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        self._flatten(node, path)
        last = {key.value: (key, item) for key, item in node.value if isinstance(key, yaml.ScalarNode)}
        values: dict[str, Any] = {}
        for name, (key, item) in last.items():
            here = (*path, name)
            self.document.keys[here] = (key.start_mark.line + 1, key.start_mark.column + 1)
            values[name] = self.read(item, here)
        return values

    def _flatten(self, node: yaml.MappingNode, path: Path) -> None:
        """Put what ``<<: *anchor`` brings before the mapping's own keys, which win; of several mappings the first wins.

        PyYAML 6.0.4 has it wrong for keys of one character.
        """
        if id(node) in self.flat:                           # an alias leads to the same node again
            return
        self.flat.add(id(node))
        self._check_keys(node)
        merged: dict[Any, tuple[yaml.Node, yaml.Node]] = {}
        own = [pair for pair in node.value if pair[0].tag != _TAG + "merge"]
        for item in (item for key, item in node.value if key.tag == _TAG + "merge"):
            for source in item.value if isinstance(item, yaml.SequenceNode) else [item]:
                if not isinstance(source, yaml.MappingNode):
                    self.document.report(path, "'<<' needs a mapping, or a list of such")
                    continue
                self._flatten(source, path)
                for pair in source.value:
                    merged.setdefault(_name(pair[0]), pair)
        for key, _ in own:
            merged.pop(_name(key), None)
        node.value = [*merged.values(), *own]

    def _check_keys(self, node: yaml.MappingNode) -> None:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            mark, message = key.start_mark, None
            if not isinstance(key, yaml.ScalarNode):
                message = "a key must be plain text"
            elif _NO_TEXT.search(key.value):
                message = f"key {key.value!r} holds a character that is no text"
            elif key.value in seen:
                message = f"key {key.value!r} stands twice (first on line {seen[key.value]})"
            else:
                seen[key.value] = mark.line + 1
            if message:
                self.document.problems.append(Problem(self.document.file, mark.line + 1, mark.column + 1, message))

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        value, wrong = self._plain(node)
        if isinstance(value, float) and not math.isfinite(value):
            wrong = f"{node.value!r} is not a finite number"
        elif isinstance(value, str):
            self.document.texts[path] = node
            if _NO_TEXT.search(value):
                wrong = f"{value!r} holds a character that is no text"
        if wrong:
            self.document.report(path, wrong)
        return None if wrong else value

    def _plain(self, node: yaml.ScalarNode) -> tuple[Any, str]:
        """Give the value of a scalar, and what is wrong with it."""
        if node.tag == _TAG + "str":
            return node.value, ""
        if node.tag == _TAG + "int" and _LEADING_ZERO.fullmatch(node.value):
            return None, f"{node.value!r} starts with 0: write the number without it, or quote it if it is text"
        try:
            value = self.constructor.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            return None, f"cannot read {node.value!r}: {getattr(error, 'problem', None) or error}"
        known = isinstance(value, (bool, int, float, str)) or value is None
        return (value if known else node.value), ""         # what else a tag would make of it is not for us


def plain_values(texts: Iterable[str]) -> list[Any]:
    """Give the values of texts as YAML has them without quotes: 3, 1e-5, true, or text.

    Raises:
        ValueError: One of them has none.
    """
    reader, resolver, values = _Reader(Located("")), _Resolver(), []
    for text in texts:
        tag = resolver.resolve(yaml.ScalarNode, text, (True, False))
        value, wrong = reader._plain(yaml.ScalarNode(tag, text))
        unfit = value is None or (isinstance(value, float) and not math.isfinite(value)) or _NO_TEXT.search(text)
        if wrong or unfit:
            raise ValueError(wrong or f"{text!r} is no value")
        values.append(value)
    return values


class _Resolver(yaml.resolver.Resolver):
    """Tells numbers from text as the loader does."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def _name(key: yaml.Node) -> Any:
    """What tells a key from others."""
    return key.value if isinstance(key, yaml.ScalarNode) else id(key)

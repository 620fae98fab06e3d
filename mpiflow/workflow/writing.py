"""A document as YAML text, one line for each dataset, step and result, so that a line tells what it is about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import yaml

from mpiflow.workflow.text import RESOLVERS

_MAPPINGS = ("datasets", "steps", "results")


class _Dumper(yaml.SafeDumper):
    """Writes values that our own loader reads back, which takes other texts for numbers than YAML 1.1 does."""

    yaml_implicit_resolvers: ClassVar = {
        first: [*yaml.SafeDumper.yaml_implicit_resolvers.get(first, []), *RESOLVERS.get(first, [])]
        for first in (*yaml.SafeDumper.yaml_implicit_resolvers, *RESOLVERS)}

    def ignore_aliases(self, data: Any) -> bool:
        """Write everything out."""
        return True


def _text(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
    """A text of several lines stays on one."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style='"' if "\n" in data else None)


_Dumper.add_representer(str, _text)


def flow(value: Any) -> str:
    """Write a plain value on one line.

    Raises:
        yaml.YAMLError: It is no plain value.
    """
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, sort_keys=False, width=10**9, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...").strip()


def lines(document: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Write a document; give each line, and section and name of what it is about."""
    for key, value in document.items():
        if key in _MAPPINGS and isinstance(value, Mapping):
            yield f"{key}:", (key, "")
            yield from ((f"  {flow(name)}: {flow(item)}", (key, name)) for name, item in value.items())
        else:
            yield f"{key}: {flow(value)}", (key, "")

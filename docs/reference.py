"""What mkdocs does for this site besides Markdown: pages made from the code, and links to files that are not pages.

The pages under ``reference/`` exist in the site only. They are made of the JSON Schema, of argparse and of docstrings, so they
cannot be out of date.
"""

from __future__ import annotations

import argparse
import inspect
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import mpiflow
from mpiflow.api.session import Deferred
from mpiflow.cli.main import VERBS
from mpiflow.workflow.schema import json_schema

ROOT = Path(__file__).parents[1]
OUTSIDE = re.compile(r"\[([^\]]+)\]\((\.\./[^)#]+)(?:#[^)]*)?\)")
SECTION = re.compile(r"(Args|Returns|Raises|Attributes|Yields|Example|Source):(:?)")
INTERNAL = "for other parts of mpiflow"        # said of methods that users do not need
API = {
    "Workflows": [mpiflow.load, mpiflow.Workflow, mpiflow.Handle, mpiflow.var],
    "Plans": [mpiflow.Plan, mpiflow.Checked],
    "Runs": [mpiflow.run, mpiflow.Run],
    "Sessions": [mpiflow.session, mpiflow.Session, Deferred],
    "Operations": [mpiflow.operation, mpiflow.Operation],
    "Errors": [mpiflow.MpiflowError, mpiflow.DocumentError, mpiflow.LaunchError, mpiflow.PlanningError, mpiflow.StepError,
               mpiflow.StoppedError, mpiflow.OperationError, mpiflow.MachineError]}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Name headings as other viewers of these pages do, so that links lead to them everywhere."""
    config.mdx_configs["toc"]["slugify"] = lambda title, separator: re.sub(r"[^\w -]", "", title.lower()).replace(" ", separator)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of code."""
    for name, text in (("document", document()), ("cli", command_line()), ("api", api())):
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files that are no pages into their names: they are in the repository, not in the site.

    Raises:
        PluginError: There is no such file.
    """
    def name(match: re.Match[str]) -> str:
        file = (ROOT / "docs" / match[2]).resolve()
        if not file.exists():
            raise PluginError(f"{page.file.src_uri}: a link leads to {match[2]}, which is not there")
        shown = file.relative_to(ROOT)
        return match[1] if str(shown) in match[1] else f"{match[1]} (`{shown}`)"

    return markdown if page.file.src_uri.startswith("reference/") else OUTSIDE.sub(name, markdown)


# The document

def document() -> str:
    """Give the page of all keys, from the JSON Schema."""
    schema = json_schema()
    parts = ["# The document", "Every key of a workflow document, from the JSON Schema that `python -m mpiflow schema` prints. "
             "Any value may also be a `$parameter`. [Write a workflow](../workflow.md) explains them."]
    for name, part in sorted(schema["$defs"].items(), key=lambda item: item[0] != "Document"):
        if "properties" in part:
            parts += _part(name, part)
    return "\n\n".join(parts) + "\n"


def _part(name: str, part: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {name}"
    if "description" in part:
        yield inspect.cleandoc(part["description"]).replace("``", "`")
    rows = ["| key | value | default | |", "|---|---|---|---|"]
    for key, item in part["properties"].items():
        default = "required" if key in part.get("required", ()) else _code(item["default"]) if item.get("default") else ""
        rows.append(f"| `{key}` | {_kind(item)} | {default} | {item.get('description', '')} |")
    yield "\n".join(rows)


def _code(value: Any) -> str:
    return f"`{value}`"


def _kind(item: Mapping[str, Any]) -> str:
    """Say in words what a value may be."""
    if "$ref" in item:
        name = item["$ref"].rpartition("/")[2]
        return "" if name == "Parameter" else f"[{name}](#{name.lower()})"
    if "enum" in item or "const" in item:
        return ", ".join(_code(value) for value in item.get("enum", [item.get("const")]))
    for key in ("anyOf", "oneOf"):
        if key in item:
            return " or ".join(dict.fromkeys(filter(None, map(_kind, item[key]))))
    inner = item.get("items") or item.get("additionalProperties")
    words = {"string": "text", "integer": "whole number", "boolean": "true or false", "array": "list", "object": "mapping"}
    word = words.get(item.get("type", "any"), item.get("type", "any"))
    of = _kind(inner) if isinstance(inner, Mapping) else ""
    return f"{word} of {of}" if of and of != "any" else word


# The command line

def command_line() -> str:
    """Give the page of all verbs, from their own help."""
    os.environ["COLUMNS"] = "110"
    parts = ["# The command line", "`python -m mpiflow VERB ...` and `mpiflow VERB ...` are the same. What each verb says of "
             "itself with `--help`:"]
    for verb, module in VERBS.items():
        parser = argparse.ArgumentParser(prog=f"python -m mpiflow {verb}", description=module.HELP)
        module.add_arguments(parser)
        parts += [f"## {verb}", f"```text\n{parser.format_help().rstrip()}\n```"]
    return "\n\n".join(parts) + "\n"


# The API

def api() -> str:
    """Give the page of public names, from their docstrings."""
    parts = ["# The Python API", "`import mpiflow as mf` is quick and never initialises MPI. **Collective** functions must "
             "be called by all ranks of a communicator; **local** ones need nobody else. [Work in Python](../python.md) shows "
             "how they go together."]
    for title, items in API.items():
        parts.append(f"## {title}")
        for item in items:
            parts += _described(item, "var" if item is mpiflow.var else item.__name__)
    return "\n\n".join(parts) + "\n"


def _described(item: Any, name: str, level: int = 3) -> Iterator[str]:
    yield f"{'#' * level} {name}"
    if inspect.isclass(item):
        yield from _text(item)
        if not issubclass(item, Exception):
            yield from _members(item, name)
        return
    yield f"```python\n{name.rpartition('.')[2]}{_signature(item)}\n```"
    yield from _text(item)


def _members(item: type, name: str) -> Iterator[str]:
    for key, member in vars(item).items():
        if key.startswith("_") and key not in ("__init__", "__getitem__", "__call__"):
            continue
        function = member.fget if isinstance(member, property) else getattr(member, "func", member)
        if not inspect.isfunction(function) or not function.__doc__ or INTERNAL in function.__doc__:
            continue
        if isinstance(member, property) or hasattr(member, "func"):
            yield f"#### {name}.{key}"
            yield from _text(function)
        else:
            yield from _described(function, f"{name}.{key}", 4)


def _signature(function: Any) -> str:
    """The arguments, one on a line if they are many; annotations are as they stand in the code."""
    signature = inspect.signature(function)
    parts, marked = [], False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not marked:
            parts.append("*")
        marked = marked or parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        if parameter.name != "self":
            parts.append(_parameter(parameter))
    back = "" if signature.return_annotation is signature.empty else f" -> {signature.return_annotation}"
    line = f"({', '.join(parts)}){back}"
    return line if len(line) < 90 else "(\n    " + ",\n    ".join(parts) + f"){back}"


def _parameter(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    annotation = "" if parameter.annotation is parameter.empty else f": {parameter.annotation}"
    default = "" if parameter.default is parameter.empty else f"{' = ' if annotation else '='}{parameter.default!r}"
    return f"{stars}{parameter.name}{annotation}{default}"


def _text(item: Any) -> Iterator[str]:
    """Give a Google-style docstring as Markdown."""
    lines = inspect.cleandoc(item.__doc__ or "").replace("``", "`").splitlines()
    plain: list[str] = []
    number = 0
    while number < len(lines):
        match = SECTION.fullmatch(lines[number])
        if match is None:
            plain.append(lines[number])
            number += 1
            continue
        end = next((i for i in range(number + 1, len(lines)) if lines[i] and not lines[i].startswith(" ")), len(lines))
        body = inspect.cleandoc("\n".join(["", *lines[number + 1:end]]))
        yield "\n".join(plain).strip()
        yield f"```python\n{body}\n```" if match[2] else f"**{match[1]}**\n\n{_items(body)}"
        plain, number = [], end
    yield "\n".join(plain).strip()


def _items(body: str) -> str:
    """Each entry of a section as a point of a list; further lines of it are indented."""
    entries = re.split(r"\n(?=\S)", body)
    named = re.compile(r"(\*{0,2}[\w, ]+): (.*)", re.DOTALL)
    points = []
    for entry in entries:
        match = named.fullmatch(" ".join(entry.split()))
        points.append(f"- `{match[1]}`: {match[2]}" if match else f"- {' '.join(entry.split())}")
    return "\n".join(points)

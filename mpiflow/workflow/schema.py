"""The JSON Schema of a workflow document, for editors; made from the types that read it."""

from __future__ import annotations

from typing import Any

import msgspec

from mpiflow.workflow.model import Dataset, Document

_PARAMETER = {
    "type": "string", "pattern": r"^\$([A-Za-z_][A-Za-z0-9_]*|\{[A-Za-z_][A-Za-z0-9_]*\})$", "description": "A parameter.",
}
_PLAIN = ("mpiflow", "name", "params", "inputs")      # where no parameter is put in


def json_schema() -> dict[str, Any]:
    """Give the schema (draft 2020-12); every value may also be a ``$parameter``."""
    (root,), parts = msgspec.json.schema_components([Document], ref_template="#/$defs/{name}")
    defs = {name: _with_parameters(part) for name, part in parts.items()}
    defs["Dataset"]["oneOf"] = [{"required": [source]} for source in Dataset.SOURCES]
    defs["Step"]["oneOf"] = [{"required": ["run"]}, {"required": ["workflow"]}]
    defs["Parameter"] = _PARAMETER
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "mpiflow workflow", **root, "$defs": defs}


def _with_parameters(part: dict[str, Any]) -> dict[str, Any]:
    properties = {
        key: schema if key in _PLAIN else _or_parameter(schema)
        for key, schema in part["properties"].items()
    }
    return {**part, "properties": properties}


def _or_parameter(schema: dict[str, Any]) -> dict[str, Any]:
    """Let a value, and each element of it, be a parameter as well; null is not a value."""
    options = [option for option in _options(schema) if option.get("type") != "null"]
    kept = {key: item for option in (*options, schema) for key, item in option.items()
            if key in ("description", "default") and item is not None}
    options = [_elements_or_parameter({key: item for key, item in option.items() if key not in kept}) for option in options]
    if {"type": "number"} in options:
        options = [option for option in options if option != {"type": "integer"}]
    if {"type": "string"} not in options:
        options.append({"$ref": "#/$defs/Parameter"})
    return {**(options[0] if len(options) == 1 else {"anyOf": options}), **kept}


def _options(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The alternatives that a schema has, each without those of its own."""
    if "anyOf" not in schema:
        return [{key: item for key, item in schema.items() if key != "default"}]
    return [inner for option in schema["anyOf"] for inner in _options(option)]


def _elements_or_parameter(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: _or_parameter(item) if key in ("items", "additionalProperties") else item for key, item in schema.items()}

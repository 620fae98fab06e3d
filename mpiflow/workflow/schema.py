"""The JSON Schema of a workflow document, for editors; made from the types that read it."""

from __future__ import annotations

from typing import Any

import msgspec

from mpiflow.workflow.model import Dataset, Document

_PARAMETER = {"type": "string", "pattern": r"^\$(\w+|\{\w+\})$", "description": "A parameter."}


def json_schema() -> dict[str, Any]:
    """Give the schema (draft 2020-12); every value may also be a ``$parameter``."""
    (root,), parts = msgspec.json.schema_components([Document], ref_template="#/$defs/{name}")
    defs = {name: _with_parameters(part) for name, part in parts.items()}
    defs["Dataset"]["oneOf"] = [{"required": [source]} for source in Dataset.SOURCES]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "mpiflow workflow", **root, "$defs": defs}


def _with_parameters(schema: dict[str, Any]) -> dict[str, Any]:
    """Let each property of an object be a parameter, but the keys that parameters do not reach."""
    if "properties" not in schema:
        return schema
    properties = {
        key: value if key in ("mpiflow", "name", "params") else _or_parameter(value)
        for key, value in schema["properties"].items()
    }
    return {**schema, "properties": properties}


def _or_parameter(schema: dict[str, Any]) -> dict[str, Any]:
    if schema.get("type") in ("object", None) and "anyOf" not in schema and "enum" not in schema:
        return schema
    if schema.get("type") == "array":
        schema = {**schema, "items": {"anyOf": [schema.get("items", {}), _PARAMETER]}}
    default = {"default": schema.pop("default")} if "default" in schema else {}
    return {"anyOf": [schema, _PARAMETER], **default}

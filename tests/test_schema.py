"""The JSON Schema: editors accept what mpiflow accepts, and mark unknown keys and wrong types."""

from __future__ import annotations

import copy
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from test_reading import MINIMAL, RICH, trees

from mpiflow.errors import DocumentError
from mpiflow.workflow.parameters import locate
from mpiflow.workflow.reading import read_workflow
from mpiflow.workflow.schema import json_schema

SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
PROGRAM = """\
mpiflow: 1
name: program
params: {n: 3}
datasets:
  file: {file: in.melt, as: bytes}
  d: {arange: {stop: 3}}
steps:
  many:
    for: {i: [1, 2]}
    run: [lmp, -in, "{in.f}", $i, 3, 0.5]
    in: {f: file, d: {data: d + 1, file: d.txt, format: text}}
    out: {a: text, b: {file: b.h5, format: hdf5, path: /b, keep: "b-$i.h5"}}
    stdout: said.txt
    env: {A: b, C: 3}
    retries: 2
    timeout: 10m
    on-error: continue
"""
EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*/*.yaml"))
law = settings(derandomize=True, deadline=None, max_examples=100)


def written(text):
    """Give a document as an editor sees it: plain values, parameters not put in."""
    return yaml.safe_load(text)


def right(data):
    return VALIDATOR.is_valid(data)


def changed(data, path, value):
    """Give a copy of ``data`` with another value at ``path``."""
    data = copy.deepcopy(data)
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return data


def paths(data, path=()):
    """Yield the path of every value inside ``data``."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from paths(value, (*path, key))


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_fits(path):
    VALIDATOR.validate(written(path.read_text()))


def test_a_document_with_every_key_fits():
    VALIDATOR.validate(written(RICH))
    VALIDATOR.validate(written(PROGRAM))


def test_every_key_of_the_types_is_in_the_schema():
    document = written(RICH)
    flat, stored, total = document["datasets"]["flat"], document["datasets"]["stored"], document["steps"]["total"]
    for part, keys in [("Document", document), ("Dataset", flat | stored), ("Step", total), ("Random", flat["random"])]:
        assert set(keys) <= set(SCHEMA["$defs"][part]["properties"])


def dotted(path):
    return ".".join(map(str, path))


RICH_PATHS = [path for path in paths(written(RICH)) if path[0] not in ("mpiflow", "name", "params")]


@pytest.mark.parametrize("path", RICH_PATHS, ids=dotted)
def test_every_value_may_be_a_parameter(path):
    assert right(changed(written(RICH), path, "$x"))
    assert right(changed(written(RICH), path, "${x}"))


@pytest.mark.parametrize("key", ["mpiflow", "params"])
def test_version_and_parameters_may_not_be_a_parameter(key):
    assert not right(changed(written(RICH), (key,), "$x"))


@pytest.mark.parametrize("path", [(), ("datasets", "flat"), ("datasets", "flat", "random"), ("datasets", "bell", "normal"),
                                  ("datasets", "index", "arange"), ("datasets", "ones", "full"), ("steps", "total")], ids=dotted)
def test_an_unknown_key_does_not_fit(path):
    assert not right(changed(written(RICH), (*path, "unknown"), 1))


@pytest.mark.parametrize("path", [path for path in RICH_PATHS if path[-2:] != ("with", "axis")], ids=dotted)
@pytest.mark.parametrize("wrong", [{"z z": 1}, [[]], None], ids=["mapping", "list", "null"])
def test_a_value_of_a_wrong_type_does_not_fit(path, wrong):
    assert not right(changed(written(RICH), path, wrong))


@pytest.mark.parametrize("path", [
    ("mpiflow",), ("name",), ("steps",), ("steps", "total", "run"), ("datasets", "flat", "random", "shape"),
    ("datasets", "index", "arange", "stop"), ("datasets", "ones", "full", "value"),
], ids=dotted)
def test_a_missing_key_does_not_fit(path):
    data = written(RICH)
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    assert not right(data)


@pytest.mark.parametrize("dataset", [{}, {"blocks": 2}, {"arange": {"stop": 1}, "file": "a.npy"}], ids=str)
def test_a_dataset_needs_exactly_one_source(dataset):
    assert not right(changed(written(MINIMAL), ("datasets", "d"), dataset))


@pytest.mark.parametrize(("path", "wrong"), [
    (("mpiflow",), 2), (("name",), ""), (("steps",), {}), (("datasets", "d", "arange", "stop"), 0.5),
    (("datasets", "d", "arange", "stop"), "3"), (("datasets", "d", "blocks"), 0), (("steps", "my-step"), "sum(d)"),
], ids=str)
def test_a_value_out_of_range_does_not_fit(path, wrong):
    assert not right(changed(written(MINIMAL), path, wrong))


@law
@given(trees, trees)
def test_what_mpiflow_reads_fits_the_schema(dataset, step):
    """Random trees are hardly ever right; those that are must be so for an editor too."""
    for path, value in ((("datasets", "e"), dataset), (("steps", "t"), step), (("params",), dataset), (("tags",), step)):
        data = changed(written(MINIMAL), path, value)
        text = yaml.safe_dump(data, allow_unicode=True)
        try:
            read_workflow(text, "w.yaml")
        except DocumentError:
            continue
        assert right(locate(text, "w.yaml", {}).value)


@pytest.mark.parametrize("path", RICH_PATHS, ids=dotted)
def test_what_the_schema_refuses_mpiflow_refuses(path):
    """For each value of a document with every key, and what may be typed there."""
    parameters = {**written(RICH)["params"]}
    document = locate(RICH, "w.yaml", {}).value
    for value in (None, True, -1, 0, 0.5, 7, "", "text", "3", [], [1, 2], ["x"], {}, {"x": 1}):
        data = changed({**document, "params": parameters}, path, value)
        if right(data):
            continue
        with pytest.raises(DocumentError):
            read_workflow(yaml.safe_dump(data, allow_unicode=True), "w.yaml")


# Programs

PROGRAM_PATHS = [path for path in paths(written(PROGRAM)) if path[0] in ("datasets", "steps")]


@pytest.mark.parametrize("path", PROGRAM_PATHS, ids=dotted)
def test_of_a_program_what_the_schema_refuses_mpiflow_refuses(path):
    document = written(PROGRAM)
    read_workflow(yaml.safe_dump(document), "w.yaml")
    assert right(changed(document, path, "$n"))
    for value in (None, True, -1, 0, 0.5, 7, "", "text", "3", [], [1, 2], ["x"], {}, {"x": 1}):
        data = changed(document, path, value)
        if not right(data):
            with pytest.raises(DocumentError):
                read_workflow(yaml.safe_dump(data), "w.yaml")


@pytest.mark.parametrize("path", [("steps", "many", "in", "d"), ("steps", "many", "out", "b")], ids=dotted)
def test_an_unknown_key_of_a_file_does_not_fit(path):
    assert not right(changed(written(PROGRAM), (*path, "unknown"), 1))

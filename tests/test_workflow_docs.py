"""docs/workflow.md is true: every example runs, every key and operation is there, and what it says of values holds."""

from __future__ import annotations

import inspect
import json
import re
import sys
from itertools import pairwise
from pathlib import Path

import h5py
import msgspec
import numpy as np
import pytest
import yaml
from launching import launch, mpiflow

from mpiflow.operations.operation import Operation, operation
from mpiflow.operations.registry import INTERNAL, RESERVED, builtin_operations
from mpiflow.operations.values import COMBINES
from mpiflow.storage.generate import generate
from mpiflow.workflow import model
from mpiflow.workflow.rules import HDF5_SUFFIXES

PAGE = Path(__file__).parents[1] / "docs" / "workflow.md"
TEXT = PAGE.read_text()
FENCES = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
CODE = "\n\n".join(text for language, text in FENCES if language == "python")
HEAD = "mpiflow: 1\nname: example\n"
SHARED = next(text for language, text in FENCES if language == "yaml" and not text.startswith("mpiflow"))


def whole(fragment):
    """Complete an example as the page says: its first two lines, the shared datasets, and a step that reads its datasets."""
    data = yaml.safe_load(fragment)
    head = "" if "mpiflow" in data else HEAD
    shared = "" if "datasets" in data else SHARED
    steps = "" if "steps" in data else "steps:\n" + "".join(f"  read_{name}: count({name})\n" for name in data["datasets"])
    return head + fragment + shared + steps


(INNER,) = [text for _, text in FENCES if "\nname: inner\n" in text]
MESSAGES = next(text for language, text in FENCES if language == "text")
(WRONG,) = [text for (_, text), (after, _) in pairwise(FENCES) if after == "text"]
EXAMPLES = [whole(text) for language, text in FENCES if language == "yaml" and text != WRONG]


def section(title):
    """Give the part of the page under a heading."""
    return re.split(r"\n##+ ", re.split(rf"^##+ {re.escape(title)}$", TEXT, flags=re.MULTILINE)[1])[0]


def rows(title):
    """Give the rows of the tables under a heading, as lists of cells."""
    found = [line.strip("|").split(" | ") for line in section(title).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in found]


def code(text):
    """Give what stands in backticks."""
    return re.findall(r"`([^`]+)`", text)


# Every example runs

# One process runs all, as a user would run each.
DRIVER = """
import os
from mpiflow.cli.main import main

for folder in sorted(folder for folder in os.listdir() if folder.isdigit()):
    os.chdir(folder)
    print(folder, main(["workflow.yaml"]))
    os.chdir("..")
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The folder in which all examples have run, each in a folder of its own."""
    root = tmp_path_factory.mktemp("docs")
    for number, text in enumerate(EXAMPLES):
        folder = root / f"{number:02}"
        (folder / "data").mkdir(parents=True)
        (folder / "scratch").mkdir()
        (folder / "workflow.yaml").write_text(text)
        (folder / "ops.py").write_text(CODE)
        (folder / "inner.yaml").write_text(INNER)
        (folder / "data" / "factors.txt").write_text("# factors\n2\n0.5\n")
        (folder / "data" / "ranges.csv").write_text("low,high\n0,0.5\n0.25,1\n")
        with h5py.File(folder / "data" / "adk.h5md", "w") as opened:
            opened["/particles/all/position/value"] = np.arange(20 * 4 * 3.0).reshape(20, 4, 3)
            opened["/particles/all/position/value"].attrs["unit"] = "Angstrom"
        np.save(folder / "data" / "mass.npy", np.ones(4))
        for part in (1, 2):
            with h5py.File(folder / "scratch" / f"part-{part}.h5", "w") as opened:
                opened["x"] = np.full(3, part)
    (root / "driver.py").write_text(DRIVER)
    ended = launch([sys.executable, "driver.py"], cwd=root)
    (root / "out.txt").write_text(ended.out + ended.err)
    return root


def folder_of(ran, part):
    """Where the example ran that has ``part`` in its text."""
    (number,) = [number for number, text in enumerate(EXAMPLES) if part in text]
    return ran / f"{number:02}"


def results(file):
    """Give the arrays of an HDF5 file by name."""
    with h5py.File(file) as opened:
        return {name: item[()] for name, item in opened.items() if isinstance(item, h5py.Dataset)}


def test_there_are_examples():
    assert len(EXAMPLES) >= 15


def test_every_example_runs_and_writes_its_results(ran):
    out = (ran / "out.txt").read_text()
    assert re.findall(r"^(\d\d) (\d+)$", out, re.MULTILINE) == [(f"{n:02}", "0") for n in range(len(EXAMPLES))], out
    for number, text in enumerate(EXAMPLES):
        given = yaml.safe_load(text)
        params = {f"${name}": str(value) for name, value in given.get("params", {}).items()}
        for written in given.get("results", {}).values():
            file = written if isinstance(written, str) else written["file"]
            for name, value in params.items():
                file = file.replace(name, value)
            assert (ran / f"{number:02}" / file).stat().st_size


def test_the_wrong_example_gives_these_messages(tmp_path):
    (tmp_path / "workflow.yaml").write_text(HEAD + WRONG)
    ended = mpiflow(None, "check", "workflow.yaml", cwd=tmp_path)
    assert (ended.status, ended.err) == (2, MESSAGES)


# Nothing is left out, and nothing is invented

KEYS = {field.encode_name for part in vars(model).values() if isinstance(part, type) and issubclass(part, msgspec.Struct)
        for field in msgspec.structs.fields(part)}


@pytest.mark.parametrize("key", sorted(KEYS))
def test_every_key_is_explained_and_shown_in_an_example(key):
    assert f"`{key}`" in TEXT
    assert any(re.search(rf"(^|[{{ ,]){key}:", text, re.MULTILINE) for text in EXAMPLES)


def test_the_defaults_and_dtypes_of_generators_are_right():
    for name, keys, dtypes in rows("Generated")[1:]:
        part = getattr(model, code(name)[0].capitalize())
        fields = {field.encode_name: field for field in msgspec.structs.fields(part)}
        assert set(code(keys)) == set(fields)
        said = dict(re.findall(r"`(\w+)` \(([^)]+)\)", keys))
        assert said == {key: str(field.default) for key, field in fields.items() if not field.required}
        assert set(dtypes.split(", ")) == set(fields["dtype"].type.__args__)


def built_in():
    """Give what the page says of built-in operations: name to (kind, arguments)."""
    said, kind = {}, ""
    for line in section("Built-in operations").splitlines():
        if re.match(r"(Elementwise|Linear|Plain)\b", line):
            kind = re.match(r"\w+", line)[0]
        elif line.startswith("| of "):
            (arguments, *names) = code(line)
            said |= {name: (kind, arguments) for name in names}
        elif line.startswith("| `"):
            said |= {name: (kind, arguments) for name, arguments in re.findall(r"`(\w+)\((.*?)\)`", line.split(" | ")[0])}
    return said


def arguments_of(item):
    parameters = [parameter.replace(annotation=parameter.empty) for parameter in item.parameters.values()]
    return str(inspect.Signature(parameters))[1:-1]


def test_the_built_in_operations_are_exactly_these():
    said = built_in()
    assert {name: arguments for name, (_, arguments) in said.items()} == {
        name: arguments_of(item) for name, item in builtin_operations().items() if name not in INTERNAL}
    assert {name: kind for name, (kind, _) in said.items()} == {
        name: "Linear" if item.linear else "Elementwise" if item.elementwise else "Plain"
        for name, item in builtin_operations().items() if name not in INTERNAL}


def test_the_declarations_are_exactly_these_with_these_defaults():
    said = {code(name)[0]: default for name, default, _ in rows("Operations of your own")[1:]}
    with pytest.raises(TypeError):
        operation(unknown=1)(len)
    own = {"code", "function", "key", "parameters"}
    fields = {name: field.default for name, field in Operation.__dataclass_fields__.items() if name not in own}
    assert set(said) == set(fields)
    for name in ("elementwise", "broadcast", "linear", "parallel"):
        assert said[name] == str(fields[name])
    assert said["combine"] == f'`"{fields["combine"]}"`'
    combines = next(row[2] for row in rows("Operations of your own") if row[0] == "`combine`")
    assert {name.strip('"') for name in code(combines) if name.startswith('"')} == set(COMBINES)


def test_signs_stand_for_these_operations():
    said = set()
    for written, means in rows("Expressions"):
        if any(sign in written for sign in ("a - b", "-a", "a < b", "t.name")):
            said |= {re.match(r"\w+", item)[0] for item in code(means)}
    assert said | {"add", "row"} == RESERVED


def test_every_suffix_of_hdf5_is_named():
    assert code(rows("Results")[1][0]) == list(HDF5_SUFFIXES)
    assert all(f"`{suffix}`" in section("Read from files") for suffix in HDF5_SUFFIXES)


def test_the_options_are_exactly_those_of_run():
    said = {code(row[0])[0] for row in rows("Running")[1:]}
    out = mpiflow(None, "run", "--help").out
    assert said == set(re.findall(r"^  (--[a-z-]+(?: [A-Z=]+)?)", out, re.MULTILINE))


def test_every_link_inside_the_page_leads_to_a_heading():
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors


# What it says of values

def shared():
    """The datasets x, y and m of the page."""
    x, y = (generate(model.Random(shape=[1000], seed=seed), 0, 1000) for seed in (1, 2))
    return x, y, generate(model.Normal(shape=[1000, 3], seed=3), 0, 1000)


def near(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_plus_means_what_the_page_says(ran):
    got = results(folder_of(ran, "pooled:") / "plus.h5")
    x, y, _ = shared()
    near(got["pooled"], np.mean(np.concatenate([x, y])))
    near(got["added"], np.mean(x + y))
    near(got["of_named"], got["added"])
    near(got["scaled"], np.mean(2 * (x + y)))
    near(got["shifted"], np.mean(x + 1))


def test_operations_of_ones_own_give_what_the_page_says(ran):
    got = results(folder_of(ran, "smooth: smoothed") / "own.h5")
    x, y, m = shared()
    near(got["power"], np.abs(np.fft.rfft(x * np.hanning(1000))) ** 2)
    near(got["lengths"], np.sqrt(np.sum(m * m, axis=1)))
    assert got["near"] == np.sum(np.sum((m - m.mean(axis=0)) ** 2, axis=1) < 4)
    near(got["smooth"], np.concatenate([(part[1:] + part[:-1]) / 2 for part in np.split(x, 4)]))
    near(got["range"], 1.1 * (max(x.max(), y.max()) - min(x.min(), y.min())))


def test_loops_give_what_the_page_says(ran):
    x, _, _ = shared()
    some = results(folder_of(ran, "where: [$c") / "some.h5")["some"]
    near(some, [x.max() * c + k for c in (1, 2, 3) for k in range(c) if c + k > 2 and k != 1])
    elsewhere = folder_of(ran, "blocks: mapped")
    near(results(elsewhere / "tabled.h5")["tabled"], [np.clip(x, 0, 0.5).mean(), np.clip(x, 0.25, 1).mean()])
    assert results(elsewhere / "paths.h5")["paths"] == 16
    with h5py.File(elsewhere / "mapped.h5") as opened:
        near([opened[f"mapped/part={part},c=2"][()] for part in range(4)], [2 * np.median(part) for part in np.split(x, 4)])
    points = generate(model.Random(shape=[5, 3], seed=7), 0, 5)
    near(np.load(folder_of(ran, "rows: points") / "lengths.npy"), np.linalg.norm(points, axis=1))
    chosen = folder_of(ran, "averages: {for") / "averages.h5"
    runs = {(T, seed): np.mean(x * T + seed) for T in (250, 300, 350) for seed in range(4)}
    near(results(chosen)["averages"], [np.mean([runs[T, seed] for seed in range(4)]) for T in (250, 300, 350)])
    near(results(chosen)["apart"], max(runs.values()) - min(runs.values()))


def test_workflows_in_workflows_give_what_the_page_says(ran):
    x, y, _ = shared()
    got = results(folder_of(ran, "scan: {for: {f") / "both.h5")
    centred = y - y.mean()
    near(got["both"], 2 * x.max() + (1 + 2 + 3 + 2) * centred.max())
    near(got["scan.spread"], [factor * centred.std() for factor in (1, 2, 3)])


def test_neighbours_and_pairs_are_what_the_page_says(ran):
    x, _, m = shared()
    got = results(folder_of(ran, "lags:") / "near.h5")
    padded = np.concatenate([x[:1], x, x[-1:]])
    near(got["slopes"], (padded[2:] - padded[:-2]) / 2)
    near(got["lags"], [np.sum(x[:-lag] * x[lag:]) for lag in (1, 10, 300)])
    apart = np.sqrt(np.square(m[:, np.newaxis] - m).sum(axis=2))
    near(got["apart"], apart)
    near(got["other"], np.hstack([apart, apart]))
    assert got["num"] == np.sum(np.triu(apart < 0.5, 1))


def test_built_in_operations_give_what_the_page_says(ran):
    got = results(folder_of(ran, "inside: where") / "some.h5")
    x, y, _ = shared()
    assert list(got["counts"]) == list(np.histogram(np.concatenate([x, y]), bins=20, range=(0, 1))[0])
    near(got["inside"], np.where((x > 0.25) & (x < 0.75), x, 0))
    near(got["ranked"], np.sort(np.concatenate([x, y, np.minimum(x, y).astype("float32")])))


def test_choices_are_made_as_the_page_says(ran):
    x, _, _ = shared()
    with h5py.File(folder_of(ran, "spread_of_x: std") / "choice.h5") as opened:
        assert set(opened) == {"counts", "largest", "kept"} and set(opened["kept"]) == {"c=1", "c=3"}
        near(opened["largest"][()], 3 * x.max())
        near(opened["counts"][()], np.histogram(x, 50, (0, 1))[0])


def test_what_is_repeated_gives_what_the_page_says(ran):
    numbers = generate(model.Random(shape=[1000], seed=1, low=1, high=9), 0, 1000)
    with h5py.File(folder_of(ran, "run: improved") / "roots.h5") as opened:
        near(opened["roots"][()], np.sqrt(numbers))
        near(opened["shrunk.scaled"][()], numbers / 2**10)          # the first half of which all are below 0.01
        assert set(opened["halves"]) == {"c=1", "c=1000"}


def test_a_result_file_holds_what_the_page_says(ran):
    folder = folder_of(ran, "profile: moments") / "out"
    x, _, m = shared()
    with h5py.File(folder / "all.h5") as opened:
        assert list(opened["profile"]) == ["count", "mean", "variance", "std"]
        near(opened["profile/std"][()], m.std(axis=0))
        near(opened["level"][()], x.mean())
        assert set(opened["level"].attrs) == {"unit", "tags", "id", "source"}
        assert opened["level"].attrs["source"] == "example"
    np.testing.assert_array_equal(np.load(folder / "x.npy"), x)


def test_datasets_with_the_same_seed_hold_the_same_numbers_however_they_are_cut():
    settings = model.Random(shape=[1000, 2], seed=1)
    parts = [generate(settings, start, start + 100) for start in range(0, 1000, 100)]
    np.testing.assert_array_equal(np.concatenate(parts), generate(settings, 0, 1000))


@pytest.mark.parametrize(("step", "right"), [
    ("m - mean(m, axis=0)", True),          # fewer dimensions, one block
    ("m - z", False),                       # fewer dimensions, cut
    ("x - w", True),                        # as many rows, one block: cut to fit
    ("x - v", True),                        # cut otherwise: gathered
    ("sum(x + y + 1)", None),               # a number among several datasets
])
def test_blocks_are_aligned_as_the_page_says(tmp_path, step, right):
    more = "  z: {arange: {stop: 3}, blocks: 3}\n  w: {arange: {stop: 1000}}\n  v: {arange: {stop: 1000}, blocks: 3}\n"
    text = f"{HEAD}{SHARED}{more}steps:\n  s: {step}\nresults: {{s: s.npy}}\n".replace("shape: [1000, 3]", "shape: [3, 3]")
    (tmp_path / "workflow.yaml").write_text(text.replace("blocks: 4}    # 1000 rows", "blocks: 3}    # 1000 rows"))
    ended = mpiflow(None, "workflow.yaml", cwd=tmp_path)
    assert ended.status == {True: 0, False: 1, None: 2}[right], ended.err
    if right:
        x, _, _ = shared()
        m = generate(model.Normal(shape=[3, 3], seed=3), 0, 3)
        expected = {"m": m - m.mean(axis=0), "x": x - np.arange(1000)}[step[0]]
        near(np.load(tmp_path / "s.npy"), expected)


def test_what_a_failed_step_says(tmp_path):
    steps = "steps:\n  bad: compare(x, m)\n  good: mean(x)\nresults: {good: good.npy}\n"
    (tmp_path / "workflow.yaml").write_text(HEAD + SHARED + steps)
    ended = mpiflow(None, "workflow.yaml", "--keep-going", "--record", "run.json", cwd=tmp_path)
    assert ended.status == 1
    assert "step 'bad' failed on rank 0 (node " in ended.err and "Traceback" in ended.err
    assert (tmp_path / "good.npy").exists()
    assert json.loads((tmp_path / "run.json").read_text())["tasks"]

"""Going on in the middle of documents in documents: what their steps, instances and turns had made is kept."""

import json
from collections import Counter

import h5py
import pytest
from launching import mpiflow

OPS = """
import os, time
from mpiflow import operation

def called(*words):
    with open(os.environ["CALLS"], "a") as opened:
        opened.write(" ".join(map(str, words)) + "\\n")
    time.sleep(0.02)                    # long enough to be worth saving

@operation
def prepared(x, k):
    called("prepared", k)
    return x * k

@operation
def relaxed(x, rate):
    called("relaxed")
    return x * rate

@operation
def part(x, j):
    called("part", j)
    return x[j::4].sum() + x[:3]

@operation
def closed(parts, k):
    called("closed", k)
    if k == 2 and "BROKEN" in os.environ:
        raise ValueError("not yet")
    return parts[::-1].cumsum()
"""
DOCUMENTS = {
    "outer": """
datasets:
  x: {random: {shape: [1000], seed: 1}, blocks: 2}
steps:
  each: {for: {k: [1, 2, 3]}, workflow: middle.yaml, in: {x: x}, with: {k: $k}}
  last: sort(each.total)
results: {last: all.h5, each.deep.closed.*: all.h5}
""",
    "middle": """
params: {k: 1}
inputs: [x]
steps:
  start: prepared(x, $k)
  settle: {workflow: turn.yaml, in: {x: start}, repeat: {feed: {x: settle.y}, until: max(settle.y) < 0.3, at-most: 6}}
  deep: {workflow: deep.yaml, in: {x: settle.y}, with: {k: $k}}
  total: deep.closed + 1
results: {total: total.npy, deep.closed: deep.npy}
""",
    "turn": """
inputs: [x]
steps:
  y: relaxed(x, 0.5)
results: {y: y.npy}
""",
    "deep": """
params: {k: 1}
inputs: [x]
steps:
  parts: {for: {j: range(4)}, run: part, in: {x: x}, with: {j: $j}}
  closed: closed(parts, k=$k)
results: {closed: closed.npy}
"""}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "ops.py").write_text(OPS)
    for name, text in DOCUMENTS.items():
        (tmp_path / f"{name}.yaml").write_text(f"mpiflow: 1\nname: {name}\noperations: [ops.py]\n{text}")
    return tmp_path


def run(folder, num_ranks, results, *options, **env):
    """Run it; give how it ended, the record, and how often each operation was called with what."""
    calls = folder / f"{results}.calls"
    ended = mpiflow(num_ranks, "outer.yaml", "--results", results, "--record", "run.json", *options, cwd=folder,
                    env={"CALLS": str(calls), **env})
    return ended, json.loads((folder / "run.json").read_text()), Counter(calls.read_text().splitlines())


def contents(file):
    with h5py.File(file) as opened:
        found = {}
        opened.visititems(lambda name, item: found.update({name: item[()].tobytes()}) if isinstance(item, h5py.Dataset) else None)
        return found


def test_a_run_that_failed_two_documents_deep_goes_on_with_what_is_missing_on_another_number_of_ranks(folder):
    ended, _, whole = run(folder, None, "whole", "--no-save")
    assert ended.status == 0, ended.err
    assert whole == {**{f"prepared {k}": 1 for k in (1, 2, 3)}, **{f"part {j}": 3 for j in range(4)}, "relaxed": 9,
                     **{f"closed {k}": 1 for k in (1, 2, 3)}}, "2, 3 and 4 turns"
    ended, _, calls = run(folder, 2, "first", "--keep-going", BROKEN="")
    assert ended.status == 1 and "step 'each.deep.closed[k=2]' failed" in ended.err and calls == whole
    ended, record, calls = run(folder, 3, "second", "--resume")
    assert (ended.status, ended.err) == (0, "")
    assert calls == {"closed 2": 1}
    kept = {step for step, reason in record["reasons"].items() if reason == "kept"}
    assert kept == {"each.start", "each.settle", "each.settle.y", "each.deep.parts"}
    assert contents(folder / "second" / "all.h5") == contents(folder / "whole" / "all.h5")
    assert len(contents(folder / "whole" / "all.h5")) == 4

"""A small store made by a real run on two ranks, and the command line in this process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from launching import Ended, ran_in

from mpiflow.cli.main import main

OPS = '''
import time
import numpy as np
from mpiflow import operation

@operation(elementwise=True)
def scaled(x, k=1.0):
    """Scale it."""
    time.sleep(0.02)                    # long enough to be worth saving
    return x * k

@operation
def stats(x):
    time.sleep(0.02)
    return {"mean": x.mean(axis=0), "std": x.std(axis=0)}
'''
WORKFLOW = """
mpiflow: 1
name: small
params: {k: 2.0}
operations: [ops.py]
datasets: {x: {random: {shape: [3000, 4], seed: 1}, blocks: 3}}
steps:
  big: {run: "scaled(x, k=$k)", tags: [md], unit: angstrom}
  st: {run: stats(big), tags: [result, md]}
  sweep: {for: {T: [1, 2]}, run: "scaled(big, k=$T)", tags: [sweep]}
  quick: mean(x)
  hidden: quick + 1
results: {st: out/st.h5, quick: out/quick.npy, sweep.*: out/sweep.h5}
"""


@pytest.fixture(scope="session")
def ran(tmp_path_factory) -> Path:
    """The folder of a run: workflow, store, results, and its record; not to be changed."""
    return ran_in(tmp_path_factory.mktemp("ran"), 2, WORKFLOW, OPS, "record.json")


@pytest.fixture
def command(capsys, monkeypatch):
    """Run ``mpiflow`` in this process, in a folder."""
    def run(*words: object, cwd: Path | None = None) -> Ended:
        if cwd:
            monkeypatch.chdir(cwd)
        capsys.readouterr()
        status = main([os.fspath(word) if isinstance(word, Path) else str(word) for word in words])
        return Ended(status, *capsys.readouterr())
    return run

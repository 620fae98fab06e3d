"""Workflows made by chance for the chaos runs: several layers over blocks, reductions, and results in two formats."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import h5py
import msgspec
import numpy as np
import yaml

from mpiflow.catalog.catalog import merge_sources
from mpiflow.peer.reading import read
from mpiflow.planning.lowering import lower

_RECENT = 4             # steps that a new one may take as its input
OPERATIONS = '''\
"""Operations that take time: one waits, as for a disk; one computes."""

import time

import numpy as np

from mpiflow import operation


@operation(linear=True, combine="concatenate", nbytes=lambda nbytes: nbytes, seconds=lambda nbytes, pause: pause)
def wave(x, pause=0.0, k=1.0):
    """Make waves of x, like x."""
    time.sleep(pause)
    return np.sin(k * x) + x


@operation(elementwise=True)
def grind(x, rounds=1):
    """Fold x again and again, like x; the planner is not told how long it takes."""
    for _ in range(rounds):
        x = np.cos(3 * x)
    return x


@operation(linear=True, seconds=lambda nbytes, pause: pause)
def total(x, pause=0.0):
    """Sum over rows."""
    time.sleep(pause)
    return x.sum(axis=0)
'''


def make_workflow(seed: int, folder: Path, num_tasks: int = 300, seconds: float = 0.04) -> Path:
    """Write a workflow of at least ``num_tasks`` tasks that take ``seconds`` [s] each on average; give its file."""
    chance = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ops.py").write_text(OPERATIONS)
    blocks = chance.randint(8, 16)
    rows = blocks * chance.choice([30, 300, 1000])
    document = {
        "mpiflow": 1, "name": f"chaos-{seed}", "operations": ["ops.py"],
        "datasets": {name: {"normal": {"shape": [rows, 8], "seed": number}, "blocks": blocks, "replicas": 1 + seed % 2}
                     for number, name in enumerate("abc")},
        "steps": {}, "results": {}}
    file = folder / "workflow.yaml"
    wide, narrow = list("abc"), []
    ends: dict[str, None] = {}                  # steps of which nothing is made: the results
    for number, step in enumerate(_steps(chance, wide, narrow, seconds)):
        name = f"s{number}"
        document["steps"][name] = {"run": step, "replicas": 2 + number % 2} if seed % 2 and number % 4 == 0 else step
        (narrow if step.startswith("total") else wide).append(name)
        ends = {end: None for end in (*ends, name) if not re.search(rf"\b{end}\b", step)}
        document["results"] = {end: f"{end}.npy" if place % 2 else "all.h5" for place, end in enumerate(ends)}
        file.write_text(yaml.safe_dump(document, sort_keys=False))
        if number % 3 == 0 and _num_tasks(file) >= num_tasks:
            return file
    raise AssertionError


def _steps(chance: random.Random, wide: list[str], narrow: list[str], seconds: float) -> Iterator[str]:
    """Give one expression after the other, of what was made before."""
    while True:
        x, y = (chance.choice(wide[-_RECENT:]) for _ in range(2))
        pause = round(chance.uniform(0, 2 * seconds), 4)
        kind = chance.choice(["wave", "wave", "grind", "total", "add", "centre"])
        if kind == "wave":
            yield f"wave({x}, pause={pause}, k={chance.randint(1, 5)})"
        elif kind == "grind":
            yield f"grind({x}, rounds={chance.randint(1, 50)})"
        elif kind == "total":
            yield f"total({x}, pause={pause})"
        elif kind == "centre" and narrow:
            yield f"{x} - 0.001 * {chance.choice(narrow[-_RECENT:])}"
        elif x != y:
            yield f"{x} - 0.5 * {y}"


def _num_tasks(file: Path) -> int:
    local = read(file, {}, 0)
    assert not local.complaints, local.complaints
    return len(lower(local.workflow, local.registry, merge_sources(
        [msgspec.structs.replace(entry, holders=(0,)) for entry in local.sources]), 1).tasks)


def numbers(results: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Give dtype, shape and bytes of everything in the files of results."""
    found: dict[str, np.ndarray] = {}
    for file in sorted(results.iterdir()):
        if file.suffix == ".npy":
            found[file.name] = np.load(file)
        elif file.suffix == ".h5":
            with h5py.File(file) as opened:
                opened.visititems(lambda name, item, file=file: found.update({f"{file.name}:{name}": item[...]})
                                  if isinstance(item, h5py.Dataset) else None)
    return {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in found.items()}

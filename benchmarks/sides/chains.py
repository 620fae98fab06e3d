"""The workflows of ``approaches.py`` as chains of tasks, for approaches that know nothing of linear operations.

The datasets are D1 to DN; the answer is called ``answer``. Functions are those of the thesis's scenarios.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "scenarios"))
from ops import GROUPS, group_medians, group_sums, halve, real2bin

WORKFLOWS = ("linear", "nonlinear", "mixed")


class Task(NamedTuple):
    """A function of whole arrays.

    Attributes:
        name: Of its result.
        function: Arrays to an array.
        needs: Names of its arguments.
        dtype: Of its result.
        size: Of its result [elements].
    """

    name: str
    function: Callable[..., np.ndarray]
    needs: tuple[str, ...]
    dtype: str
    size: int

    def run(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Give the result."""
        return np.ascontiguousarray(self.function(*arrays), self.dtype)


def total(*arrays: np.ndarray) -> np.ndarray:
    """The sum, element by element."""
    return functools.reduce(np.add, arrays)


def medians_of_total(*arrays: np.ndarray) -> np.ndarray:
    """The medians of the sum."""
    return group_medians(total(*arrays))


def chain(workflow: str, num: int, size: int) -> list[Task]:
    """Give the tasks of a workflow over ``num`` datasets of ``size`` elements, each behind those that it needs."""
    data = tuple(f"D{number}" for number in range(1, num + 1))
    if workflow == "nonlinear":
        return [Task("answer", medians_of_total, data, "f8", GROUPS)]
    if workflow == "linear":
        parts = [Task(f"part-{name}", real2bin, (name,), "i8", GROUPS) for name in data]
        return [*parts, Task("answer", total, tuple(task.name for task in parts), "i8", GROUPS)]
    halves = [Task(f"half-{name}", halve, (name,), "f8", size) for name in data[1:]]
    parts = [Task(f"part-{name}", group_sums, (name,), "f8", GROUPS) for name in (data[0], *(task.name for task in halves))]
    return [*halves, *parts, Task("answer", total, tuple(task.name for task in parts), "f8", GROUPS)]


def dataset(number: int, size: int) -> np.ndarray:
    """Give the numbers of dataset ``number``: ``size`` uniform ones."""
    return np.random.default_rng(number).random(size)


def answer(workflow: str, num: int, size: int) -> np.ndarray:
    """Compute the answer here and now."""
    known = {f"D{number}": dataset(number, size) for number in range(1, num + 1)}
    for task in chain(workflow, num, size):
        known[task.name] = task.run([known[name] for name in task.needs])
    return known["answer"]

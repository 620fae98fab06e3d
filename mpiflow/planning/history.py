"""What earlier runs have shown of operations, by the size of their inputs; the next plan rests on it. Pure.

What an operation declares of itself goes before; what nobody declares is learned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mpiflow.catalog.entries import Seen, TaskEntry
from mpiflow.catalog.states import State
from mpiflow.operations.registry import BUILTIN, Registry
from mpiflow.planning.tasks import Kind, Task, TaskGraph

SIZES = 32          # sizes remembered of one operation
NEAR = 4.0          # a size is judged by one that is at most so many times larger or smaller
_KINDS = (Kind.APPLY, Kind.COMBINE, Kind.FINISH)

Key = tuple[str, str, str]


def _key(task: Task, registry: Registry) -> Key | None:
    """Kind, operation and its code; None for what is not learned."""
    if task.kind not in _KINDS:
        return None
    return task.kind, task.operation, registry[task.operation].code


def merge(histories: Iterable[Sequence[Seen]]) -> tuple[Seen, ...]:
    """Join the histories of ranks; where two differ, the first one counts."""
    found: dict[tuple[str, str, str, int], Seen] = {}
    for seen in histories:
        for item in seen:
            found.setdefault((item.kind, item.operation, item.code, item.size), item)
    return tuple(found[key] for key in sorted(found))


def concerning(history: Iterable[Seen], registry: Registry) -> tuple[Seen, ...]:
    """Give what a history says of the operations that a document may name, as their code is now."""
    return tuple(item for item in history if item.operation in registry and registry[item.operation].code == item.code)


def expectations(graph: TaskGraph, registry: Registry, history: Sequence[Seen]) -> tuple[list[float], list[int]] | None:
    """Give run time [s] and size [bytes] of each task as the history has them, else as the task says; None if it has none."""
    by_key: dict[Key, list[Seen]] = {}
    for item in history:
        by_key.setdefault((item.kind, item.operation, item.code), []).append(item)
    if not by_key:
        return None
    seconds = [task.seconds for task in graph.tasks]
    nbytes = [task.nbytes for task in graph.tasks]
    for number, task in enumerate(graph.tasks):
        known = by_key.get(_key(task, registry))
        size = sum(nbytes[need] for need in graph.needs[number])
        near = known and _near(known, size)
        if not near:
            continue
        operation, scale = registry[task.operation], size / near.size if near.size else 1.0
        if operation.seconds is None:
            seconds[number] = near.seconds * scale
        if operation.nbytes is None and operation.code != BUILTIN:
            nbytes[number] = round(near.nbytes * scale)
    return seconds, nbytes


def _near(known: Sequence[Seen], size: int) -> Seen | None:
    """The one of nearest size, if it is near enough."""
    def distance(item: Seen) -> float:
        small, large = sorted((item.size, size))
        return large / small if small else 1.0 if large == 0 else float("inf")

    best = min(known, key=lambda item: (distance(item), item.size))
    return best if distance(best) <= NEAR else None


def learned(history: Sequence[Seen], graph: TaskGraph, registry: Registry, entries: Sequence[TaskEntry]) -> tuple[Seen, ...]:
    """Give the history with what a run has shown; of one size, old and new count alike."""
    sums: dict[tuple[Key, int], list[float]] = {}
    for number, (task, entry) in enumerate(zip(graph.tasks, entries, strict=True)):
        key = _key(task, registry)
        if key is None or entry.state is not State.DONE:
            continue
        size = sum(entries[need].nbytes for need in graph.needs[number])
        found = sums.setdefault((key, size), [0, 0.0, 0])
        found[0] += 1
        found[1] += entry.seconds
        found[2] += entry.nbytes
    known = {((item.kind, item.operation, item.code), item.size): item for item in history}
    for (key, size), (num, seconds, nbytes) in sums.items():
        old = known.pop((key, size), None)
        mean = seconds / num if old is None else (seconds / num + old.seconds) / 2
        known[key, size] = Seen(*key, size, mean, round(nbytes / num))
    return _newest(known)


def _newest(known: Mapping[tuple[Key, int], Seen]) -> tuple[Seen, ...]:
    """At most SIZES sizes of each operation, the last ones; ordered."""
    kept: dict[Key, list[Seen]] = {}
    for (key, _), item in known.items():
        kept.setdefault(key, []).append(item)
    return tuple(sorted(item for items in kept.values() for item in items[-SIZES:]))

"""What earlier work spares: blocks that somebody has are taken from there, and what only they needed is left out.

Going on after a crash, after a rank has died, and taking from a cache are one thing: the same graph, and a list of blocks
that need not be made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import StrEnum

from msgspec.structs import replace

from mpiflow.catalog.entries import Holding
from mpiflow.errors import ranges
from mpiflow.planning.estimates import BYTES_PER_SECOND, SECONDS_PER_TASK
from mpiflow.planning.tasks import Kind, Task, TaskGraph
from mpiflow.workflow.programs import kept_files


class Reason(StrEnum):
    """Why a step runs, or does not."""

    KEPT = "kept"
    CODE_CHANGED = "code changed"
    INPUT_CHANGED = "input changed"
    LOST = "lost"
    FORCED = "forced"
    NOT_SAVED = "not saved"     # it ran, but what it made was not worth saving
    NEVER_RAN = "never ran"


_CHANGES = (Reason.CODE_CHANGED, Reason.INPUT_CHANGED)
_SOURCES = (Kind.LOAD, Kind.GONE)


@dataclass(frozen=True)
class Reuse:
    """What is taken from earlier work.

    Attributes:
        holders: For each task whose block need not be made, the ranks that can bring it in.
        nbytes: Size of each such block [bytes].
        reasons: For each step, why it has something to run, or that it is kept.
        damages: What is wrong with stores, for people.
        num_kept: Tasks that need not run.
    """

    holders: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    nbytes: Mapping[int, int] = field(default_factory=dict)
    reasons: Mapping[str, Reason] = field(default_factory=dict)
    damages: tuple[str, ...] = ()
    num_kept: int = 0


def reuse(graph: TaskGraph, holdings: Sequence[Holding], forced: Iterable[str] = (),
          lost: Iterable[str] = ()) -> tuple[TaskGraph, Reuse]:
    """Leave out of ``graph`` what need not run. Pure; task numbers stay as they are.

    Args:
        graph: All tasks of the workflow.
        holdings: What each rank can bring in, in order of rank.
        forced: Steps that run again, with all that depends on them.
        lost: Ids of blocks that turned out to be damaged.

    Returns:
        The graph, in which a block that is needed and held somewhere is made by a RESTORE task on a rank that holds it, and
        a task that nobody needs any more is KEPT; and what was taken.
    """
    holders, nbytes = _held(holdings)
    forced, lost = frozenset(forced), frozenset(lost)
    again = {number for number, task in enumerate(graph.tasks) if task.step in forced}
    again |= graph.descendants(again)
    damaged = {number for number, task in enumerate(graph.tasks) if task.id in lost}
    missing = damaged.union(*[holding.lost for holding in holdings])
    saved = holders.keys() | missing
    for task in (again | damaged) & holders.keys():
        del holders[task]
    run, restored = _needed(graph, holders)
    for task in run & holders.keys():
        del holders[task]
    tasks = [task if number in run else
             _restoring(task, holders[number], nbytes[number], len(holdings)) if number in restored else _kept(task)
             for number, task in enumerate(graph.tasks)]
    spared = Reuse({task: tuple(ranks) for task, ranks in sorted(holders.items())}, nbytes,
                   _reasons(graph, run, again, missing, saved, _changed(holdings)), _damages(holdings), len(tasks) - len(run))
    return TaskGraph(tasks, graph.datasets, graph.written, graph.pairs, graph.instances), spared


def _held(holdings: Sequence[Holding]) -> tuple[dict[int, list[int]], dict[int, int]]:
    """For each block that somebody holds, who does, and its size [bytes]."""
    holders: dict[int, list[int]] = {}
    nbytes: dict[int, int] = {}
    for holding in holdings:
        for task, size in holding.blocks:
            holders.setdefault(task, []).append(holding.rank)
            nbytes[task] = size
    return holders, nbytes


def _needed(graph: TaskGraph, held: Mapping[int, object]) -> tuple[set[int], set[int]]:
    """Walk from the tasks that leave something: those that must run, and those whose blocks are brought in for them."""
    named = {task for entry in graph.datasets.values() for task in entry.tasks}
    run = {task for task, consumers in enumerate(graph.consumers)
           if task not in held and (not consumers or kept_files(graph.tasks[task].parameters)) and _leaves(graph, task, named)}
    restored: set[int] = set()
    stack = sorted(run)
    while stack:
        number = stack.pop()
        together = [part for part in graph.teams.get(number, ()) if part not in run]    # it runs on all its ranks, or on none
        for need in (*graph.needs[number], *together):
            if need in held and need not in together:
                restored.add(need)
            elif need not in run:
                run.add(need)
                stack.append(need)
    return run, restored - run


def _leaves(graph: TaskGraph, task: int, named: Set[int]) -> bool:
    """Whether a task that nobody needs leaves something: a part does if its operation does, and has no better part for it."""
    team = graph.teams.get(task, ())
    return not any(graph.consumers[part] for part in team) and (task in named or not named.intersection(team))


def _restoring(task: Task, ranks: Sequence[int], nbytes: int, size: int) -> Task:
    return replace(task, kind=Kind.RESTORE, inputs=(), rows=None, part=None, nbytes=nbytes,
                   seconds=SECONDS_PER_TASK + nbytes / BYTES_PER_SECOND, ranks=None if len(ranks) == size else tuple(ranks))


def _kept(task: Task) -> Task:
    return replace(task, kind=Kind.KEPT, inputs=(), rows=None, part=None, ranks=None, nbytes=0, seconds=0.0, replicas=1)


def _changed(holdings: Sequence[Holding]) -> dict[str, Reason]:
    """What is different with each step that ran before in another way; the lowest rank knows best."""
    return {step: Reason(word) for holding in reversed(holdings) for step, word in holding.changed}


def _reasons(graph: TaskGraph, run: Set[int], again: Set[int], missing: Set[int], saved: Set[int],
             changed: Mapping[str, Reason]) -> dict[str, Reason]:
    """Say of each step why it has something to run, the first reason that applies; datasets are no steps.

    Args:
        graph: All tasks.
        run: Those that run.
        again: Those that were forced, themselves or by what they need.
        missing: Those whose blocks were saved, but cannot be had any more.
        saved: Those whose blocks were saved.
        changed: What is different with steps that ran before in another way.
    """
    running: dict[str, list[int]] = {}
    for number, task in enumerate(graph.tasks):
        if task.kind not in _SOURCES:
            running.setdefault(task.step, []).extend([number] if number in run else [])
    before, ran = {graph.tasks[task].step for task in saved}, _needed_by(graph, saved)
    reasons: dict[str, Reason] = {}
    for step, tasks in running.items():
        needed = {graph.tasks[need].step for task in tasks for need in graph.needs[task]}
        if not tasks:
            reasons[step] = Reason.KEPT
        elif not again.isdisjoint(tasks):
            reasons[step] = Reason.FORCED
        elif not missing.isdisjoint(tasks):
            reasons[step] = Reason.LOST
        elif step in changed and step not in before:
            reasons[step] = changed[step]
        elif not ran.isdisjoint(tasks):
            reasons[step] = Reason.NOT_SAVED
        elif step not in before and any(reasons.get(other) in _CHANGES for other in needed):
            reasons[step] = Reason.INPUT_CHANGED
        else:
            reasons[step] = Reason.NEVER_RAN
    return reasons


def _needed_by(graph: TaskGraph, tasks: Set[int]) -> set[int]:
    """Every task that one of ``tasks`` needs, directly or not."""
    found: set[int] = set()
    for number in range(len(graph.tasks) - 1, -1, -1):
        if number in tasks or number in found:
            found.update(graph.needs[number])
    return found


def _damages(holdings: Sequence[Holding]) -> tuple[str, ...]:
    """Each damage once, with the ranks that see it."""
    found: dict[str, list[int]] = {}
    for holding in holdings:
        for damage in holding.damages:
            found.setdefault(damage, []).append(holding.rank)
    return tuple(f"{damage} (rank {ranges(ranks, ',')})" for damage, ranks in found.items())

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
_NO_WORK = (Kind.LOAD, Kind.GONE, Kind.LEFT_OUT)


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
          lost: Iterable[str] = (), wanted: Set[int] = frozenset()) -> tuple[TaskGraph, Reuse]:
    """Leave out of ``graph`` what need not run. Pure; task numbers stay as they are.

    Args:
        graph: All tasks of the workflow.
        holdings: What each rank can bring in, in order of rank.
        forced: Steps that run again, with all that depends on them; of one that is a document, all of its steps.
        lost: Ids of blocks that turned out to be damaged.
        wanted: Tasks whose blocks are to be in memory at the end, whoever needs them.

    Returns:
        The graph, in which a block that is needed and held somewhere is made by a RESTORE task on a rank that holds it, a
        task that nobody needs any more is KEPT, and one that is known to be skipped is LEFT_OUT; and what was taken.
    """
    holders, nbytes = _held(holdings)
    forced, lost = frozenset(forced), frozenset(lost)
    again = {number for number, task in enumerate(graph.tasks) if forced and any(belongs(task, name) for name in forced)}
    again |= graph.descendants(again)
    damaged = {number for number, task in enumerate(graph.tasks) if task.id in lost}
    missing = damaged.union(*[holding.lost for holding in holdings])
    saved = holders.keys() | missing
    for task in (again | damaged) & holders.keys():
        del holders[task]
    ends = [number for number, consumers in enumerate(graph.consumers) if not consumers]
    graph = _decided(graph, holders)
    run, restored = _needed(graph, holders, ends, wanted)
    for task in run & holders.keys():
        del holders[task]
    tasks = [task if number in run else
             _restoring(task, holders[number], nbytes[number], len(holdings)) if number in restored else _kept(task)
             for number, task in enumerate(graph.tasks)]
    spared = Reuse({task: tuple(ranks) for task, ranks in sorted(holders.items())}, nbytes,
                   _reasons(graph, run, again, missing, saved, _changed(holdings)), _damages(holdings),
                   sum(number not in run or task.kind is Kind.LEFT_OUT for number, task in enumerate(graph.tasks)))
    return TaskGraph(tasks, graph.datasets, graph.written, graph.pairs, graph.turns, graph.instances), spared


def belongs(task: Task, name: str) -> bool:
    """Whether a task is one of the step or dataset ``name``, or of a step of the document that this step is."""
    return task.step == name or (task.kind is not Kind.WRITE and task.step.startswith(f"{name}."))


def _held(holdings: Sequence[Holding]) -> tuple[dict[int, list[int]], dict[int, int]]:
    """For each block that somebody holds, who does, and its size [bytes]."""
    holders: dict[int, list[int]] = {}
    nbytes: dict[int, int] = {}
    for holding in holdings:
        for task, size in holding.blocks:
            holders.setdefault(task, []).append(holding.rank)
            nbytes[task] = size
    return holders, nbytes


def _decided(graph: TaskGraph, held: Iterable[int]) -> TaskGraph:
    """Leave out what conditions are known to leave out: a block is held only if all guards before it held."""
    if not any(task.guard for task in graph.tasks):
        return graph
    tasks, known, seen = graph.tasks, {}, set(held)
    stack = sorted(seen)
    while stack:
        number = stack.pop()
        task = tasks[number]
        if task.guard:
            known[task.guard[0]] = task.guard[1]
        sure = [] if task.kind is Kind.WRITE else [need for need in graph.needs[number] if not tasks[need].optional]
        stack += [need for need in sure if need not in seen]
        seen.update(sure)
    gone: set[int] = set()
    graph.skip([number for number, task in enumerate(tasks)
                if task.guard and known.get(task.guard[0], task.guard[1]) is not task.guard[1]], gone)
    return TaskGraph([_left_out(task) if number in gone else
                      replace(task, guard=None) if task.guard and task.guard[0] in known else task
                      for number, task in enumerate(tasks)],
                     graph.datasets, graph.written, graph.pairs, graph.turns, graph.instances)


def _needed(graph: TaskGraph, held: Mapping[int, object], ends: Iterable[int],
            wanted: Set[int]) -> tuple[set[int], set[int]]:
    """Walk from the tasks that leave something: those that must run, and those whose blocks are brought in for them.

    Args:
        graph: All tasks.
        held: Those whose blocks are held.
        ends: Those that nobody needs.
        wanted: Those whose blocks are to be in memory at the end.
    """
    named = {task for entry in graph.datasets.values() for task in entry.tasks}
    keeping = (number for number, task in enumerate(graph.tasks) if kept_files(task.parameters))
    run = {task for task in (*ends, *keeping) if task not in held and _leaves(graph, task, named)}
    run |= wanted - held.keys()
    restored = set(wanted & held.keys())
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
    return replace(task, kind=Kind.RESTORE, inputs=(), rows=None, part=None, guard=None, nbytes=nbytes,
                   seconds=SECONDS_PER_TASK + nbytes / BYTES_PER_SECOND, ranks=None if len(ranks) == size else tuple(ranks))


def _kept(task: Task) -> Task:
    return replace(task, kind=Kind.KEPT, inputs=(), rows=None, part=None, guard=None, ranks=None, nbytes=0, seconds=0.0,
                   replicas=1)


def _left_out(task: Task) -> Task:
    return replace(_kept(task), kind=Kind.LEFT_OUT)


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
        if task.kind not in _NO_WORK:
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

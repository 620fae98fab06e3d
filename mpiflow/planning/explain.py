"""Why each task runs where it does."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from mpiflow.planning.placing import Placing, Weighed
from mpiflow.planning.plan import Plan
from mpiflow.planning.workload import Workload

FEW = 8         # of so many ranks all are shown, beyond these the ones worth looking at


@dataclass(frozen=True, slots=True)
class Choice:
    """The ranks weighed for a task, the one with the earliest end first, and the one chosen."""

    task: int
    rank: int
    reason: str
    weighed: tuple[Weighed, ...]


def explain(plan: Plan, work: Workload, numbers: Iterable[int]) -> list[Choice]:
    """Place all tasks as the plan does, in its order, and note what the ranks would cost for some of them. Pure."""
    machine = dataclasses.replace(work.machine, memory=None)
    placing = Placing(dataclasses.replace(work, machine=machine), weight=0.0)
    wanted, found, why = set(numbers).intersection(work.open), [], reasons(plan)
    for number in plan.order:
        if work.claimed[number] < 0:
            rank = plan.ranks[number]
            if number in wanted:
                weighed = {item.rank: item for item in placing.weigh(number)} | {rank: placing.cost(number, rank)}
                others = (work.pins[number] or range(machine.size))[:FEW]
                weighed |= {other: placing.cost(number, other) for other in others}
                found.append(Choice(number, rank, why[number], tuple(sorted(weighed.values()))))
            placing.place(number, rank)
    return sorted(found, key=lambda choice: choice.task)


def reasons(plan: Plan) -> list[str]:
    """Say in a few words what speaks for each task's rank."""
    found = [""] * len(plan.ranks)
    brought: set[tuple[int, int]] = set()
    for number in plan.order:
        new = {(needed, plan.ranks[number]) for needed in plan.graph.needs[number]
               if plan.ranks[needed] != plan.ranks[number]} - brought
        brought |= new
        found[number] = _reason(plan, number, bool(new))
    return found


def _reason(plan: Plan, number: int, brought: bool) -> str:
    """``brought``: whether something moves to this rank for this task first of all."""
    task, rank, needs = plan.graph.tasks[number], plan.ranks[number], plan.graph.needs[number]
    if task.ranks is not None and len(task.ranks) == 1:
        return "the only rank that may"
    if not needs:
        return "free first"
    held: dict[int, int] = {}
    for needed in needs:
        held[plan.ranks[needed]] = held.get(plan.ranks[needed], 0) + plan.estimates.nbytes[needed]
    if set(held) == {rank}:
        return "inputs made there"
    if not brought:
        return "inputs there anyway"
    return "most bytes there" if held.get(rank) == max(held.values()) else "free sooner"

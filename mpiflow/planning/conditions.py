"""Tasks that run only if something holds: those of steps with ``when``, and the turns of steps with ``repeat``.

All turns that a step may have are in the graph from the start, and the catalog cuts off what does not run. Each turn has a GATE,
which finds out whether ``until`` holds. What a turn gives the next one, and what the last turn gives to others, goes through
PASS tasks with that gate as their guard, the former if it says no, the latter if it says yes::

    turn 1 --> until? --no--> PASS --> turn 2 --> until? --no--> PASS --> turn 3 ...
                      --yes-> PASS --.            --yes-> PASS --.
                                      `----------------------------`--> PASS: the one that is there

So the next turn starts as soon as the block of the gate is there, as with any other input: no epoch is waited for. When a gate
says yes, the rank of the next PASS tells all others, who skip all turns that are left in the epoch in which they hear of it.

Why the graph does not grow turn by turn instead: the numbers and the order of tasks, the executor and the catalog would have to
grow while blocks move; a new plan for each turn would wait for an epoch, which takes as long as the busiest rank stays away from
it; and when all turns are there before the run, so are their ids, by which ``--resume`` finds what any of them has made. What
does not depend on what is fed is in the graph once, since equal recipes are one task. The price is planning, for each task of
each possible turn, and a predicted time that is an upper limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import networkx as nx
from msgspec.structs import replace

from mpiflow.errors import InternalError
from mpiflow.planning.blocks import Blocks
from mpiflow.planning.estimates import SECONDS_PER_TASK, Estimates, Expected
from mpiflow.planning.tasks import Input, Kind, TaskGraph
from mpiflow.workflow.repeating import Repetition

Guard = tuple[int, bool]        # a GATE task, and what it must have found
Named = dict[str, Blocks]
SEVERAL = (-1, False)           # stands for several guards


class Conditions:
    """The guards of a graph under construction."""

    def __init__(self, graph: TaskGraph, estimates: Estimates, add: Callable[..., int], fail: Callable[[str], None],
                 skips: Callable[[str], bool]) -> None:
        """Prepare.

        Args:
            graph: What tasks are added to.
            estimates: What is expected of tasks.
            add: Adds a task, or gives the number of the one with the same recipe.
            fail: Takes what is wrong with the current step.
            skips: Whether a task of a step that fails counts as skipped.
        """
        self._graph, self._estimates, self._add, self._fail, self._skips = graph, estimates, add, fail, skips
        self.guard: Guard | None = None         # what new tasks depend on
        self.causes: dict[int, Guard] = {}      # of tasks that may be skipped: the guard that they depend on
        self._failing: set[int] = set()         # those that may be because a task has failed
        self._around: dict[Guard, Guard | None] = {}        # the guard that the condition of a guard depends on

    # Guards

    def needed(self, kind: Kind, inputs: Iterable[Input]) -> Guard | None:
        """Give the guard that a new task must have itself: not one of which its inputs see to it already."""
        if self.guard is None or kind in (Kind.LOAD, Kind.WRITE):
            return None
        known = any(self._depends(self.causes.get(task), self.guard) for item in inputs for task in item.tasks)
        return None if known else self.guard

    def within(self, guard: Guard) -> Guard | None:
        """From now on, new tasks depend on ``guard``; give the one that they depended on."""
        around, self.guard = self.guard, guard
        self._around.setdefault(guard, around)
        return around

    def _depends(self, guard: Guard | None, other: Guard) -> bool:
        """Whether ``guard`` can hold only if the other does."""
        while guard is not None and guard != other:
            guard = self._around.get(guard)
        return guard is not None

    def _least(self, guards: set[Guard]) -> Guard:
        """The one guard that can hold only if all others do; SEVERAL if none is like that."""
        return next((guard for guard in sorted(guards) if all(self._depends(guard, other) for other in guards)), SEVERAL)

    def note(self, number: int) -> None:
        """Remember of a new task whether it may be skipped, and why."""
        task = self._graph.tasks[number]
        given = {self.causes[need] for need in task.needs if need in self.causes}
        if task.guard is not None:
            given = {task.guard}                # which depends on all that is around it
        if self._skips(task.step) and task.kind not in (Kind.LOAD, Kind.GATE, Kind.PASS, Kind.WRITE):
            self._failing.add(number)
            given.add(SEVERAL)
        elif not self._failing.isdisjoint(task.needs):
            self._failing.add(number)
        if given:
            self.causes[number] = self._least(given)
            if any(len(item.tasks) == 1 and self._graph.tasks[item.tasks[0]].optional for item in task.inputs):
                self._graph.tasks[number] = replace(self._graph.tasks[number], optional=True)

    def common(self, tasks: Iterable[int]) -> Guard | None:
        """Give a guard that tells for all of ``tasks`` together, and for the step, whether they are skipped; None if none may be.

        Raises:
            ValueError: There is no such guard.
        """
        found = {self.causes[task] for task in tasks if task in self.causes} | ({self.guard} if self.guard else set())
        if found and self._least(found) == SEVERAL:
            raise ValueError
        return self._least(found) if found else None

    def gate(self, blocks: Blocks, key: str, limit: int | None = None) -> int:
        """Add the task that finds out whether a condition holds; with a ``limit`` of turns, it fails if it does not."""
        inputs = (Input("", blocks.tasks),)
        if len(blocks.tasks) > 1 or self._estimates.several(blocks.tasks[0]):
            self._fail(f"{key!r} must give one value, true or false; it gives an array")
        parameters = (("key", key), *((("at_most", limit),) if limit else ()))
        return self._add(Kind.GATE, "", inputs, parameters, Expected(1, SECONDS_PER_TASK))

    def settled(self, holds: bool, key: str) -> int:
        """Add the same for a condition without datasets."""
        return self._add(Kind.GATE, "", (), (("key", key), ("holds", holds)), Expected(1, SECONDS_PER_TASK))

    def guarded(self, blocks: Blocks) -> Blocks:
        """Give blocks that are skipped when the guard in force does not hold."""
        if self.guard is None or all(self.causes.get(task) == self.guard for task in blocks.tasks):
            return blocks
        return self.passed(blocks, None)

    def passed(self, blocks: Blocks, guard: Guard | None, nbytes: int | None = None) -> Blocks:
        """Give blocks that are skipped when ``guard`` does not hold, or the one in force; ``nbytes`` is expected of each."""
        return Blocks(tuple([self._pass((task,), guard, nbytes) for task in blocks.tasks]), blocks.starts)

    def _fed(self, blocks: Blocks, guard: Guard, first: Blocks) -> Blocks:
        """What a turn gives the next one; all turns are expected to give as much as the first one, or guesses would add up."""
        if len(blocks.tasks) != len(first.tasks):
            return self.passed(blocks, guard)
        nbytes = [self._graph.tasks[task].nbytes for task in first.tasks]
        return Blocks(tuple([self._pass((task,), guard, size) for task, size in zip(blocks.tasks, nbytes, strict=True)]),
                      blocks.starts)

    def _pass(self, tasks: tuple[int, ...], guard: Guard | None, nbytes: int | None = None) -> int:
        expected = self._estimates.handed(tasks[-1])
        around = self.guard
        if guard is not None:
            self.guard = guard
            self._around.setdefault(guard, around)
        if nbytes is not None:
            expected = expected._replace(nbytes=nbytes)
        number = self._add(Kind.PASS, "", (Input("", tasks),), (), expected)
        self.guard = around
        return number

    # Instances

    def join(self, found: Sequence[Blocks]) -> None:
        """These are instances of one step: what joins them does without those that are skipped."""
        tasks = self._graph.tasks
        for blocks in found if self.causes and len(found) > 1 else ():
            if len(blocks.tasks) > 1 and not self._failing.isdisjoint(blocks.tasks):
                self._fail(f"an instance has {len(blocks.tasks)} blocks, of which some may fail and others not: with 'on-error: "
                           "skip' it must be one block")
            for task in blocks.tasks:
                if task in self.causes:
                    tasks[task] = replace(tasks[task], optional=True)

    def refuse_gaps(self, what: str, blocks: Iterable[int]) -> None:
        """Note an operation on neighbours of blocks that may not be there."""
        if any(self._graph.tasks[task].optional for task in blocks if task in self.causes):
            self._fail(f"{what} needs all blocks, and instances of what it is given may be skipped")

    # Turns

    def turns(self, shown: str, repetition: Repetition, first: Named | None, turn: Callable[[int, Named | None], Named],
              evaluate: Callable[[Any], Blocks]) -> tuple[Named, list[Named]]:
        """Add all turns of a repeated step; give what the first one makes, and the end of each, for ``last``.

        Args:
            shown: The step and its instance, for people.
            repetition: How it is repeated.
            first: What the first turn is fed; None if it sees to that itself.
            turn: Adds the tasks of a turn, which is fed what it is given; gives what it makes.
            evaluate: Gives the blocks of an expression over that.
        """
        around, fed, given, gates, made, ends = self.guard, first, {}, [], [], []
        most = repetition.at_most
        for number in range(1, most + 1):
            made.append(turn(number, fed))
            until = evaluate(repetition.until)
            limit = most if number == most and not repetition.accepts else None
            gates.append(self.gate(until, "until", limit))
            if number < most:
                ends.append(self._ended(made[-1], (gates[-1], True), 0))
                self.guard = around
                fed = {}
                for name, item in repetition.feed.items():
                    blocks = evaluate(item)
                    fed[name] = self._fed(blocks, (gates[-1], False), given.setdefault(name, blocks))
        ends.append(self._ended(made[-1], None if repetition.accepts else (gates[-1], True)))
        self._graph.turns[shown] = tuple(gates)
        return made[0], ends

    def _ended(self, made: Named, guard: Guard | None, nbytes: int | None = None) -> Named:
        """What a turn gives to others, if it is the last one; all but the last possible one are not expected to be."""
        ended = {name: self.passed(blocks, guard, nbytes) for name, blocks in made.items()}
        tasks = self._graph.tasks
        for task in (task for blocks in ended.values() for task in blocks.tasks):
            tasks[task] = replace(tasks[task], optional=True)
        return ended

    def last(self, name: str, first: Blocks, ends: Sequence[Blocks]) -> Blocks:
        """Give what is there of the ends of all turns, which have what the first one has."""
        nums = {len(end.tasks) for end in ends}
        if len(nums) > 1:
            self._fail(f"{name!r} has {' or '.join(map(str, sorted(nums)))} blocks, depending on the turn; give the first turn "
                       "what is cut into as many blocks as what is fed")
            return ends[-1]
        starts = ends[0].starts if all(end.starts == ends[0].starts for end in ends) else None
        tasks = tuple([self._pass(numbers, None) for numbers in zip(*[end.tasks for end in ends], strict=True)])
        for task, one in zip(tasks, first.tasks, strict=False):         # one of the ends is there, unless the first turn was not
            self.causes.pop(task, None)
            if one in self.causes:
                self.causes[task] = self.causes[one]
        return Blocks(tasks, starts)


def in_order(graph: nx.DiGraph, groups: Mapping[str, Sequence[str]]) -> list[str]:
    """Order names so that each comes after what it needs; the members of a group, which are done together, stand under its name.

    Raises:
        InternalError: Names depend on each other.
        ValueError: A group depends on itself; its name is given.
    """
    owners: dict[str, str] = {}
    for group, members in sorted(groups.items(), key=lambda item: -len(item[1])):        # outer ones first
        for member in members:
            owners.setdefault(member, group)
    whole = nx.relabel_nodes(graph, owners) if owners else graph
    if owners:
        whole.remove_edges_from(list(nx.selfloop_edges(whole)))
    try:
        return list(nx.lexicographical_topological_sort(whole))
    except nx.NetworkXUnfeasible:
        inside = next((name for part in nx.strongly_connected_components(whole) if len(part) > 1 for name in sorted(part)
                       if name in groups), None)
        if inside is None:
            raise InternalError("names depend on each other") from None
        raise ValueError(inside) from None

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
from mpiflow.planning.construction import Construction
from mpiflow.planning.estimates import SECONDS_PER_TASK, Expected
from mpiflow.planning.guards import Guard
from mpiflow.planning.tasks import Input, Kind
from mpiflow.workflow.repeating import Repetition

Named = dict[str, Blocks]


class Conditions:
    """Makes the GATE and PASS tasks of a graph under construction.

    Args:
        construction: The graph.
        fail: Takes what is wrong with the step at hand; ``key`` if its name is to be pointed at.
    """

    def __init__(self, construction: Construction, fail: Callable[..., None]) -> None:
        self._graph, self._guards, self._estimates = construction.graph, construction.guards, construction.estimates
        self._add, self._fail = construction.add, fail

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
        guard, causes = self._guards.in_force, self._guards.causes
        if guard is None or all(causes.get(task) == guard for task in blocks.tasks):
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
        around = self._guards.in_force if guard is None else self._guards.within(guard)
        if nbytes is not None:
            expected = expected._replace(nbytes=nbytes)
        number = self._add(Kind.PASS, "", (Input("", tasks),), (), expected)
        self._guards.in_force = around
        return number

    # Instances

    def join(self, found: Sequence[Blocks]) -> None:
        """These are instances of one step: what joins them does without those that are skipped."""
        tasks = self._graph.tasks
        for blocks in found if self._guards.causes and len(found) > 1 else ():
            if len(blocks.tasks) > 1 and not self._guards.failing.isdisjoint(blocks.tasks):
                self._fail(f"an instance has {len(blocks.tasks)} blocks, of which some may fail and others not: with 'on-error: "
                           "skip' it must be one block")
            for task in blocks.tasks:
                if task in self._guards.causes:
                    tasks[task] = replace(tasks[task], optional=True)

    def refuse_gaps(self, what: str, blocks: Iterable[int]) -> None:
        """Note an operation on neighbours of blocks that may not be there."""
        if any(self._graph.tasks[task].optional for task in blocks if task in self._guards.causes):
            self._fail(f"{what} needs all blocks, and instances of what it is given may be skipped")

    def common(self, what: str, blocks: Iterable[int]) -> Guard | None:
        """Give the guard that tells whether all blocks that a parallel operation is given are skipped; None if none may be."""
        try:
            return self._guards.common(blocks)
        except ValueError:
            self._fail(f"{what} is a parallel operation, and parts of what it is given may be skipped while others are not; its "
                       "ranks would wait for each other", key=True)
            return None

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
        around, fed, given, gates, made, ends = self._guards.in_force, first, {}, [], [], []
        most = repetition.at_most
        for number in range(1, most + 1):
            made.append(turn(number, fed))
            until = evaluate(repetition.until)
            limit = most if number == most and not repetition.accepts else None
            gates.append(self.gate(until, "until", limit))
            if number < most:
                ends.append(self._ended(made[-1], (gates[-1], True), 0))
                self._guards.in_force = around
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
            self._guards.liken(task, one)
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

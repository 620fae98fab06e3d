"""The graph under construction: tasks with the same recipe are one task, so what is asked for twice is computed once. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from mpiflow.catalog.catalog import DatasetEntry
from mpiflow.operations.operation import Operation
from mpiflow.operations.registry import Registry
from mpiflow.planning.blocks import Blocks
from mpiflow.planning.estimates import Estimates, Expected, Parameters
from mpiflow.planning.guards import Guard, Guards
from mpiflow.planning.holders import Members
from mpiflow.planning.tasks import Input, Kind, Part, Task, TaskGraph, recipe_id


class Construction:
    """A graph, what is expected of its tasks, and what their being run depends on.

    Args:
        registry: The operations.
        fail: Takes what is wrong with the step at hand.
        skips: The steps whose tasks count as skipped if they fail.

    Attributes:
        graph: The tasks so far.
        step: The step that new tasks belong to, as people know it.
        instance: The instance of its loop, or its turn.
    """

    def __init__(self, registry: Registry, fail: Callable[[str], None], skips: Collection[str]) -> None:
        self.registry, self.fail = registry, fail
        self.graph = TaskGraph()
        self.guards = Guards(self.graph.tasks, skips)
        self.estimates = Estimates(self.graph.tasks, fail)
        self.step = self.instance = ""
        self._numbers: dict[str, int] = {}      # by recipe

    def add(self, kind: Kind, operation: str, inputs: tuple[Input, ...], parameters: Parameters, expected: Expected, *,
            recipe: tuple = (), rows: int | None = None, **fields: Any) -> int:
        """Add a task, or give the number of the one with the same recipe.

        Args:
            kind: What it does.
            operation: The key of its operation; empty if it has none.
            inputs: Its arguments.
            parameters: Its plain arguments.
            expected: What is expected of it.
            recipe: What its id depends on besides.
            rows: Rows that the result must have, if known.
            fields: Those of ``Task`` that its id does not depend on.
        """
        called, code = (self.registry[operation].name, self.registry[operation].code) if operation else ("", "")
        guard = self.guards.needed(kind, inputs)
        identity = recipe_id(kind, called, code, parameters, self._given(inputs), recipe, rows, *self._guard_id(guard))
        number = self._numbers.get(identity)
        if number is None:
            number = self._append(identity, expected, kind, operation, inputs, parameters, rows=rows, guard=guard, **fields)
        return number

    def add_alike(self, operation: Operation, inputs: tuple[Input, ...],
                  instances: Iterable[tuple[str, Parameters]]) -> list[int]:
        """Apply an operation to the same inputs with other plain arguments in each instance: as ``add`` does, in less time."""
        expected = self.estimates.applied(operation, inputs, (), None) if self.estimates.alike(operation, inputs) else None
        given, found = self._given(inputs), []
        for instance, parameters in instances:
            identity = recipe_id(Kind.APPLY, operation.name, operation.code, parameters, given, (), None)
            number = self._numbers.get(identity)
            if number is None:
                right = expected or self.estimates.applied(operation, inputs, parameters, None)
                self.instance = instance
                number = self._append(identity, right, Kind.APPLY, operation.key, inputs, parameters)
            found.append(number)
        return found

    def add_team(self, operation: Operation, members: Members, parameters: Parameters, given: Sequence[tuple[str, Blocks]],
                 guard: Guard | None) -> range:
        """Add a parallel operation on ``given``: one task for each of its members."""
        tasks, num, ranks = self.graph.tasks, len(members.inputs), members.ranks
        ids = [(name, [tasks[task].id for task in blocks.tasks]) for name, blocks in given]
        team = recipe_id("team", operation.name, operation.code, operation.parallel, parameters, ids, members.held or num,
                         *self._guard_id(guard))
        if team not in self._numbers:
            self._numbers[team] = len(tasks)
            for member, inputs in enumerate(members.inputs):
                self._append(recipe_id(team, member), self.estimates.applied(operation, inputs, parameters, None), Kind.APPLY,
                             operation.key, inputs, parameters, part=Part(team, member, ranks), guard=guard,
                             ranks=(ranks[member],) if ranks else None)
        return range(self._numbers[team], self._numbers[team] + num)

    def entry(self, name: str, made_by: str, blocks: Blocks, unit: str = "", tags: Sequence[str] = ()) -> DatasetEntry:
        """Give what the catalog says of the dataset that has these blocks."""
        ids = [self.graph.tasks[task].id for task in blocks.tasks]
        return DatasetEntry(name, recipe_id("blocks", ids), made_by, blocks.tasks, unit, tuple(tags))

    def _given(self, inputs: Sequence[Input]) -> list[tuple]:
        tasks = self.graph.tasks
        return [(item.argument, [tasks[task].id for task in item.tasks], item.cut) for item in inputs]

    def _guard_id(self, guard: Guard | None) -> tuple:
        return () if guard is None else (self.graph.tasks[guard[0]].id, guard[1])

    def _append(self, identity: str, expected: Expected, kind: Kind, operation: str, inputs: tuple[Input, ...],
                parameters: Parameters, **fields: Any) -> int:
        tasks = self.graph.tasks
        self._numbers[identity] = number = len(tasks)
        tasks.append(Task(identity, kind, self.step, operation, inputs, parameters,
                          nbytes=expected.nbytes, seconds=expected.seconds, instance=self.instance, **fields))
        self.estimates.note(number, expected)
        self.guards.note(number)
        return number

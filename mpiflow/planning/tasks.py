"""Tasks and the graph that they form."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

import msgspec
from msgspec import Struct

from mpiflow.catalog.catalog import DatasetEntry
from mpiflow.planning.instances import Instances

_encode = msgspec.json.Encoder(order="deterministic").encode


class Kind(StrEnum):
    """What a task does."""

    LOAD = "load"           # bring a block of a source into memory
    APPLY = "apply"         # run an operation
    COMBINE = "combine"     # merge two partial results
    FINISH = "finish"       # close a merged partial result
    WRITE = "write"         # write results to a file
    WRITE_PART = "write part"   # write some blocks of a result to a file of their own, to which that of the result refers
    RESTORE = "restore"     # bring in a block that was made before
    GONE = "gone"           # fail: whoever saw the source has died
    KEPT = "kept"           # nothing: what it made is not needed any more
    GATE = "gate"           # find out whether a condition holds
    PASS = "pass"           # hand on the block that is there
    LEFT_OUT = "left out"   # nothing: it is known to be skipped


WRITES = (Kind.WRITE, Kind.WRITE_PART)


class Input(Struct, frozen=True):
    """What a task gets as one argument.

    Attributes:
        argument: Name of the argument; empty for a positional one.
        tasks: Tasks whose blocks, joined along axis 0, are the argument.
        cut: (start, stop, total): the rows of a whole dataset of ``total`` rows that belong to this block; a
            value with another number of rows is given whole, and with fewer dimensions if the operation broadcasts.
    """

    argument: str
    tasks: tuple[int, ...]
    cut: tuple[int, int, int] | None = None


class Block(Struct, frozen=True):
    """The part of a source that a LOAD task brings in: rows ``start`` to ``stop`` of a file or of a generator.

    ``stamp`` is the file's size, time of modification and inode, by which a change is noticed.
    """

    dataset: str
    start: int
    stop: int
    file: str = ""
    stamp: tuple[int, ...] = ()


class Part(Struct, frozen=True):
    """The place of a task in a parallel operation, of which each task is one member.

    Attributes:
        team: Id of the whole operation.
        number: This member's number, its rank in the communicator.
        ranks: The ranks of all members, when they are known; each member has one of its own.
    """

    team: str
    number: int
    ranks: tuple[int, ...] = ()


class Task(Struct, frozen=True):
    """One operation on given blocks; makes exactly one block.

    Attributes:
        id: Hash of its recipe.
        kind: What it does.
        step: Dataset, step or result file that it belongs to.
        operation: Name of the operation; empty for LOAD, WRITE and WRITE_PART.
        inputs: Its arguments.
        parameters: Its plain arguments.
        block: What a LOAD task brings in.
        rows: Rows that the result must have, if known.
        ranks: Ranks that can run it; None if any can.
        nbytes: Expected size of the result [bytes].
        seconds: Expected run time [s].
        replicas: Ranks that shall hold its block, so that it outlives some of them.
        instance: Which instance of its step it belongs to, if the step has a loop: T=300,seed=2.
        part: What it is in a parallel operation; None if it runs by itself.
        guard: A GATE task and what it must have found: else this task is skipped.
        optional: Whether those who join its block with others do without it if it is skipped, as instances of a loop are.
    """

    id: str
    kind: Kind
    step: str
    operation: str = ""
    inputs: tuple[Input, ...] = ()
    parameters: tuple[tuple[str, Any], ...] = ()
    block: Block | None = None
    rows: int | None = None
    ranks: tuple[int, ...] | None = None
    nbytes: int = 0
    seconds: float = 0.0
    replicas: int = 1
    part: Part | None = None
    instance: str = ""
    guard: tuple[int, bool] | None = None
    optional: bool = False

    @property
    def name(self) -> str:
        """Step and instance, as people know it: sweep[T=300,seed=2]."""
        return f"{self.step}[{self.instance}]" if self.instance else self.step

    @property
    def needs(self) -> tuple[int, ...]:
        """The tasks whose blocks it reads, each once, ascending; its guard among them."""
        inputs, guard = self.inputs, self.guard
        if guard is None and len(inputs) == 1 and len(inputs[0].tasks) == 1:
            return inputs[0].tasks
        found = {task for item in inputs for task in item.tasks}
        if guard is not None:
            found.add(guard[0])
        return tuple(sorted(found))


@dataclass
class TaskGraph:
    """Tasks in an order in which each comes after those that it needs.

    Attributes:
        tasks: A task's number is its place here.
        datasets: What the document's names stand for.
        written: What the names in result files stand for; instances of a step have one each.
        pairs: For each operation on pairs of blocks, its tasks, each with the tasks that make the two blocks.
        turns: For each step that is repeated, by its name and instance, the GATE task of each turn.
        instances: The instances of each step with a loop.
    """

    tasks: list[Task] = field(default_factory=list)
    datasets: dict[str, DatasetEntry] = field(default_factory=dict)
    written: dict[str, DatasetEntry] = field(default_factory=dict)
    pairs: list[dict[int, tuple[int, int]]] = field(default_factory=list)
    turns: dict[str, tuple[int, ...]] = field(default_factory=dict)
    instances: dict[str, Instances] = field(default_factory=dict)

    @cached_property
    def needs(self) -> list[tuple[int, ...]]:
        """For each task, the tasks whose blocks it reads; kept, so no task may be added afterwards."""
        return [task.needs for task in self.tasks]

    @cached_property
    def consumers(self) -> list[list[int]]:
        """For each task, the tasks that need its block, ascending; kept likewise."""
        consumers: list[list[int]] = [[] for _ in self.tasks]
        for number, needs in enumerate(self.needs):
            for needed in needs:
                consumers[needed].append(number)
        return consumers

    @cached_property
    def replicated(self) -> dict[int, int]:
        """The tasks whose blocks several ranks shall hold, and how many; kept likewise."""
        return {number: task.replicas for number, task in enumerate(self.tasks)
                if task.replicas > 1 and task.kind not in (Kind.GONE, Kind.KEPT)}

    @cached_property
    def teams(self) -> dict[int, tuple[int, ...]]:
        """For each task that is a part of a parallel operation, all parts of that, in order of member; kept likewise."""
        members: dict[str, list[int]] = {}
        for number, task in enumerate(self.tasks):
            if task.part is not None:
                members.setdefault(task.part.team, []).append(number)
        teams = [sorted(team, key=lambda number: self.tasks[number].part.number) for team in members.values()]
        return {number: tuple(team) for team in teams for number in team}

    def skip(self, origins: Iterable[int], gone: set[int]) -> list[int]:
        """Add to ``gone`` what is skipped when ``origins`` are; give the tasks that were added, ascending."""
        found = sorted(set(origins) - gone)
        gone.update(found)
        stack, joining, teams = list(found), set(), self.teams
        while stack or joining:
            if not stack:                       # those that may do without are asked once, when all is known that they may lack
                lost = [task for task in sorted(joining) if task not in gone and without(self.tasks, task, gone)]
                joining.clear()
            else:
                origin = stack.pop()
                consumers = [task for task in self.consumers[origin] if task not in gone]
                joining.update(consumers)
                strict = not self.tasks[origin].optional
                lost = [task for task in consumers if strict and without(self.tasks, task, gone)]
                lost += [task for task in teams.get(origin, ()) if task not in gone]
            gone.update(lost)
            found += lost
            stack += lost
        return sorted(found)

    def descendants(self, origins: set[int]) -> set[int]:
        """Give every task that needs, directly or not, one of ``origins``, and those that cannot run without such a one."""
        found: set[int] = set()
        teams = self.teams
        stack = sorted(origins)
        while stack:
            origin = stack.pop()
            for task in (*self.consumers[origin], *teams.get(origin, ())) if teams else self.consumers[origin]:
                if task not in found:
                    found.add(task)
                    stack.append(task)
        return found


def written_file(task: Task) -> str:
    """Give the path, under the results, that a task writes to."""
    return dict(task.parameters)["file"]


def missing(tasks: Sequence[Task], item: Input, gone: Container[int]) -> bool:
    """Whether nothing can be given for an input when the tasks in ``gone`` have made no blocks."""
    lost = [task for task in reversed(item.tasks) if task in gone]
    return len(lost) == len(item.tasks) or any(not tasks[task].optional for task in lost)


def without(tasks: Sequence[Task], number: int, gone: Container[int]) -> bool:
    """Whether a task cannot run when those in ``gone`` are skipped.

    It runs if it still has something for each argument; one that takes any number of arguments, merges, or writes results, if
    it has one at all.
    """
    task = tasks[number]
    if task.guard is not None and task.guard[0] in gone:
        return True
    lost = [item for item in task.inputs if missing(tasks, item, gone)]
    if not lost or task.kind is Kind.WRITE:
        return bool(lost) and len(lost) == len(task.inputs)
    several = all(not item.argument and all(tasks[number].optional for number in item.tasks) for item in lost)
    return not several or len(lost) == sum(not item.argument for item in task.inputs)


def recipe_id(*parts: Any) -> str:
    """Give the id of what ``parts`` describe: 32 hexadecimal digits, the same on every rank and in every run."""
    return hashlib.blake2b(_encode(parts), digest_size=16).hexdigest()

"""Operations on datasets in blocks become tasks: block by block, on pairs of blocks, by several ranks together, or on the whole.

An operation with a halo runs on each block and the rows around it, one on pairs on each two blocks; see ``neighbours``. What a
linear operation gives for each block is combined along a binary tree over their numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from mpiflow.catalog.entries import SourceEntry
from mpiflow.operations.operation import Operation
from mpiflow.operations.registry import BUILTIN
from mpiflow.planning.blocks import Blocks, joined
from mpiflow.planning.conditions import Conditions
from mpiflow.planning.construction import Construction
from mpiflow.planning.estimates import Parameters
from mpiflow.planning.holders import HOLDERS, Holders, Members
from mpiflow.planning.instances import mentions
from mpiflow.planning.neighbours import Neighbours, told
from mpiflow.planning.tasks import Block, Input, Kind
from mpiflow.planning.teams import shares

Datasets = Sequence[tuple[str, Blocks]]         # and the names of arguments; empty if an operation takes any number


def inputs_of(datasets: Iterable[tuple[str, Blocks]]) -> tuple[Input, ...]:
    """Give whole datasets as inputs of a task."""
    return tuple([Input(name, blocks.tasks) for name, blocks in datasets])


def is_own(operation: Operation, *names: str) -> bool:
    """Whether it is a built-in operation of one of these names."""
    return operation.name in names and operation.code == BUILTIN


class Applying:
    """Adds the tasks of operations to a graph under construction.

    Args:
        construction: The graph.
        conditions: What tasks depend on.
        size: Number of ranks.

    Attributes:
        files: The files that the variables of the instance at hand stand for.
    """

    def __init__(self, construction: Construction, conditions: Conditions, size: int) -> None:
        self._construction, self._conditions, self._size = construction, conditions, size
        self._graph, self._estimates = construction.graph, construction.estimates
        self._neighbours = Neighbours(construction, self._apply)
        self._holders = Holders(construction.graph, size)
        self.files: Sequence[SourceEntry] = ()

    def apply(self, operation: Operation, datasets: Datasets, parameters: Parameters) -> Blocks:
        """Apply an operation that is not linear: block by block if that is the same, else on the whole."""
        if is_own(operation, "concatenate"):
            return joined([blocks for _, blocks in datasets])
        if is_own(operation, "column") and len(datasets) == 1 and len(parameters) == 1:
            return self.column(datasets[0][1], parameters[0][1])
        if operation.elementwise and any(len(blocks.tasks) > 1 for _, blocks in datasets):
            aligned = self._elementwise(operation, datasets, parameters)
            if aligned:
                return aligned
        if operation.halo is not None:
            self._neighbours.extent(operation, parameters)
            parameters = told(operation, parameters, 0, 0)
        return Blocks((self._apply(operation, inputs_of(datasets), parameters),))

    def each(self, operation: Operation, blocks: Blocks, whole: Datasets, parameters: Parameters) -> Blocks:
        """Apply an operation to each block of the argument that it splits; others are given whole."""
        return self._each(operation, operation.first, blocks, whole, parameters)

    def column(self, table: Blocks, name: str) -> Blocks:
        """Take a column of each block; every column of a table of known rows has them."""
        column = self._construction.registry["column"]
        return Blocks(self._each(column, "table", table, (), (("name", name),)).tasks, table.starts)

    def row(self, block: int, index: int) -> Blocks:
        """Take one row of a block."""
        row = self._construction.registry["row"]
        return Blocks((self._apply(row, (Input("x", (block,)),), (("index", index),)),))

    def _each(self, operation: Operation, first: str, blocks: Blocks, whole: Datasets, parameters: Parameters) -> Blocks:
        others = inputs_of(whole)
        around = self._neighbours.around(operation, blocks, parameters)
        if around:
            self._conditions.refuse_gaps(operation.name, blocks.tasks)
        each = around or [((task,), parameters) for task in blocks.tasks]
        return Blocks(tuple([self._apply(operation, (Input(first, mine), *others), given) for mine, given in each]))

    def _elementwise(self, operation: Operation, datasets: Datasets, parameters: Parameters) -> Blocks | None:
        """Apply ``operation`` block by block if all arguments are cut alike, or whole; None if they are not."""
        cut = [blocks for _, blocks in datasets if len(blocks.tasks) > 1]
        pattern, first = cut[0], dict(datasets).get(operation.first)
        alike = all(blocks.tasks == pattern.tasks or (blocks.starts and blocks.starts == pattern.starts) for blocks in cut)
        if not alike or (pattern.starts is None and len(cut) < len(datasets)):
            return None
        around = self._neighbours.around(operation, first, parameters)
        if around:
            self._conditions.refuse_gaps(operation.name, first.tasks)
        if around and len(around) < len(pattern.tasks):
            return None
        tasks, given = [], parameters
        for number in range(len(pattern.tasks)):
            inputs = []
            for name, blocks in datasets:
                if around and name == operation.first:
                    mine, given = around[number]
                    inputs.append(Input(name, mine))
                elif len(blocks.tasks) > 1:
                    inputs.append(Input(name, (blocks.tasks[number],)))
                else:
                    starts = pattern.starts
                    inputs.append(Input(name, blocks.tasks, (starts[number], starts[number + 1], starts[-1])))
            own = self._graph.tasks[first.tasks[number]].nbytes if around else None
            tasks.append(self._apply(operation, tuple(inputs), given, pattern.rows(number), own))
        return Blocks(tuple(tasks), pattern.starts)

    def pairs(self, operation: Operation, datasets: Datasets, parameters: Parameters) -> Blocks:
        """Apply ``operation`` to each pair of blocks; join the results to a matrix, or combine them."""
        self._conditions.refuse_gaps(operation.name, (task for _, blocks in datasets for task in blocks.tasks))
        if not operation.linear:
            return self._neighbours.matrix(operation, dict(datasets), parameters)
        made = self._neighbours.pairs(operation, dict(datasets), parameters)
        return self.close(operation, tuple(made.values()), datasets, parameters)

    def parallel(self, operation: Operation, datasets: Datasets, parameters: Parameters, ranks: int | str) -> Blocks:
        """Add one task on each of so many ranks, or on each that holds blocks; each has its share of the blocks.

        Raises:
            ValueError: A dataset has too few blocks, or others than another one.
        """
        if ranks == HOLDERS:
            members = self._holders.members(operation, datasets)
        else:
            members = Members(shares(inputs_of(datasets), ranks))
        guard = self._conditions.common(operation.name, (task for _, blocks in datasets for task in blocks.tasks))
        team = self._construction.add_team(operation, members, parameters, datasets, guard)
        return Blocks(tuple(team[:1] if operation.parallel == "first" else team))

    # Linear operations

    def close(self, operation: Operation, tasks: Sequence[int], whole: Datasets, parameters: Parameters) -> Blocks:
        """Combine partial results along a binary tree over their numbers, then finish."""
        level = list(tasks)
        while len(level) > 1:
            pairs = [(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
            level = [self._combine(operation, pair) for pair in pairs] + level[2 * len(pairs):]
        if operation.finish is None:
            return Blocks((level[0],))
        wanted = operation.closing
        inputs = (Input("", (level[0],)), *inputs_of(item for item in whole if item[0] in wanted))
        given = tuple(item for item in parameters if item[0] in wanted)
        estimated = operation.estimated_by["finish_nbytes"]
        sizes = inputs_of(item for item in whole if item[0] in estimated and item[0] not in wanted)
        hints = tuple(item for item in parameters if item[0] in wanted or item[0] in estimated)
        expected = self._estimates.finished(operation, inputs, hints, sizes)
        return Blocks((self._construction.add(Kind.FINISH, operation.key, inputs, given, expected),))

    def _combine(self, operation: Operation, pair: tuple[int, int]) -> int:
        inputs = tuple(Input("", (task,)) for task in pair)
        return self._construction.add(Kind.COMBINE, operation.key, inputs, (), self._estimates.combined(operation, inputs))

    # Tasks

    def _apply(self, operation: Operation, inputs: tuple[Input, ...], parameters: Parameters, rows: int | None = None,
               otherwise: int | None = None) -> int:
        expected = self._estimates.applied(operation, inputs, parameters, rows, otherwise)
        read = [entry for entry in self.files if mentions(parameters, entry.file)]
        if not read:
            return self._construction.add(Kind.APPLY, operation.key, inputs, parameters, expected, rows=rows)
        # Where the files that its plain arguments name are seen, and anew when they change.
        seeing = tuple([rank for rank in range(self._size) if all(rank in entry.holders for entry in read)])
        number = self._construction.add(
            Kind.APPLY, operation.key, inputs, parameters, expected,
            recipe=tuple([(entry.file, entry.size, entry.mtime_ns, entry.inode) for entry in read]),
            ranks=None if len(seeing) == self._size else seeing)
        if not seeing:
            task = self._graph.tasks[number]
            block = Block(self._construction.step, 0, 0, read[0].file)
            self._graph.tasks[number] = replace(task, kind=Kind.GONE, ranks=None, block=block)
        return number

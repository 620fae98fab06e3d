"""Operations that need more than one block: which pieces make a block with its halo, which pairs there are, and their tasks."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from mpiflow.operations.operation import Operation
from mpiflow.planning.blocks import Blocks
from mpiflow.planning.construction import Construction
from mpiflow.planning.estimates import BYTES_PER_SECOND, SECONDS_PER_TASK, Expected, Parameters
from mpiflow.planning.tasks import Input, Kind


class Piece(NamedTuple):
    """Rows ``start`` to ``stop`` of a block, counted inside it."""

    block: int
    start: int
    stop: int


class Surroundings(NamedTuple):
    """A block with its halo: the pieces that it is made of, and how many rows lie before and after its own."""

    pieces: tuple[Piece, ...]
    before: int
    after: int


def surroundings(starts: Sequence[int], block: int, before: int, after: int) -> Surroundings:
    """Give a block with up to ``before`` and ``after`` rows of its neighbours, as far as the dataset reaches.

    Args:
        starts: Where each block's rows start, and the number of all rows.
        block: Which one.
        before: Rows wanted before it.
        after: Rows wanted behind it.
    """
    start, stop = starts[block], starts[block + 1]
    low, high = max(starts[0], start - before), min(starts[-1], stop + after)
    first, last = max(bisect_right(starts, low) - 1, 0), bisect_left(starts, high)
    touched = range(min(first, block), max(last, block + 1))
    pieces = [Piece(other, max(low, starts[other]) - starts[other], min(high, starts[other + 1]) - starts[other])
              for other in touched]
    kept = tuple(piece for piece in pieces if piece.stop > piece.start or piece.block == block)
    return Surroundings(kept, start - low, high - stop)


def extent(operation: Operation, parameters: Parameters) -> tuple[int, int]:
    """Give the rows of an operation's halo before and after each block, for a call with these plain arguments.

    Raises:
        ValueError: An argument is no number of rows.
    """
    before, after = [_rows(operation, side, dict(parameters)) for side in operation.sides]
    return before, after


def _rows(operation: Operation, side: int | str, given: dict[str, Any]) -> int:
    if isinstance(side, int):
        return side
    rows = given.get(side, operation.parameters[side].default)
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 0:
        raise ValueError(f"{side} is the number of rows of the halo of {operation.name}: it must be a whole number, 0 or "
                         f"more, not {rows!r}")
    return rows


def told(operation: Operation, parameters: Parameters, *numbers: int) -> Parameters:
    """Add to plain arguments what the function is told: of ``before`` and ``after``, or ``row`` and ``column``, those it has."""
    names = ("row", "column") if operation.pairs else ("before", "after")
    given = dict(zip(names, numbers, strict=True))
    return (*parameters, *((name, given[name]) for name in operation.told))


class Part(NamedTuple):
    """What a pair task gets of a dataset: the tasks that make it, its first row, and its rows, if known."""

    tasks: tuple[int, ...]
    start: int
    rows: int | None


def parts(operation: Operation, tasks: Sequence[int], starts: Sequence[int] | None) -> list[Part]:
    """Give the blocks of a dataset; joined if nobody knows where they start, but the operation is to be told."""
    if starts is not None:
        return [Part((task,), starts[i], starts[i + 1] - starts[i]) for i, task in enumerate(tasks)]
    return [Part(tuple(tasks), 0, None)] if operation.told else [Part((task,), 0, None) for task in tasks]


def pairs(num: int, others: int, half: bool) -> list[tuple[int, int]]:
    """Give all pairs of ``num`` with ``others`` blocks, row by row; only those with i <= j of a symmetric matrix."""
    return [(i, j) for i in range(num) for j in range(i if half else 0, others)]


class Neighbours:
    """Makes the tasks of such operations.

    Args:
        construction: The graph under construction.
        apply: Adds a task that runs an operation.
    """

    def __init__(self, construction: Construction, apply: Callable[..., int]) -> None:
        self._graph, self._add, self._fail, self._apply = construction.graph, construction.add, construction.fail, apply

    def extent(self, operation: Operation, parameters: Parameters) -> tuple[int, int]:
        """Give the rows of a halo, as ``extent`` does, or none if an argument is wrong, which is noted."""
        try:
            return extent(operation, parameters)
        except ValueError as error:
            self._fail(str(error))
            return 0, 0

    def around(self, operation: Operation, blocks: Blocks | None,
               parameters: Parameters) -> list[tuple[tuple[int, ...], Parameters]]:
        """For each block, it with its halo, and the plain arguments; all blocks joined if nobody knows how long they are.

        Nothing for an operation without a halo.
        """
        if operation.halo is None:
            return []
        before, after = self.extent(operation, parameters)
        if blocks.starts is None or len(blocks.tasks) == 1:
            return [(blocks.tasks, told(operation, parameters, 0, 0))]
        found = []
        for number in range(len(blocks.tasks)):
            mine = surroundings(blocks.starts, number, before, after)
            tasks = tuple([self._piece(blocks, piece) for piece in mine.pieces])
            found.append((tasks, told(operation, parameters, mine.before, mine.after)))
        return found

    def _piece(self, blocks: Blocks, piece: Piece) -> int:
        """A block or, as a task of its own that runs where the block lies, some rows of it: only these travel."""
        task, rows = blocks.tasks[piece.block], blocks.rows(piece.block)
        if piece.stop - piece.start == rows:
            return task
        nbytes = self._graph.tasks[task].nbytes * (piece.stop - piece.start) // rows
        return self._add(Kind.APPLY, "_rows", (Input("x", (task,)),), (("start", piece.start), ("stop", piece.stop)),
                         Expected(nbytes, SECONDS_PER_TASK + nbytes / BYTES_PER_SECOND))

    def pairs(self, operation: Operation, datasets: Mapping[str, Blocks], parameters: Parameters) -> dict[tuple[int, int], int]:
        """Add a task for each pair of blocks, and note that their blocks may rotate."""
        (first, left), (second, right) = _two(operation, datasets)
        others = tuple([Input(name, blocks.tasks) for name, blocks in datasets.items() if name not in operation.split])
        rows, columns = parts(operation, left.tasks, left.starts), parts(operation, right.tasks, right.starts)
        made: dict[tuple[int, int], int] = {}
        for i, j in pairs(len(rows), len(columns), operation.symmetric and left.tasks == right.tasks):
            inputs = (Input(first, rows[i].tasks), Input(second, columns[j].tasks), *others)
            known = not operation.linear and rows[i].rows is not None and columns[j].rows is not None
            made[i, j] = self._apply(operation, inputs, told(operation, parameters, rows[i].start, columns[j].start),
                                     otherwise=8 * rows[i].rows * columns[j].rows if known else None)
        if all(len(part.tasks) == 1 for part in (*rows, *columns)):
            self._graph.pairs.append({task: (*rows[i].tasks, *columns[j].tasks) for (i, j), task in made.items()})
        return made

    def matrix(self, operation: Operation, datasets: Mapping[str, Blocks], parameters: Parameters) -> Blocks:
        """Add a task for each pair of blocks, and join the results; the rows of the matrix are cut like the first dataset."""
        made = self.pairs(operation, datasets, parameters)
        left, right = (parts(operation, blocks.tasks, blocks.starts) for _, blocks in _two(operation, datasets))
        widths = [part.rows for part in right]
        tasks = tuple([self._row(operation, made, i, part.rows, widths) for i, part in enumerate(left)])
        return Blocks(tasks, _two(operation, datasets)[0][1].starts)

    def _row(self, operation: Operation, made: Mapping[tuple[int, int], int], i: int, rows: int | None,
             widths: list[int | None]) -> int:
        """The blocks of one row of a matrix, joined; those that are not made are transposed ones."""
        places = [(i, j) for j in range(len(widths))]
        inputs = tuple([Input("", (made[place] if place in made else made[place[::-1]],)) for place in places])
        transposed = sum(place not in made for place in places)
        nbytes = sum(self._graph.tasks[item.tasks[0]].nbytes for item in inputs)
        parameters = (("of", operation.name), ("rows", rows), ("transposed", transposed), ("widths", widths))
        return self._add(Kind.APPLY, "_beside", inputs, parameters,
                         Expected(nbytes, SECONDS_PER_TASK + nbytes / BYTES_PER_SECOND))


def _two(operation: Operation, datasets: Mapping[str, Blocks]) -> tuple[tuple[str, Blocks], tuple[str, Blocks]]:
    """The two datasets of pairs, by their arguments; pairs of one dataset are pairs with itself."""
    first, second = operation.split
    return (first, datasets[first]), (second, datasets.get(second, datasets[first]))

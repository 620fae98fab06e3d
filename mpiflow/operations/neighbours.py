"""Operations that need more than their own block: what they declare, and how pieces of blocks are cut and put together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mpiflow.errors import OperationError
from mpiflow.operations.values import Value, columns, from_columns

Halo = int | str | Sequence[int | str] | None       # rows, or the name of an argument; on both sides, or (before, after)
TOLD = {"halo": ("before", "after"), "pairs": ("row", "column")}


def sides(halo: Halo) -> tuple[int | str, int | str]:
    """Give the rows before and after a block, or the names of arguments that say how many; (0, 0) without a halo."""
    if halo is None:
        return 0, 0
    return (halo, halo) if isinstance(halo, (int, str)) else tuple(halo)


def mistakes_in_neighbours(operation: Any) -> Iterator[str]:
    """Say what is wrong in the declarations ``halo``, ``pairs`` and ``symmetric`` of an operation."""
    if operation.symmetric and not operation.pairs:
        yield "symmetric=True needs pairs=True"
    if operation.pairs:
        yield from _mistakes_in_pairs(operation)
    elif operation.halo is not None:
        yield from _mistakes_in_halo(operation)


def _mistakes_in_pairs(operation: Any) -> Iterator[str]:
    if operation.halo is not None or operation.elementwise:
        yield f"pairs=True excludes {'elementwise=True' if operation.elementwise else 'halo'}"
    if operation.linear and operation.combine == "concatenate":
        yield "pairs=True joins the results to a matrix without linear=True; combine='concatenate' has no meaning"
    if len(operation.named) < 2:
        yield "pairs=True needs two arguments, for the blocks of a pair"


def _mistakes_in_halo(operation: Any) -> Iterator[str]:
    halo = operation.halo
    plain = isinstance(halo, (int, str)) or (isinstance(halo, (tuple, list)) and len(halo) == 2)
    if not plain or not all(map(_is_side, sides(halo))):
        yield f"halo must be a number of rows, the name of an argument, or two of these, before and after; not {halo!r}"
        return
    if not (operation.linear or operation.elementwise):
        yield "halo needs elementwise=True or linear=True"
    for side, what in zip(sides(halo), TOLD["halo"], strict=True):
        if isinstance(side, str) and side not in operation.named[1:]:
            yield f"halo names {side!r}, which is no further argument of it"
        if side != 0 and what not in operation.parameters:
            yield f"halo needs a parameter {what!r}, which is told how many of the rows are not the block's own"


def _is_side(side: Any) -> bool:
    return isinstance(side, str) or (isinstance(side, int) and not isinstance(side, bool) and side >= 0)


# What cuts and joins, as operations of tasks; documents cannot name them

def rows(x: Value, start: int, stop: int) -> Value:
    """Rows ``start`` to ``stop`` of a block, of each column."""
    return from_columns([(name, array[start:stop]) for name, array in columns(x)])


def beside(*parts: Value, of: str, rows: int | None, widths: Sequence[int | None], transposed: int) -> Value:
    """Join the blocks of one row of a matrix along axis 1; the first ``transposed`` ones lie on the other side of it.

    Args:
        parts: The blocks, (rows, columns, ...) or transposed.
        of: Name of the operation that made them.
        rows: Rows that each must have, if known.
        widths: Columns that each must have, likewise.
        transposed: How many have to be transposed first.

    Raises:
        OperationError: A block has another shape than (rows, columns, ...), or other names of columns than the first.
    """
    turned = [[(name, _turned(array, number < transposed, of)) for name, array in columns(part)]
              for number, part in enumerate(parts)]
    names = [name for name, _ in turned[0]]
    for part, width in zip(turned, widths, strict=True):
        if [name for name, _ in part] != names:
            raise OperationError(f"operation {of!r}: tables with different columns cannot be joined")
        for _, array in part:
            if any(want is not None and have != want for have, want in zip(array.shape, (rows, width), strict=False)):
                raise OperationError(f"operation {of!r} makes pairs of {rows} rows and {width} rows, but the result has "
                                     f"shape {array.shape}; it must begin with ({rows}, {width})")
    return from_columns([(name, np.concatenate([part[at][1] for part in turned], axis=1)) for at, name in enumerate(names)])


def _turned(array: np.ndarray, transposed: bool, of: str) -> np.ndarray:
    if array.ndim < 2:
        raise OperationError(f"operation {of!r} makes pairs, so its result needs an axis for the rows of each block, but it "
                             f"has shape {array.shape}; declare linear=True if results are to be combined")
    return array.swapaxes(0, 1) if transposed else array

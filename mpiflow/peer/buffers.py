"""Memory for large blocks that arrive: used again while it is warm.

The kernel hands out new memory page by page while bytes arrive, which costs as much as half of the bandwidth. So the memory
of a block that nobody uses any more serves the next one, if that comes soon; else it goes back.

A copy takes up to a fifth longer if its two ends lie at different places within cache lines. So received arrays begin where
malloc lets large arrays begin, as most that are sent do.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import numpy as np

LEAST = 512 << 10       # bytes: for smaller memory the pages do not matter
MOST = 64               # pieces of memory that are looked after; more would take longer to look through than they spare
WASTE = 1.25            # a block gets memory that is at most so many times too large
KEEP = 0.25             # seconds that memory is kept without use
_PAGE, _PLACE = 4096, 16        # bytes: malloc maps whole pages for a large array, and writes so many before it
_UNUSED = 2             # references to memory that no array uses: its entry's and getrefcount's own


@dataclass(slots=True)
class _Entry:
    """Memory, of which arrays use ``size`` bytes from ``start`` on, and when it was last seen in use."""

    memory: np.ndarray
    size: int
    start: int
    seen: float = 0.0


class Buffers:
    """Memory that large received arrays lie in. Local; not for several threads at once."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Give an array of any content, as ``np.empty`` does; its memory is free for others as soon as no array uses it.

        Raises:
            MemoryError: There is not so much.
        """
        nbytes = math.prod(shape) * dtype.itemsize
        if nbytes < LEAST or dtype.hasobject:
            return np.ndarray(shape, dtype)      # np.empty makes texts of length 0 one character long
        return np.ndarray(shape, dtype, self.memory(nbytes))

    def memory(self, nbytes: int) -> np.ndarray:
        """Give LEAST bytes or more, uint8, likewise; a bit more than asked for.

        Raises:
            MemoryError: There is not so much.
        """
        for entry in self._entries:
            if nbytes <= entry.size <= WASTE * nbytes and sys.getrefcount(entry.memory) <= _UNUSED:
                entry.memory.setflags(True)     # who made a value of an array that lay there has locked it, too
                break
        else:
            memory = np.empty(nbytes + _PAGE, np.uint8)
            entry = _Entry(memory, nbytes, (_PLACE - memory.__array_interface__["data"][0]) % _PAGE)
            if len(self._entries) < MOST:
                self._entries.append(entry)
        return np.ndarray(entry.size, np.uint8, entry.memory, entry.start)

    def trim(self, now: float) -> None:
        """Give back what has not been used for KEEP.

        Args:
            now: Any clock [s].
        """
        if not self._entries:
            return
        kept = []
        for entry in self._entries:
            if sys.getrefcount(entry.memory) > _UNUSED or not entry.seen:
                entry.seen = now
            if now - entry.seen <= KEEP:
                kept.append(entry)
        self._entries = kept

    @property
    def nbytes(self) -> int:
        """Memory held, in use or not [bytes]."""
        return sum(entry.size for entry in self._entries)

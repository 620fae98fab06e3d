"""Reading ahead: the kernel is told which bytes of a file come next, and fetches them while a task computes.

That takes no memory of ours and no thread. It is advice: nothing but time depends on what becomes of it.
"""

from __future__ import annotations

import contextlib
import math
import os

import h5py

LEAST = 1 << 20         # of less, the kernel itself reads enough ahead [bytes]
_SPREAD = 2             # chunks that lie over so many times their size at most are in order in the file


def advise(opened: int, start: int, size: int) -> None:
    """Say of an open file that ``size`` bytes from ``start`` on will be read soon. Local."""
    with contextlib.suppress(AttributeError, OSError):      # not every system has it, nor every file
        os.posix_fadvise(opened, start, size, os.POSIX_FADV_WILLNEED)


def extent(stored: h5py.Dataset, start: int, stop: int) -> tuple[int, int] | None:
    """Give where in its file rows of an array are, as start and size [bytes]; None where that is not worth knowing, or not known.

    Of chunks only the first and the last are looked up: a lookup takes up to 50 microseconds, and they are mostly in order.
    """
    row = math.prod(stored.shape[1:]) * stored.dtype.itemsize
    nbytes = (stop - start) * row
    if nbytes < LEAST:
        return None
    if stored.chunks is None:
        first = stored.id.get_offset()
        return None if first is None else (first + start * row, nbytes)
    corners = (start, *(0 for _ in stored.shape[1:])), (stop - 1, *(size - 1 for size in stored.shape[1:]))
    first, last = (stored.id.get_chunk_info_by_coord(tuple([place // step * step for place, step in zip(
        corner, stored.chunks, strict=True)])) for corner in corners)
    if first.byte_offset is None or last.byte_offset is None:       # nothing was ever written there
        return None
    size = last.byte_offset + last.size - first.byte_offset
    return (first.byte_offset, size) if 0 < size <= _SPREAD * nbytes else None

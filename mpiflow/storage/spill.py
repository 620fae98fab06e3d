"""Blocks of one rank within a limit of memory: those that are needed last go to a scratch file, and come back in time.

A block of a source is not written: it is read or generated again. The scratch file has no name, so it goes with the process,
whatever ends that.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from threading import RLock

from mpiflow.errors import MachineError
from mpiflow.operations.layout import Forms, allocate, finished, form_of, pieces
from mpiflow.operations.values import Value, columns, nbytes

LEAST = 64 << 10        # bytes: smaller blocks stay where they are
CROWDED = 0.5           # of the limit: above this, what makes blocks waits for what uses them up
_PIECE = 64 << 20       # bytes read or written at one time


class Scratch:
    """A file without a name, and which parts of it are free. Local.

    Attributes:
        size: Its size, which only grows: what is free is used again [bytes].
    """

    def __init__(self, folder: Path) -> None:
        """Make the file in ``folder``, on a disk of this node.

        Raises:
            OSError: It cannot be made.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)    # noqa: SIM115 - closed by ``close``
        self._free: list[tuple[int, int]] = []          # start and end of the parts that are free, ascending
        self.size = 0

    def write(self, value: Value) -> int:
        """Write a value; give its place.

        Raises:
            OSError: It cannot be written; then nothing is taken.
        """
        size = nbytes(value)
        start = self._allocate(size)
        try:
            place = start
            for piece in pieces(columns(value), _PIECE):
                done = 0
                while done < len(piece):
                    done += os.pwrite(self._file.fileno(), piece[done:], place + done)
                place += done
        except OSError:
            self.free(start, size)
            raise
        return start

    def read(self, place: int, forms: Forms) -> Value:
        """Read a value back.

        Raises:
            MachineError: It cannot be read.
        """
        arrays = allocate(forms)
        try:
            for piece in pieces(arrays, _PIECE):
                done = 0
                while done < len(piece):
                    count = os.preadv(self._file.fileno(), [piece[done:]], place + done)
                    if not count:
                        raise MachineError("the scratch file of this run is shorter than it was written")
                    done += count
                place += done
        except OSError as error:
            raise MachineError(f"cannot read the scratch file of this run: {os.strerror(error.errno)}") from None
        return finished(arrays)

    def free(self, start: int, size: int) -> None:
        """Give back ``size`` bytes from ``start`` on."""
        merged: list[tuple[int, int]] = []
        for first, last in sorted([*self._free, (start, start + size)]):
            if merged and first == merged[-1][1]:
                merged[-1] = merged[-1][0], last
            elif last > first:
                merged.append((first, last))
        self._free = merged

    def _allocate(self, size: int) -> int:
        """Take the first free part that is large enough, or one at the end."""
        for number, (first, last) in enumerate(self._free):
            if last - first >= size or last == self.size:
                self._free[number:number + 1] = [(first + size, last)] if last - first > size else []
                self.size = max(self.size, first + size)
                return first
        self.size += size
        return self.size - size

    def close(self) -> None:
        """Remove the file."""
        self._file.close()


class Spill(dict[int, Value]):
    """The blocks of one rank by number: a dict, some of whose values are elsewhere. For several threads at once.

    Iterating gives only what is in memory.

    Attributes:
        limit: What blocks in memory may take [bytes].
        taken: What they take.
        pinned: Blocks that are in use and stay in memory.
        nbytes_written: Written to the scratch file so far [bytes].
        nbytes_again: Read from it so far, or from sources again [bytes].
        nbytes_disk: The most that it has taken so far [bytes].
        error: Why nothing can be written, for people; empty as long as all is well. Then memory is exceeded.
        scratch: The file; None before memory was short.
    """

    def __init__(self, limit: int, folder: Path, next_use: Callable[[int], float],
                 again: Callable[[int], Value], sources: frozenset[int] = frozenset()) -> None:
        """Prepare; nothing is on the disk before memory is short.

        Args:
            limit: What blocks in memory may take [bytes].
            folder: Where the scratch file is made, on a disk of this node.
            next_use: When a block is needed next; the greater, the later.
            again: Reads or makes a block of a source once more.
            sources: Blocks for which that can be done.
        """
        super().__init__()
        self.limit, self.taken = limit, 0
        self.pinned: frozenset[int] = frozenset()
        self.nbytes_written = self.nbytes_again = self.nbytes_disk = 0
        self.error = ""
        self._folder, self._next_use, self._again, self._sources = folder, next_use, again, sources
        self.scratch: Scratch | None = None
        self._forms: dict[int, Forms] = {}      # blocks that are not in memory
        self._places: dict[int, tuple[int, int]] = {}       # start and size of blocks in the file, whether in memory or not
        self._lock = RLock()

    @property
    def crowded(self) -> bool:
        """Whether it is time to use blocks up rather than to make further ones."""
        return self.taken > CROWDED * self.limit

    def form(self, block: int) -> Forms:
        """Give columns, dtypes and shapes of a block, wherever it is."""
        with self._lock:
            return self._forms[block] if block in self._forms else form_of(self[block])

    def __setitem__(self, block: int, value: Value) -> None:
        with self._lock:
            if block in self:
                self.taken -= nbytes(self[block])
            super().__setitem__(block, value)
            self.taken += nbytes(value)
            self._make_room(block)

    def __missing__(self, block: int) -> Value:
        with self._lock:
            if block in self:                   # another thread was faster
                return self[block]
            forms = self._forms.pop(block)      # KeyError, if it never was here
            place = self._places.get(block)
            value = self.scratch.read(place[0], forms) if place else self._again(block)
            self.nbytes_again += nbytes(value)
            self[block] = value
            return value

    def __delitem__(self, block: int) -> None:
        with self._lock:
            value = self.pop(block, None)
            if value is not None:
                self.taken -= nbytes(value)
            self._forms.pop(block, None)
            place = self._places.pop(block, None)
            if place:
                self.scratch.free(*place)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            super().clear()
            self._forms.clear()
            self._places.clear()
            self.taken = 0
            if self.scratch:
                self.scratch.close()
                self.scratch = None

    def _make_room(self, newest: int) -> None:
        """Move blocks out of memory until the rest is within the limit: those first that are needed last."""
        if self.taken <= self.limit or self.error:
            return
        staying = self.pinned | {newest}
        large = [block for block, value in self.items() if block not in staying and nbytes(value) >= LEAST]
        for block in sorted(large, key=lambda block: (self._next_use(block), block), reverse=True):
            if not self._move_out(block) or self.taken <= self.limit:
                return

    def _move_out(self, block: int) -> bool:
        """Take one block out of memory; whether that was possible."""
        value = self[block]
        try:
            if block not in self._sources and block not in self._places:
                self.scratch = self.scratch or Scratch(self._folder)
                self._places[block] = self.scratch.write(value), nbytes(value)
                self.nbytes_written += nbytes(value)
                self.nbytes_disk = self.scratch.size
        except OSError as error:
            self.error = (f"has no room for blocks that exceed its memory, in {self._folder}: {os.strerror(error.errno)}; "
                          "they stay in memory (--scratch DIR chooses another place)")
            return False
        self._forms[block] = form_of(value)
        self.taken -= nbytes(value)
        self.pop(block)
        return True

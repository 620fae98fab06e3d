"""Where one rank puts the blocks that it makes in one run: its journal, and a file for each large block."""

from __future__ import annotations

from pathlib import Path

from mpiflow.operations.values import Value
from mpiflow.storage.blocks import holds, pack, write_block
from mpiflow.storage.journal import Journal, flush_folder, make_folder
from mpiflow.storage.records import Made, Saved

FOLDER = "blocks"


def block_file(store: Path, id: str) -> Path:
    """Give the file of a block that has one of its own."""
    return store / FOLDER / id[:2] / id


class Shelf:
    """Blocks count as saved from the next ``commit`` on. Nothing is on the disk before the first block.

    Attributes:
        num_gathered: Blocks since the last commit.
        nbytes_gathered: Their size [bytes].
    """

    def __init__(self, store: Path, run: str, rank: int, inline: int) -> None:
        """Blocks up to ``inline`` bytes go into the journal itself."""
        self._store, self._run, self._rank, self._inline = store, run, rank, inline
        self._journal: Journal | None = None
        self._unflushed: dict[Path, None] = {}          # in the order in which they came
        self.num_gathered = self.nbytes_gathered = 0

    def add(self, made: Made, value: Value) -> None:
        """Put a block: into the journal's memory, or into a file.

        Raises:
            OperationError: Its dtype cannot be written; the others are not concerned.
            OSError: The disk does not take it; only ``close`` may follow.
        """
        data = pack(value) if made.nbytes <= self._inline else b""
        inline = 0 < len(data) <= 2 * self._inline      # the description of very many columns may be longer than they are
        if not inline:
            self._write_file(made.id, value)
        if self._journal is None:
            self._journal = Journal(self._store, self._run, self._rank)
        self._journal.add(Saved(made, inline), data if inline else b"")
        self.num_gathered += 1
        self.nbytes_gathered += made.nbytes

    def _write_file(self, id: str, value: Value) -> None:
        file = block_file(self._store, id)
        if not holds(file, id):         # equal id, equal content
            make_folder(file.parent)
            write_block(file, file.with_name(f".{id}.{self._run}-{self._rank}.part"), id, value)
        self._unflushed[file.parent] = None             # who has put it there may not have flushed yet

    def commit(self) -> None:
        """Bring all onto the disk: names of files, then the records that tell of them.

        Raises:
            OSError: As for ``add``.
        """
        for folder in self._unflushed:
            flush_folder(folder)
        self._unflushed.clear()
        if self._journal:
            self._journal.commit()
        self.num_gathered = self.nbytes_gathered = 0

    def end(self) -> None:
        """Commit, say that nothing is missing, and close.

        Raises:
            OSError: As for ``add``.
        """
        self.commit()
        if self._journal:
            self._journal.end()
            self.close()

    def close(self) -> None:
        """Close without a commit."""
        if self._journal:
            self._journal.close()
            self._journal = None

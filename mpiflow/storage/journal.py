"""The journal of one rank in one run: a file of its own to which records are appended."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from pathlib import Path

from msgspec import msgpack

from mpiflow.storage.records import FORMAT, Begun, Ended, Saved, frame

FOLDER = "journals"
SUFFIX = ".journal"
_UNKNOWN = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)       # a file system that cannot flush a folder
_encode = msgpack.Encoder().encode


class Journal:
    """Records gather in memory until ``commit``.

    Attributes:
        gathered: Size of the records in memory [bytes].
    """

    def __init__(self, store: Path, run: str, rank: int) -> None:
        """Make the file, that must not be there.

        Raises:
            OSError: It cannot be made.
        """
        folder = store / FOLDER
        make_folder(folder)
        self._file = folder / f"{run}-{rank}{SUFFIX}"
        self._opened = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o666)
        self._written = self.gathered = 0
        self._records: list[bytes] = []
        self._add(Begun(FORMAT, run, rank, socket.gethostname(), os.getpid(), time.time()))
        self._folder: Path | None = folder      # yet to be flushed

    def add(self, saved: Saved, data: bytes = b"") -> None:
        """Gather the record of a block; its data come first onto the disk if they are in a file of their own."""
        self._add(saved, data)

    def _add(self, head: Begun | Saved | Ended, data: bytes = b"") -> None:
        record = frame(self._written + self.gathered, _encode(head), data)
        self._records.append(record)
        self.gathered += len(record)

    def commit(self) -> None:
        """Bring the gathered records onto the disk.

        Raises:
            OSError: They cannot be written; the file ends behind the last commit, and is to be used no more.
        """
        if not self.gathered:
            return
        try:
            _write(self._opened, b"".join(self._records))
            os.fsync(self._opened)
            if self._folder:
                flush_folder(self._folder)
                self._folder = None
        except OSError:
            self._undo()
            raise
        self._written += self.gathered
        self._records, self.gathered = [], 0

    def _undo(self) -> None:
        with contextlib.suppress(OSError):      # a reader finds out by itself what is whole
            os.ftruncate(self._opened, self._written)
            if not self._written:
                self._file.unlink()

    def end(self) -> None:
        """Say on the disk that nothing is missing.

        Raises:
            OSError: As for ``commit``.
        """
        self._add(Ended())
        self.commit()

    def close(self) -> None:
        """Close the file as it is; nothing may follow."""
        with contextlib.suppress(OSError):      # what was committed is on the disk
            os.close(self._opened)


def _write(opened: int, data: bytes) -> None:
    """Write all; a disk that is nearly full takes less than it is given, and then raises."""
    view = memoryview(data)
    while view:
        view = view[os.write(opened, view):]


def make_folder(folder: Path) -> None:
    """Make a folder and those that it is in; afterwards they are on the disk."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):              # another rank was faster
        folder.mkdir()
    flush_folder(folder.parent)


def flush_folder(folder: Path) -> None:
    """Bring the names in ``folder`` onto the disk."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
    finally:
        os.close(opened)

"""Folders in which programs run, and a guard that clears up after a rank that was killed.

The guard is a small process that holds one end of a pipe. Each program writes its own number into the other end before it begins,
so there is no moment at which a program runs and the guard does not know it. When the rank is gone, whatever has ended it, the
guard reads the end of the pipe; it ends the last program's process group and removes the folders.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

_GUARD = """
trap '' TERM INT HUP USR1 USR2
group=-
while read -r word; do group=$word; done
[ "$group" = - ] || kill -KILL -- "-$group" 2>/dev/null
rm -rf -- "$1"
"""


class Folders:
    """This rank's folders; nothing is made before the first one is asked for. For the main thread."""

    def __init__(self, place: Path | None = None) -> None:
        """Do nothing yet; folders will be made below ``place``, a folder on a disk of this node."""
        self._place = place or Path(tempfile.gettempdir())
        self._root: Path | None = None
        self._guard: subprocess.Popen | None = None
        self._tell = -1
        self._num = 0

    @property
    def tell(self) -> int:
        """File descriptor that takes the number of a process group for which the guard is to care; and a dash for none."""
        return self._tell

    @contextlib.contextmanager
    def new(self) -> Iterator[Path]:
        """Make an empty folder; it is gone afterwards, and nobody has anything running in it.

        Raises:
            OSError: It cannot be made.
        """
        if self._root is None:
            self._begin()
        self._num += 1
        made = self._root / str(self._num)
        made.mkdir(parents=True)
        try:
            yield made
        finally:
            with contextlib.suppress(OSError):              # somebody has killed the guard
                os.write(self._tell, b"-\n")
            shutil.rmtree(made, ignore_errors=True)

    def _begin(self) -> None:
        """Start the guard, then make the folder, so that a rank killed between the two leaves nothing."""
        root = Path(self._place, f"mpiflow-{os.getpid()}-{os.urandom(4).hex()}")
        reading, self._tell = os.pipe()
        try:
            self._guard = subprocess.Popen(["/bin/sh", "-c", _GUARD, "mpiflow-guard", root], stdin=reading, cwd="/",
                                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        finally:
            os.close(reading)
        root.mkdir(mode=0o700, parents=True)
        self._root = root

    def close(self) -> None:
        """Remove everything, and wait until that is done."""
        if self._guard is not None:
            os.close(self._tell)
            self._guard.wait()
            self._guard, self._root = None, None


def end_group(process: subprocess.Popen, patience: float, ended: Callable[[float], bool]) -> None:
    """End a program that leads a process group, with all that it has started: it is asked to, then killed. Local.

    Args:
        process: The program, not waited for.
        patience: How long it may take to end by itself, once it was asked [s].
        ended: Waits for its end, for so many seconds.
    """
    with contextlib.suppress(ProcessLookupError):
        if patience:
            os.killpg(process.pid, signal.SIGTERM)
            ended(patience)
        os.killpg(process.pid, signal.SIGKILL)      # as long as it is not waited for, its number is nobody else's
    process.wait()

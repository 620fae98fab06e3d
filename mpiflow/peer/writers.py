"""Which ranks can write one result together: those that see the folder in which it will be."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from mpiflow.peer.epochs import Epochs, exchange


def common_writers(epochs: Epochs, rank: int, able: Sequence[int], folder: Path, run: str) -> tuple[int, ...]:
    """Give those of the ranks in ``able`` that see the folder which the first of them sees. **Collective**.

    Nothing but a file that appears tells it: paths, devices and inodes may be the same on disks of two nodes.

    Args:
        epochs: To speak to the others.
        rank: This rank.
        able: Ranks, ascending.
        folder: Where results go; it is made if it is not there.
        run: A name that no other run has.
    """
    mark, first = folder / f".{run}.here", rank == able[0]
    try:
        if first:
            with contextlib.suppress(OSError):              # then nobody else sees it, and the task that writes says why
                folder.mkdir(parents=True, exist_ok=True)
                mark.touch()
        exchange(epochs, b"")
        seen = exchange(epochs, b"seen" if mark.exists() else b"")
    finally:
        if first:
            with contextlib.suppress(OSError):
                mark.unlink(missing_ok=True)
    return tuple([one for one in able if seen[one] or one == able[0]])

"""The history of earlier runs as a file in the store. A cache: what cannot be read counts as none."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from mpiflow.catalog.entries import Seen

FILE = "history.json"


class _Document(msgspec.Struct):
    mpiflow_history: int
    operations: tuple[Seen, ...] = ()
    latency: tuple[float, float] | None = None
    bandwidth: tuple[float, float] | None = None


Links = tuple[tuple[float, float], tuple[float, float]]


def read_history(store: Path) -> tuple[tuple[Seen, ...], Links | None]:
    """Give what the store knows of operations, and the latencies [s] and bandwidths [bytes/s] of the last machine. Local."""
    try:
        found = msgspec.json.decode((store / FILE).read_bytes(), type=_Document)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return (), None
    links = (found.latency, found.bandwidth) if found.latency and found.bandwidth else None
    return found.operations, links


def write_history(store: Path, seen: tuple[Seen, ...], links: Links) -> None:
    """Put a new history in place of the old one.

    Raises:
        OSError: It cannot be written; the old one is still there.
    """
    store.mkdir(parents=True, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(_Document(1, seen, *links)), indent=1)
    aside = store / f".{FILE}.{os.getpid()}"
    try:
        aside.write_bytes(text)
        os.replace(aside, store / FILE)
    finally:
        aside.unlink(missing_ok=True)

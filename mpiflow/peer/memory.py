"""How much memory a rank may take, and that it gives back what it no longer needs."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1       # of mallopt(3)
_LARGE = 8 << 20        # bytes: what is larger goes back to the system as soon as it is free
_KEPT = 64 << 20        # bytes of what is smaller may stay with the process for the next arrays


def return_memory(environment: Mapping[str, str] = os.environ) -> None:
    """Have the C library give large arrays back to the system when they are free, and keep small ones for the next. Local.

    Left alone, glibc raises its own limit to 32 MB as arrays come and go (mallopt(3), M_MMAP_THRESHOLD). From then on it cuts
    them out of one heap, which does not shrink while anything is in use at its end: with blocks of 25 MB a rank took 1.4 times
    what it held. What the user has set in the environment counts; other C libraries are left alone.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version") or any(name.startswith("MALLOC_") for name in environment) or (
            "malloc" in environment.get("GLIBC_TUNABLES", "")):
        return
    library.mallopt(_MMAP_THRESHOLD, _LARGE)
    library.mallopt(_TRIM_THRESHOLD, _KEPT)


def available_memory(num_ranks: int, environment: Mapping[str, str] = os.environ, proc: Path = Path("/proc"),
                     cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Give what each of ``num_ranks`` ranks of this node may take of the memory that is available [bytes]; 0 if nobody says.

    Counted are the node's, that of the control groups around this process, and what SLURM has granted.
    """
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        available = [int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")]
        groups = [line.split(":", 2) for line in (proc / "self" / "cgroup").read_text().splitlines()]
    except (OSError, ValueError, IndexError):
        return 0
    for _, names, path in groups:
        if not names:
            available += _left(cgroups / path.strip("/"), "memory.max", "memory.current")
        elif "memory" in names.split(","):
            available += _left(cgroups / "memory" / path.strip("/"), "memory.limit_in_bytes", "memory.usage_in_bytes")
    available += _granted(environment)
    return max(min(available, default=0), 0) // num_ranks


def _left(folder: Path, limit: str, usage: str) -> Iterator[int]:
    """What a control group and those around it may still take [bytes], where that is limited."""
    for place in (folder, *folder.parents):
        with contextlib.suppress(OSError, ValueError):          # "max", or none of ours
            yield int((place / limit).read_text()) - int((place / usage).read_text())


def _granted(environment: Mapping[str, str]) -> Iterator[int]:
    """What SLURM gives the job on this node [bytes]; it says so in MB, which are MiB."""
    with contextlib.suppress(KeyError, ValueError):
        yield int(environment["SLURM_MEM_PER_NODE"]) << 20
    with contextlib.suppress(KeyError, ValueError):
        yield int(environment["SLURM_MEM_PER_CPU"]) * int(environment["SLURM_CPUS_ON_NODE"]) << 20

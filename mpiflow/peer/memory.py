"""How much memory a rank may take."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path


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

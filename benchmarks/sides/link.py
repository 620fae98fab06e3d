"""What the link of a host has carried."""

from __future__ import annotations

from pathlib import Path

import numpy as np

DEVICE = "eth0"


def counters() -> np.ndarray:
    """Give bytes sent, bytes received, frames sent, frames received by this host so far, as the kernel counts them: int64."""
    for line in Path("/proc/self/net/dev").read_text().splitlines():
        device, _, rest = line.partition(":")
        if device.strip() == DEVICE:
            fields = list(map(int, rest.split()))
            return np.array([fields[8], fields[0], fields[9], fields[1]])
    raise OSError(f"no {DEVICE} here")

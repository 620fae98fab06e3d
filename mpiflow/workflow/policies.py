"""What becomes of a task that fails or takes too long, as its step says; no part of what it computes. Times and sizes as text."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from mpiflow.workflow.located import Located
from mpiflow.workflow.model import Step

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {"": 1, "B": 1} | {f"{letter}{end}": base ** power for power, letter in enumerate("KMGTP", 1)
                            for end, base in (("", 1024), ("IB", 1024), ("B", 1000))}
_TIME = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([smhd]?)\s*")


@dataclass(frozen=True, slots=True)
class Policy:
    """How tasks of a step are treated.

    Attributes:
        retries: How often one is tried again when it fails.
        timeout: How long one may take [s]; None for ever.
        on_error: What becomes of the rest when one has failed: "stop" ends the run, "continue" gives up what depends on it, and
            with "skip" that is skipped.
    """

    retries: int = 0
    timeout: float | None = None
    on_error: str = "stop"

    @property
    def stops(self) -> bool:
        """Whether the run ends when a task has failed."""
        return self.on_error == "stop"

    @property
    def skips(self) -> bool:
        """Whether a task that has failed counts as skipped."""
        return self.on_error == "skip"


def check_policy(located: Located, name: str, step: Step) -> Policy | None:
    """Give the policy of a step; None if it is the usual one, or a wrong one, which is reported."""
    try:
        policy = Policy(step.retries, None if step.timeout is None else parse_seconds(step.timeout), step.on_error)
    except ValueError as error:
        located.report(("steps", name, "timeout"), str(error))
        return None
    return None if policy == Policy() else policy


def parse_seconds(written: float | str) -> float:
    """Give a time [s]: a number of seconds, or a text such as 90s, 10m, 2h, 1d.

    Raises:
        ValueError: It is no time above 0; the message says so.
    """
    match = _TIME.fullmatch(str(written)) if isinstance(written, str) else None
    seconds = float(match[1]) * _SECONDS[match[2]] if match else math.nan if isinstance(written, str) else float(written)
    if not 0 < seconds < math.inf:
        raise ValueError(f"'timeout' must be a time above 0, such as 30, 90s, 10m or 2h, not {written!r}")
    return seconds


def parse_nbytes(written: str) -> int:
    """Give a size [bytes]: 4GB (4 × 10^9), 4GiB or, as in SLURM, 4G (both 4 × 2^30).

    Raises:
        ValueError: It is no size above 0; the message says so.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([a-z]*)", written.strip().lower())
    if not match or match[2].upper() not in _BYTES or float(match[1]) <= 0:
        raise ValueError(f"{written!r} is no size; write for example 4GB, 512MiB or 2G")
    return int(float(match[1]) * _BYTES[match[2].upper()])

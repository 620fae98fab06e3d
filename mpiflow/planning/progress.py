"""How far a run has come, as the planner needs it; and what it expects of tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

UNCLAIMED = -1
Holders = Mapping[int, tuple[int, ...]]     # for each replicated block, the ranks that hold it, ascending
NOBODY: Holders = {}


class Expectations(NamedTuple):
    """What is expected of each task: run time [s] and size of its block [bytes]."""

    seconds: tuple[float, ...]
    nbytes: tuple[int, ...]


@dataclass(frozen=True)
class Progress:
    """What a new plan has to take as given.

    Attributes:
        ranks: Rank of each task that is claimed: running, done, failed or cancelled; -1 of one that may be placed.
        ends: Expected end of each claimed task, in seconds from now; 0.0 if done.
        copies: For blocks of done tasks, the ranks where a copy surely is or will be. A claimed task whose block is
            not here is taken as running.
        seconds: Expected run time of each task [s].
        nbytes: Expected size of each block [bytes].
        holders: For replicated blocks that are made or never will be, the ranks that earlier plans chose.
    """

    ranks: tuple[int, ...]
    ends: tuple[float, ...]
    copies: Mapping[int, tuple[int, ...]]
    seconds: tuple[float, ...]
    nbytes: tuple[int, ...]
    holders: Holders = field(default_factory=dict)

"""Operations that take time and note in ``log`` what they do: round, rank's process, task, and whether it starts or ends."""

import os
import signal
import time
from pathlib import Path

import numpy as np

from mpiflow import operation

ROUND = int(os.environ.get("SLURM_RESTART_COUNT", 0)) + 1
NUM_HELD = int(os.environ.get("HELD", 0))       # so many rounds do not come to their end before they are told to stop
ENOUGH = 6                                      # tasks that end in such a round before the others are held
SECONDS = float(os.environ.get("SECONDS_EACH", 0.3))
LOG = Path("log")


def note(task: str, what: str) -> None:
    """Add a line: one write at the end of the file, so lines of several ranks do not mix."""
    with LOG.open("a") as log:
        log.write(f"{ROUND} {os.getpid()} {task} {what}\n")


def held() -> bool:
    """Whether a task has to wait: its round may not end, enough of it has been done, and nobody has told this rank to stop."""
    if ROUND > NUM_HELD or signal.getsignal(signal.SIGUSR1).__self__.asked:
        return False
    lines = [line.split() for line in LOG.read_text().splitlines()]
    return sum(line[0] == str(ROUND) and line[-1] == "ends" for line in lines) >= ENOUGH


@operation(linear=True, combine="concatenate", nbytes=lambda nbytes: nbytes, seconds=SECONDS)
def wave(x):
    """Waves of x, like x."""
    task = float(x[0, 0]).hex()
    note(task, "starts")
    time.sleep(SECONDS)
    while held():
        time.sleep(0.02)
    note(task, "ends")
    return np.sin(3 * x) + x


@operation(linear=True)
def total(x):
    """Sum over rows."""
    return x.sum(axis=0)


@operation
def fail(x):
    """Fail."""
    raise ValueError("this step fails in every round")

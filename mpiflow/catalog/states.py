"""The states of a task, and the only ways from one to another."""

from __future__ import annotations

from enum import IntEnum

from mpiflow.errors import InternalError


class State(IntEnum):
    """State of a task; every transition leads to a greater number, so the greater of two states is the newer."""

    PLANNED = 0
    RUNNING = 1
    CANCELLED = 2
    FAILED = 3
    DONE = 4
    SKIPPED = 5             # it was not to run, and has made nothing

    @property
    def final(self) -> bool:
        """Whether nothing can follow."""
        return self >= State.CANCELLED


class Change(IntEnum):
    """What can happen to a task."""

    START = 0
    FINISH = 1
    FAIL = 2
    CANCEL = 3
    SKIP = 4


TRANSITIONS = {
    (State.PLANNED, Change.START): State.RUNNING,
    (State.PLANNED, Change.CANCEL): State.CANCELLED,
    (State.PLANNED, Change.SKIP): State.SKIPPED,
    (State.RUNNING, Change.FINISH): State.DONE,
    (State.RUNNING, Change.FAIL): State.FAILED,
    (State.RUNNING, Change.CANCEL): State.CANCELLED,
    (State.RUNNING, Change.SKIP): State.SKIPPED,
}

_TABLE = [[TRANSITIONS.get((state, change)) for change in Change] for state in State]


def advance(state: State, change: Change) -> State:
    """Give the state that follows.

    Raises:
        InternalError: ``TRANSITIONS`` has no such step.
    """
    following = _TABLE[state][change]
    if following is None:
        raise InternalError(f"a task that is {state.name} cannot {change.name.lower()}")
    return following

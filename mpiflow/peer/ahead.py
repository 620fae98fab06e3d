"""Receives posted ahead: of large blocks that the plan says will come.

Between the arrival of a block's header and the receive of what follows lies Python, which takes a tenth of the time of a block of
1 MB. So a few receives are posted before that, from the plan, which says what comes from whom, and if a block is like the last
one of its size, its array is ready as well. Headers go first: MPI copies a payload in one go as soon as it has seen it, and what
is left to do after that runs with cold caches.

A block counts as here only when its header is, and nothing depends on the plan being right. A message longer than its receive
would end the job, so both sides must know how long one is, whatever plans each has seen: a block of just the size that the
first plan of the round expects, if it is a plain array, travels under a tag of its own, which sender and receiver know. Any
other travels as if nobody had expected it, and the receive is withdrawn, as are those of blocks that a later plan sends
elsewhere or nowhere. The same block may come twice from the same rank; then the two messages are the same, so it does not
matter which is received first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
from mpi4py import MPI

from mpiflow.errors import MachineError
from mpiflow.peer.buffers import LEAST, Buffers
from mpiflow.peer.wire import Follows
from mpiflow.planning.plan import Plan

MOST = 16 << 20         # bytes: larger blocks gain nothing, because the copy takes so much longer than what is spared
AHEAD = 4               # receives posted ahead at one time, one from each source
ROOM = 16 << 20         # bytes that they take at most


class Foresight(Protocol):
    """What is known of blocks that will come here; ``PeerState`` knows.

    Attributes:
        plan: The plan in force.
        rank: This rank.
    """

    plan: Plan
    rank: int

    def comes(self, block: int) -> bool:
        """Whether a block may still come from another rank."""


class Withdrawn:
    """A receive that was posted ahead and then withdrawn, of which MPI has not let go.

    That takes time; or it has got a message by then, whose header is still to come.
    """

    __slots__ = ("_again", "_request", "_withdrawn")

    def __init__(self, request: MPI.Request, again: Callable[[], MPI.Request]) -> None:
        """Withdraw it; ``again`` would post it again."""
        self._request, self._again = request, again
        self._withdrawn = True
        request.Cancel()

    def gone(self) -> bool:
        """Whether MPI has let go of it, and it will never get a message."""
        status = MPI.Status()
        return self._request.Get_status(status) and status.Is_cancelled() and self._request.Test()

    def Test(self, status: MPI.Status | None = None) -> bool:
        """Whether the message is here, as of a request, now that its header is: if need be it is received anew."""
        status = status or MPI.Status()
        if not self._request.Test(status):
            return False
        if self._withdrawn and status.Is_cancelled():
            self._request, self._withdrawn = self._again(), False
            return False
        return True

    @property
    def rest(self) -> MPI.Request:
        """The request itself."""
        return self._request


class _Posted(NamedTuple):
    """A receive: its memory, uint8, at least as large as the block; and the array that the block is if it is like the last."""

    memory: np.ndarray
    request: MPI.Request | Withdrawn
    follows: Follows | None = None
    array: np.ndarray | None = None


_Key = tuple[int, int]                                      # block, source


def sizes(plan: Plan) -> dict[int, int]:
    """Give the sizes of blocks that may be received ahead [bytes]."""
    nbytes = plan.estimates.nbytes
    if max(nbytes, default=0) < LEAST:          # as of most graphs with many tasks
        return {}
    return {block: size for block, size in enumerate(nbytes) if LEAST <= size <= MOST}


class Ahead:
    """The receives posted ahead on one rank, and the sizes and tags that all ranks know. Local.

    Attributes:
        known: Of each block that is expected, its size [bytes] and its tag.
        due: Whether another receive may be posted.
    """

    def __init__(self, comm: MPI.Comm, buffers: Buffers, first_tag: int) -> None:
        """Expect nothing yet.

        Args:
            comm: For the payloads.
            buffers: Where they go.
            first_tag: It and those above it are free.
        """
        self._comm, self._buffers = comm, buffers
        self._first_tag = first_tag
        self._num_tags = max((comm.Get_attr(MPI.TAG_UB) or 0) + 1 - first_tag, 0)
        self.known: dict[int, tuple[int, int]] = {}
        self._posted: dict[_Key, _Posted] = {}
        self._leaving: dict[_Key, _Posted] = {}
        self._last: dict[int, Follows] = {}                         # of each size, what the last block was like
        self._foresight: Foresight | None = None
        self._plan: Plan | None = None
        self._coming: dict[int, list[tuple[int, int]]] = {}         # from each source, by the plan: (place, block), first last
        self.due = False

    # What all ranks know

    def know(self, sizes: Mapping[int, int]) -> None:
        """Take the sizes [bytes] of blocks; the same on all ranks that send or receive any, while nothing is under way."""
        known = [block for block, nbytes in sorted(sizes.items()) if LEAST <= nbytes <= MOST][:self._num_tags]
        self.known = {block: (sizes[block], self._first_tag + place) for place, block in enumerate(known)}
        self._last = {}

    def tag(self, block: int, nbytes: int) -> int | None:
        """Give the tag under which a block travels if it is a plain array of this size [bytes], else None."""
        known = self.known.get(block)
        return known[1] if known is not None and known[0] == nbytes else None

    # What this rank expects

    def follow(self, foresight: Foresight) -> None:
        """Expect what comes here by the plan in force, and by those that may follow it; the first ones at once."""
        self._foresight = foresight if self.known else None
        self.renew()

    def renew(self) -> None:
        """Withdraw what will not come, and post what comes next, if a new plan is in force or there is room again."""
        foresight, due, self.due = self._foresight, self.due, False
        if foresight is None or not (due or foresight.plan is not self._plan):
            return
        if foresight.plan is not self._plan:
            self._plan = foresight.plan
            coming = [(place, block, source) for place, block in enumerate(self._plan.order) if block in self.known
                      for source, rank in self._plan.routes[block] if rank == foresight.rank]
            planned = {(block, source) for _, block, source in coming}
            self._withdraw_but(planned.__contains__)
            self._coming = {}
            for place, block, source in reversed(coming):
                self._coming.setdefault(source, []).append((place, block))
        self._withdraw_but(lambda key: foresight.comes(key[0]))
        self._leaving = {key: item for key, item in self._leaving.items() if not item.request.gone()}
        self._post_next(foresight)

    def _post_next(self, foresight: Foresight) -> None:
        """Post what comes next from each source: one, because its memory stays warm only if there is little more of it."""
        taken = sum(item.memory.nbytes for item in (*self._posted.values(), *self._leaving.values()))
        while len(self._posted) < AHEAD:
            busy = {source for _, source in self._posted}
            free = [(blocks[-1], source) for source, blocks in self._coming.items() if blocks and source not in busy]
            if not free:
                break
            (_, block), source = min(free)
            nbytes = self.known[block][0]
            if taken + nbytes > ROOM:
                break
            self._coming[source].pop()
            if foresight.comes(block) and self.expect(block, source):
                taken += nbytes

    def expect(self, block: int, source: int) -> bool:
        """Post the receive of a block; give whether that was possible."""
        key = block, source
        if block not in self.known or key in self._posted or key in self._leaving:
            return False
        try:
            self._posted[key] = self._post(block, source)
        except MemoryError:                     # it may be there when it comes
            return False
        return True

    def _post(self, block: int, source: int) -> _Posted:
        nbytes, tag = self.known[block]
        memory, follows = self._buffers.memory(nbytes), self._last.get(nbytes)
        return _Posted(memory, self._comm.Irecv(memory, source, tag), follows, follows and _array(follows, memory))

    def _withdraw_but(self, wanted: Callable[[_Key], bool]) -> None:
        for key in [key for key in self._posted if not wanted(key)]:
            self._withdraw(*key, self._posted.pop(key))

    def _withdraw(self, block: int, source: int, posted: _Posted) -> None:
        withdrawn = Withdrawn(posted.request, partial(self._comm.Irecv, posted.memory, source, self.known[block][1]))
        if not withdrawn.gone():
            self._leaving[block, source] = _Posted(posted.memory, withdrawn)

    # What comes

    def claim(self, block: int, source: int, follows: Follows) -> _Posted | None:
        """Give the receive of a block, and the array that it fills, read-only; None if the block comes under no tag of its own.

        Raises:
            MachineError: There is no memory for it.
        """
        self.due = True
        posted = self._posted.pop((block, source), None)
        if posted is not None and posted.follows is follows:
            return posted
        if follows.dtype is None or self.tag(block, follows.nbytes) is None:
            if posted is not None:                  # it is not what was expected
                self._withdraw(block, source, posted)
            return None
        self._last[follows.nbytes] = follows
        posted = posted or self._late(block, source)            # it has no receive yet, or is not like the last of its size
        return posted._replace(follows=follows, array=_array(follows, posted.memory))

    def _late(self, block: int, source: int) -> _Posted:
        try:
            return self._leaving.pop((block, source), None) or self._post(block, source)
        except MemoryError as error:
            raise MachineError(f"rank {self._comm.rank}: no memory for the block of task {block} from rank {source}: {error}"
                               ) from None

    def close(self) -> list[MPI.Request]:
        """Expect nothing any more; give the receives that are to be withdrawn, when nothing is under way."""
        requests = [item.request for item in self._posted.values()] + [item.request.rest for item in self._leaving.values()]
        self._foresight = self._plan = None
        self._posted, self._leaving, self.known, self._coming, self.due = {}, {}, {}, {}, False
        return requests


def _array(follows: Follows, memory: np.ndarray) -> np.ndarray:
    array = np.ndarray(follows.shape, follows.dtype, memory)
    array.setflags(False)
    return array

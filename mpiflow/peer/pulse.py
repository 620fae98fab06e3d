"""Signs of life, from every rank to every other one, while an epoch does not come to its end.

An epoch that is overdue says that somebody is missing, but not who. So each rank then sends one byte to all others now
and then: whoever is not heard of is the one. There is nothing to answer, since an epoch is overdue on all ranks alike; and
while epochs complete, which is proof of life enough, nothing is sent.
"""

from __future__ import annotations

import math

from mpi4py import MPI

from mpiflow.peer.survive import check_alive, survivable

_TAG = 32_700       # blocks have lower ones; MPI promises tags up to 32,767


class Pulse:
    """Sends and hears signs of life on one communicator.

    Attributes:
        rank: This rank.
        size: Number of ranks.
        heard: When each rank was heard of last [s]; minus infinity if it was not since ``begin``.
    """

    def __init__(self, comm: MPI.Comm) -> None:
        self._comm = comm
        self.rank, self.size = comm.rank, comm.size
        self.mortal = survivable(comm)
        self.heard = [-math.inf] * comm.size
        self._status = MPI.Status()
        self._sends: list[MPI.Request | None] = [None] * comm.size
        self._own = b"\1"                       # a pending send pins its buffer
        self._room = bytearray(1)
        self._coming: MPI.Request | None = None

    def begin(self) -> None:
        """From now on hear of others; what came before says nothing."""
        self.listen(-math.inf)
        self.heard = [-math.inf] * self.size

    def beat(self) -> None:
        """Give a sign of life to each rank that has taken the last one."""
        for rank, request in enumerate(self._sends):
            if rank != self.rank and (request is None or request.Test()):
                self._sends[rank] = self._comm.Isend(self._own, rank, _TAG)

    def listen(self, now: float) -> None:
        """Note who has been heard of, by the time ``now`` [s]."""
        # Probing, and no receive from any source: MPICH 5.0 loses these between nodes (see ``transfers``).
        while True:
            if self._coming is None:
                if not self._comm.Iprobe(MPI.ANY_SOURCE, _TAG, self._status):
                    return
                self._coming = self._comm.Irecv(self._room, self._status.Get_source(), _TAG)
            if not self._coming.Test(self._status):
                return
            self._coming = None
            if self.mortal:
                check_alive(self._status)
            self.heard[self._status.Get_source()] = now

    def rest(self) -> None:
        """Hear no more. What still arrives is dropped by the next ``begin``."""
        self.listen(-math.inf)

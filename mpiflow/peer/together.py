"""Where the parts of a parallel operation meet before it starts, and the communicator that it gets.

The communicators are made before anything runs, one for each group of ranks that runs an operation together, by these ranks
only: later a rank that fails could leave the others waiting inside MPI. The parts of an operation meet by messages of no length
that are looked for now and then, so whoever waits sleeps, and can be told to give up. All this is done by the main thread of each
rank, beside the second one, which goes on with everything else; MPI has to allow that.
"""

from __future__ import annotations

import time

import numpy as np
from mpi4py import MPI

from mpiflow.errors import LaunchError
from mpiflow.peer.survive import branch, survivable
from mpiflow.planning.tasks import TaskGraph

_TAGS = 32_768              # that every MPI has
_LATE = 0.02                # who waits sleeps for this share of the time that it has waited,
_NAPS = (20e-6, 2e-3)       # but not less and not more than this [s]
_NOTHING = np.empty(0, np.uint8)


class Together:
    """The communicators of one round. Their members call all methods alike."""

    def __init__(self, comm: MPI.Comm, graph: TaskGraph) -> None:
        """Make them. **Collective**.

        Raises:
            LaunchError: MPI does not let several threads of a rank call it at a time; on every rank.
        """
        if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
            raise LaunchError("parallel operations (steps with 'ranks') need an MPI that several threads may call at a time, "
                              "MPI_THREAD_MULTIPLE, and this one does not offer it")
        heads = sorted({team[0] for team in graph.teams.values()})
        self._parts = {number: graph.tasks[number].part for number in graph.teams}
        self._tags = {graph.tasks[head].part.team: place % _TAGS for place, head in enumerate(heads)}
        groups = tuple(dict.fromkeys(graph.tasks[head].part.ranks for head in heads))
        self._lasting = survivable(comm)
        self._door, self._comms = branch(comm, groups)

    def meet(self, task: int) -> MPI.Intracomm:
        """Wait for the other parts of a task's operation; give the communicator of all of them.

        A greeting that its receiver never waits for stays where it is; another operation has another tag.

        Raises:
            Interrupted: This part is to give up.
        """
        part, door = self._parts[task], self._door
        tag, others = self._tags[part.team], [rank for rank in part.ranks if rank != door.rank]
        pending = [door.Isend([_NOTHING, MPI.BYTE], rank, tag) for rank in others]
        began = time.perf_counter()
        while others or pending:
            waited = time.perf_counter() - began
            others = [rank for rank in others if not door.Iprobe(rank, tag)]
            pending = [request for request in pending if not request.Test()]
            if others or pending:
                time.sleep(min(max(waited * _LATE, _NAPS[0]), _NAPS[1]))
        self._take_in(part.ranks, tag)
        return self._comms[part.ranks]

    def _take_in(self, ranks: tuple[int, ...], tag: int) -> None:
        """Receive the greetings, all of which have been seen."""
        door = self._door
        pending = [door.Irecv([_NOTHING, MPI.BYTE], rank, tag) for rank in ranks if rank != door.rank]
        while pending:
            pending = [request for request in pending if not request.Test()]

    def release(self) -> None:
        """Let nobody wait for this rank inside MPI, where ranks outlive others and MPI has a way to say so. Local."""
        if self._lasting:
            for comm in self._comms.values():
                comm.Revoke()

    def close(self) -> None:
        """Free the communicators, after a run in which nothing went wrong. **Collective**."""
        if not self._lasting:                   # else there may be dead ranks in them, and they end with the process
            for comm in (*self._comms.values(), self._door):
                comm.Free()

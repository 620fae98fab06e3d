"""The guard of one rank: ends the run when a node does not answer any more, and no epoch comes to its end for that.

It has a thread of its own and makes no MPI calls, for these may block when a node is gone: MPICH's wait in a send to it.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Sequence

from mpiflow.errors import SilenceError, ranges
from mpiflow.peer.reach import Reach
from mpiflow.peer.watch import write

_PERIOD = 1.0           # seconds between two looks, at most
EARLY = 0.1            # part of the limit after which an epoch is overdue
_PATIENT = 0.4          # part of the limit after which a node does not answer; the rest is for messages that are yet to be sent
_TURN = 0.5             # seconds that each rank leaves to the one before it, so that one speaks for all
_TURNS = 10
_LAST = 5.0             # seconds that MPI's abort may take


class Guard:
    """Looks at what connections and epochs do. Local.

    Attributes:
        finding: Which nodes do not answer; empty if all do, or nobody misses them.
    """

    def __init__(self, rank: int, limit: float, pace: Callable[[], object], end: Callable[[SilenceError], None],
                 reach: Reach | None = None, write: Callable[[str], None] = write) -> None:
        """Prepare; ``start`` starts.

        Args:
            rank: This rank.
            limit: How long a node may not answer [s]; 0 for ever.
            pace: Gives what is another when an epoch is over.
            end: Ends the process.
            reach: What is known of connections.
            write: Takes warnings.
        """
        self._rank, self._limit, self._pace, self._end = rank, limit or math.inf, pace, end
        self._reach = reach or Reach()
        self._write, self._told = write, False
        self.finding = ""
        self._hosts: Sequence[str] = ()
        self._host_of: dict[str, str] = {}
        self._seen: object = None
        self._since = self._looked = -math.inf
        self._period = min(_PERIOD, self._limit / 10)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="mpiflow-guard", daemon=True)

    def start(self) -> None:
        """Look from now on, if there is a limit."""
        if self._limit < math.inf:
            self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._closed.set()

    def know(self, hosts: Sequence[str], addresses: Sequence[Sequence[str]]) -> None:
        """From now on only other nodes of the run count.

        Args:
            hosts: Node of each rank.
            addresses: Addresses of that node.
        """
        found: dict[str, set[str]] = {}
        for host, own in zip(hosts, addresses, strict=True):
            for address in own:
                found.setdefault(address, set()).add(host)
        # Of addresses that several nodes give to themselves, as for containers, none stands for a node.
        self._host_of = {address: min(names) for address, names in found.items()
                         if len(names) == 1 and hosts[self._rank] not in names}
        self._hosts = hosts

    def look(self, now: float) -> None:
        """See how things are at the time ``now`` [s].

        Raises:
            SilenceError: A node does not answer for too long.
        """
        away, self._looked = now - self._looked, now
        pace = self._pace()
        if pace != self._seen or away > 5 * self._period:       # this process may have been stopped: that is no news of others
            self._seen, self._since = pace, now
            self._reach.forget()
        overdue = now - self._since
        if overdue > self._limit * EARLY:
            self._reach.look(now)
        lost = self._reach.lost(now, self._limit * _PATIENT)
        gone = {self._host_of.get(address, address) for address in lost if not self._hosts or address in self._host_of}
        self.finding = (f"{' and '.join(map(self._name, sorted(gone)))} cannot be reached: nothing that is sent to "
                        f"{', '.join(lost)} is acknowledged" if gone else "")
        turn = _TURN * min(sum(host not in gone for host in self._hosts[:self._rank]), _TURNS)
        self._tell(overdue - turn)

    def _tell(self, overdue: float) -> None:
        """Write what was found, and that it is no more; raise when it is enough."""
        if self.finding and overdue > self._limit:
            raise SilenceError(f"{self.finding}\nno epoch has been over for {overdue:.0f} s, and --unreachable allows "
                               f"{self._limit:g} s: the run is ended on all ranks. What was saved is kept: the same command with "
                               "--resume goes on")
        own = f"mpiflow: rank {self._rank}{f' on node {self._hosts[self._rank]}' if self._hosts else ''}: "
        if self.finding and not self._told:
            self._write(f"{own}{self.finding}; the run is ended in {self._limit - overdue:.0f} s unless that "
                        "changes, and --resume goes on\n")
            self._told = True
        elif self._told and overdue < self._limit * EARLY:
            self._write(f"{own}the nodes that could not be reached answer again\n")
            self._told = False

    def _name(self, host: str) -> str:
        ranks = [rank for rank, other in enumerate(self._hosts) if other == host]
        return f"node {host}" + (f" with rank {ranges(ranks, ',')}" if ranks else "")

    def _watch(self) -> None:
        while not self._closed.wait(self._period):
            try:
                self.look(time.perf_counter())
            except SilenceError as error:
                last = threading.Timer(_LAST, os._exit, [error.status])     # should MPI not even come to an end
                last.daemon = True
                last.start()
                self._end(error)

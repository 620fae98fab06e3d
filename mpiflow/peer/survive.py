"""Going on without ranks that have died, where the MPI can: User Level Failure Mitigation (MPI Forum, ULFM; Bland et al. 2013).

Open MPI 5 has it if it is started so: see docs/faults.md.

On each communicator the ranks that are alive call the same: operations that may fail, ``settle`` once, and no more. What
``Agree`` and ``Shrink`` give is the same on all of them, whoever dies meanwhile; nothing else is.
"""

from __future__ import annotations

import os
import time

from mpi4py import MPI

_ENABLED = "OMPI_MCA_mpi_ft_enable"
_KNOWN = 0.5            # seconds in which this rank hears of a death that another has noticed

_OVER, _BROKEN = 1, 2   # what all must say for it to be so


def survivable(comm: MPI.Comm) -> bool:
    """Whether ranks outlive others: the MPI has ULFM, and it was switched on. Local."""
    return os.environ.get(_ENABLED, "").lower() in ("1", "true", "yes") and hasattr(comm, "Shrink")


def check_alive(status: MPI.Status) -> None:
    """Raise MPI.Exception if a receive ended because its sender has died: Open MPI lets a persistent one just complete."""
    error = status.Get_error()
    if error != MPI.SUCCESS or status.Get_count(MPI.BYTE) <= 0:
        raise MPI.Exception(error if error != MPI.SUCCESS else MPI.ERR_OTHER)


def struck(comm: MPI.Comm, error: BaseException) -> bool:
    """Whether ``error`` comes of the death of a rank; then all others are told.

    Any of MPI's does, where ranks outlive others. Any other does if somebody has died: what was read may have been cut off.
    """
    if not survivable(comm) or not isinstance(error, Exception):
        return False
    if not isinstance(error, MPI.Exception) and not _somebody_died(comm):
        return False
    comm.Revoke()
    return True


def _somebody_died(comm: MPI.Comm) -> bool:
    until = time.perf_counter() + _KNOWN
    while time.perf_counter() < until:
        try:
            comm.Iprobe(MPI.ANY_SOURCE, MPI.ANY_TAG)        # news comes inside MPI calls only
            if comm.Is_revoked() or comm.Get_failed().size:
                return True
        except MPI.Exception:
            return True
        time.sleep(1e-3)
    return False


def settle(comm: MPI.Comm, over: bool) -> MPI.Comm | None:
    """Agree whether the ranks may part. **Collective** over those that are alive.

    Args:
        comm: All ranks that were alive at first; not to be used any more.
        over: Whether this rank has come to the end.

    Returns:
        None if all have, and nobody has died; else a communicator of the ranks that are alive, in their order.
    """
    if not survivable(comm):
        return None
    if not over:
        comm.Revoke()                           # whoever still waits for somebody hears of it
    try:
        if comm.Agree(_OVER if over else 0) & _OVER:
            return None
    except MPI.Exception:                       # a death, which all learn of here
        pass
    return _shrunk(comm)


def nobody_goes_on(comm: MPI.Comm) -> bool:
    """Meet the others as one that cannot go on, in place of ``settle``: whether they cannot either. **Collective**, likewise."""
    comm.Revoke()
    while True:
        try:
            return bool(comm.Agree(_BROKEN) & _BROKEN)
        except MPI.Exception:
            comm = comm.Shrink()


def duplicate(comm: MPI.Comm) -> MPI.Comm:
    """Give a communicator of the ranks of ``comm``, or of those that are alive. **Collective** over these."""
    return _shrunk(comm) if survivable(comm) else comm.Dup()


def _shrunk(comm: MPI.Comm) -> MPI.Comm:
    while True:                                 # others may die meanwhile
        comm = comm.Shrink()
        try:
            comm.Agree(0)
        except MPI.Exception:
            continue
        return comm

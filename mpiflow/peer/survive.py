"""Going on without ranks that have died, where the MPI can: User Level Failure Mitigation (MPI Forum, ULFM; Bland et al. 2013).

Open MPI 5 has it if it is started so: see docs/faults.md.

On each communicator the ranks that are alive call the same: operations that may fail, ``settle`` once, and no more. What
``Agree`` and ``Shrink`` give is the same on all of them, whoever dies meanwhile; nothing else is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from mpi4py import MPI

from mpiflow.errors import InternalError, MpiflowError

_ENABLED = "OMPI_MCA_mpi_ft_enable"

_OVER, _FAILED = 1, 2   # what all must say for it to be so


def survivable(comm: MPI.Comm) -> bool:
    """Whether ranks outlive others: the MPI has ULFM, and it was switched on. Local."""
    return os.environ.get(_ENABLED, "").lower() in ("1", "true", "yes") and hasattr(comm, "Shrink")


def check_alive(status: MPI.Status) -> None:
    """Raise MPI.Exception if a receive ended because its sender has died: Open MPI lets a persistent one just complete."""
    error = status.Get_error()
    if error != MPI.SUCCESS or status.Get_count(MPI.BYTE) <= 0:
        raise MPI.Exception(error if error != MPI.SUCCESS else MPI.ERR_OTHER)


def struck(comm: MPI.Comm, error: BaseException) -> bool:
    """Whether ``error`` may come of the death of a rank; then all others are told.

    Where ranks outlive others any of MPI's may, and what cannot happen: what was read may have been cut off.
    """
    expected = isinstance(error, MpiflowError) and not isinstance(error, InternalError)
    if not survivable(comm) or expected or not isinstance(error, Exception):
        return False
    comm.Revoke()
    return True


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


def settle_failed(comm: MPI.Comm) -> tuple[MPI.Comm | None, bool]:
    """Likewise, in place of ``settle``, for a rank whose own code has failed. **Collective**, likewise.

    Returns:
        A communicator to go on with if somebody has died, since the failure may come of that; else None, and whether all
        have failed.
    """
    comm.Revoke()
    try:
        return None, bool(comm.Agree(_FAILED) & _FAILED)
    except MPI.Exception:
        return _shrunk(comm), False


def nobody_goes_on(comm: MPI.Comm) -> bool:
    """Likewise, for a rank that cannot go on in any case: whether the others cannot either. **Collective**, likewise."""
    comm.Revoke()
    while True:
        try:
            return bool(comm.Agree(_FAILED) & _FAILED)
        except MPI.Exception:
            comm = comm.Shrink()


def duplicate(comm: MPI.Comm) -> MPI.Comm:
    """Give a communicator of the ranks of ``comm``, or of those that are alive. **Collective** over these."""
    return _shrunk(comm) if survivable(comm) else comm.Dup()


_KEY: list[int] = []


def companion(comm: MPI.Comm) -> MPI.Comm:
    """Give a communicator of our own with the ranks of ``comm``, always the same one. **Collective** the first time.

    It is freed together with ``comm``, which MPI tells us by an attribute.
    """
    if not _KEY:
        _KEY.append(MPI.Comm.Create_keyval(None, lambda comm, key, made: made.Free()))
    made = comm.Get_attr(_KEY[0])
    if made is None:
        made = duplicate(comm)
        comm.Set_attr(_KEY[0], made)
    return made


def branch(comm: MPI.Comm, groups: Sequence[tuple[int, ...]]) -> tuple[MPI.Comm, dict[tuple[int, ...], MPI.Intracomm]]:
    """Give a second communicator of all ranks, and one for each of ``groups`` that this rank is in. **Collective**.

    Each group's is made by its own ranks only. All go through the groups in the same order, so no two wait for each other. They
    are made out of the second communicator: Open MPI sends plain messages for that, which receives from anybody would take.
    """
    whole = comm.Dup()
    made = {}
    for number, ranks in enumerate(groups):
        if comm.rank in ranks:
            made[ranks] = whole.Create_group(whole.Get_group().Incl(ranks), number)
    return whole, made


def _shrunk(comm: MPI.Comm) -> MPI.Comm:
    while True:                                 # others may die meanwhile
        comm = comm.Shrink()
        try:
            comm.Agree(0)
        except MPI.Exception:
            continue
        return comm

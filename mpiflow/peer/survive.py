"""Going on without ranks that have died, where the MPI can: User Level Failure Mitigation (MPI Forum, ULFM; Bland et al. 2013).

Open MPI 5 has it if it is started so: see docs/faults.md.
"""

from __future__ import annotations

import os

from mpi4py import MPI

_ENABLED = "OMPI_MCA_mpi_ft_enable"


def survivable(comm: MPI.Comm) -> bool:
    """Whether ranks outlive others: the MPI has ULFM, and it was switched on. Local."""
    return os.environ.get(_ENABLED, "").lower() in ("1", "true", "yes") and hasattr(comm, "Shrink")


def check_alive(status: MPI.Status) -> None:
    """Raise MPI.Exception if a receive ended because its sender has died: Open MPI lets a persistent one just complete."""
    error = status.Get_error()
    if error != MPI.SUCCESS or status.Get_count(MPI.BYTE) <= 0:
        raise MPI.Exception(error if error != MPI.SUCCESS else MPI.ERR_OTHER)


def survivors(comm: MPI.Comm) -> MPI.Comm:
    """Give a communicator of the ranks that are alive, in their order. **Collective** over these.

    Others may die meanwhile, so it is repeated until all have agreed that it worked.
    """
    comm.Revoke()                               # whoever still waits for somebody hears of it
    while True:
        shrunk = comm.Shrink()
        try:
            shrunk.Agree(1)
        except MPI.Exception:
            comm = shrunk
            continue
        return shrunk

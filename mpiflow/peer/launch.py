"""Joining the other ranks, or saying clearly why that failed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mpiflow.errors import LaunchError
from mpiflow.peer.leaving import blaming
from mpiflow.peer.starting import initialise

if TYPE_CHECKING:
    from mpi4py import MPI

PATIENCE = 300.0        # seconds that the others may take to be there
_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")
_RANKS = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID")


def launched_size(environment: Mapping[str, str]) -> tuple[int, str]:
    """Give the number of processes that the launcher says it started, and the variable that says so; 1 if none does."""
    for name in _SIZES:
        if environment.get(name, "").isdigit():
            return int(environment[name]), name
    return 1, ""


def launched_rank(environment: Mapping[str, str]) -> int:
    """Give this process's number among those that the launcher started; 0 if it was started by itself."""
    for name in _RANKS:
        if environment.get(name, "").isdigit():
            return int(environment[name])
    return 0


def check_launch(size: int | None, library: str, environment: Mapping[str, str]) -> None:
    """Refuse a launch in which the ranks do not find each other: each would run everything, with exit status 0.

    Args:
        size: Number of ranks that MPI knows; None before MPI is initialised, which some wrong launches do not survive.
        library: Name and version of the MPI.
        environment: What the launcher told this process.

    Raises:
        LaunchError: The launcher started several processes, and MPI knows one, or belongs to another launcher.
    """
    expected, name = launched_size(environment)
    stranger = name.startswith("OMPI") and not library.startswith("Open MPI")
    if expected <= 1 or (size is None and not stranger) or (size is not None and size != 1):
        return
    raise LaunchError(f"the launcher started {expected} processes ({name}={expected}), but they do not find each other "
                      f"through {library}: {_remedy(name)}")


def _remedy(name: str) -> str:
    """Say what to do about a launcher that does not fit, known by the variable in which it gives its size."""
    if name.startswith("SLURM"):
        return ("srun needs the --mpi option that fits this MPI: 'srun --mpi=pmi2' for MPICH and Intel MPI, 'srun --mpi=pmix' "
                "for Open MPI ('srun --mpi=list' shows what the site has); or use 'mpirun' inside the job")
    return ("mpirun and mpi4py belong to different MPIs: use the mpirun of the environment that mpi4py was installed "
            "in ('which mpirun'), or reinstall mpi4py for this one")


def start_failure(library: str, environment: Mapping[str, str]) -> str:
    """Say what is wrong when MPI ends the process instead of starting, as MPICH does under a launcher that it does not know."""
    expected, name = launched_size(environment)
    text = f"rank {launched_rank(environment)}: {library} does not start, and has ended the process"
    return f"{text}: {_remedy(name)}" if expected > 1 else text


def mpi_library() -> str:
    """Give name and version of the MPI that is loaded: Open MPI v5.0.11."""
    from mpi4py import MPI
    name, _, version = MPI.Get_library_version().split("\n")[0].split(",")[0].strip(" \0").partition(":")
    return " ".join(f"{name} {version}".split())


def join_world(patience: float = PATIENCE) -> MPI.Comm:
    """Initialise MPI and give the communicator of all ranks, which is not for messages. **Collective**.

    Args:
        patience: How long the others may take to be there [s]; 0 for ever.

    Raises:
        LaunchError: There is no usable MPI, or the ranks did not find each other.
    """
    try:
        import mpi4py
        mpi4py.rc.initialize, mpi4py.rc.finalize = False, True
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise LaunchError(f"'run' needs MPI, which cannot be loaded: {error}. Install one with mpiflow, e.g. "
                          "pip install 'mpiflow[mpich]', or load your site's MPI module and pip install mpi4py") from None
    library = mpi_library()
    check_launch(None, library, os.environ)
    from mpiflow.peer.survive import survivable
    if not MPI.Is_initialized():
        with blaming(start_failure(library, os.environ), LaunchError.status):
            initialise(MPI, launched_rank(os.environ), survivable(MPI.COMM_WORLD), patience)
    check_launch(MPI.COMM_WORLD.size, library, os.environ)
    return MPI.COMM_WORLD

"""Takes the place of mpiflow in tests of jobscripts, for what mpiflow cannot be made to do.

    python -m mpiflow run counts [options]      waits to be told to stop, and ends with status 75
    python -m mpiflow run loses                 ends with 0 and leaves no record in its first round, as when a node is lost

Its ranks leave ``ready.ROUND`` and, if they count, ``told.RANK`` with the number of signals that came.
"""

import argparse
import signal
import sys
import time
from pathlib import Path

from mpi4py import MPI

PATIENCE = 60.0     # seconds that it waits for a signal
signals = []
signal.signal(signal.SIGUSR1, lambda *_: signals.append(1))
parser = argparse.ArgumentParser()
parser.add_argument("verb", choices=["run"])
parser.add_argument("does", choices=["counts", "loses"])
parser.add_argument("--record", type=Path)
chosen, _ = parser.parse_known_args()
comm = MPI.COMM_WORLD
last = len(list(Path().glob("ready.*"))) + 1
comm.Barrier()      # all have looked
if comm.rank == 0:
    Path(f"ready.{last}").write_text(f"{comm.size}\n")
if chosen.does == "counts":
    until = time.monotonic() + PATIENCE
    while not signals and time.monotonic() < until:
        time.sleep(0.01)
    comm.Barrier()
    time.sleep(0.1)     # a second signal, should one come
    Path(f"told.{comm.rank}").write_text(f"{len(signals)}\n")
    sys.exit(75)
if last == 2 and comm.rank == 0:
    chosen.record.write_text("{}\n")

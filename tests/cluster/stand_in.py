"""Takes the place of mpiflow in tests of jobscripts: it runs until it is told to stop, and does not get far in any round.

    python -m mpiflow run ROUNDS [options]      needs so many rounds: 75 in those before, a record and 0 in the last
    python -m mpiflow run fails                 ends with status 1
    python -m mpiflow run loses                 ends with 0 and leaves no record in its first round, as when a node is lost

Its ranks leave ``ready.ROUND``, and ``told.ROUND.RANK`` when told to stop, with the number of signals that came.
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
parser.add_argument("needs")
parser.add_argument("--resume", action="store_true")
parser.add_argument("--record", type=Path)
parser.add_argument("--rounds", type=Path, default=Path())
chosen, _ = parser.parse_known_args()
needs = Path(chosen.needs).stem     # a workflow's name will do
comm = MPI.COMM_WORLD
last = len(list(chosen.rounds.glob("ready.*"))) + 1
comm.Barrier()      # all have looked
if comm.rank == 0:
    (chosen.rounds / f"ready.{last}").write_text(f"{comm.size} {chosen.resume}\n")
if needs == "fails":
    sys.exit(1)
done = last == 2 if needs == "loses" else last == int(needs)
if not done and needs != "loses":
    until = time.monotonic() + PATIENCE
    while not signals and time.monotonic() < until:
        time.sleep(0.01)
    comm.Barrier()
    time.sleep(0.1)     # a second signal, should one come
    (chosen.rounds / f"told.{last}.{comm.rank}").write_text(f"{len(signals)}\n")
if done and chosen.record and comm.rank == 0:
    chosen.record.write_text("{}\n")
sys.exit(0 if done or needs == "loses" else 75)

"""A job whose time limit is a third of what it needs, on a real SLURM with its real clock.

    python tests/cluster/thirds.py [--minutes 3] [--launch "srun --mpi=pmi2"]

The job runs jobscripts/chain.sh on two nodes with two ranks each. SLURM warns it shortly before the limit; it stops, is requeued,
and goes on. It must be done after three or four rounds (five if SLURM's clock, which ticks every 30 s, is against it), with the
bits of one rank; no task may be lost, and at most one for each rank and round may have run twice. Takes about four times the
limit; tasks sleep.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import slurm
from launching import ROOT, mpiflow
from noted import LONG, SITE, Rounds

NODES, PER_NODE = 2, 2
SECONDS_EACH = 3.0
WARNED = 10                         # seconds before the limit
NEEDS = 3                           # times the limit
ROUNDS = (3, 4, 5)


def main() -> int:
    """Run it, print what came out, and give the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=3, help="time limit of the job (default: 3)")
    parser.add_argument("--launch", default="srun --mpi=pmi2", help="how ranks are started (default: srun --mpi=pmi2)")
    chosen = parser.parse_args()
    limit = 60 * chosen.minutes
    num_tasks = round(NEEDS * limit * NODES * PER_NODE / SECONDS_EACH)
    print(f"{num_tasks} tasks of {SECONDS_EACH:g} s on {NODES * PER_NODE} ranks: {NEEDS * limit} s, in jobs of {limit} s, "
          f"started by {chosen.launch}", flush=True)
    with tempfile.TemporaryDirectory(prefix="thirds.") as folder, slurm.slurm(NODES) as cluster:
        return thirds(cluster, Rounds(Path(folder), num_tasks), chosen.launch, chosen.minutes)


def thirds(cluster: slurm.Cluster, rounds: Rounds, launch: str, minutes: int) -> int:
    """Run the job to its end and compare; give the exit status."""
    sizes = ("--set", f"blocks={rounds.num_tasks}", "--set", f"rows={100 * rounds.num_tasks}")
    began = time.monotonic()
    job = cluster.submit("--output=out", f"--nodes={NODES}", f"--ntasks-per-node={PER_NODE}", f"--time={minutes}",
                         f"--signal=B:USR1@{WARNED}", ROOT / "jobscripts" / "chain.sh", LONG, *sizes, cwd=rounds.folder,
                         env={**SITE, "LAUNCH": launch, "SECONDS_EACH": str(SECONDS_EACH)})
    ended = cluster.ended(job, 60.0 * minutes * 2 * max(ROUNDS))
    seconds = time.monotonic() - began
    out = (rounds.folder / "out").read_text()
    ends = [sum(note[0] == number and note[3] == "ends" for note in rounds.notes) for number in range(1, ended.restarts + 2)]
    print(f"{ended.state}, status {ended.status}, {seconds:.0f} s, {len(ends)} rounds with {', '.join(map(str, ends))} tasks")
    if (ended.state, ended.status) != ("COMPLETED", 0) or len(ends) not in ROUNDS or "STOPPED" not in out:
        print(out)
        return 1
    again = rounds.check_tasks()
    alone = mpiflow(1, LONG, *sizes, "--results", "alone", cwd=rounds.folder,
                    env={"OMP_NUM_THREADS": "1", "SECONDS_EACH": "0.001", "SLURM_RESTART_COUNT": "98"})
    same = alone.status == 0 and Rounds(rounds.folder / "alone").results == rounds.results
    print(f"no task lost, {again} run twice, results {'are those of one rank to the last bit' if same else 'DIFFER'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())

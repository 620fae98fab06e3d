"""A SLURM jobscript fitted to one workflow. Pure: text from the request and what the planner expects of it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from mpiflow.planning.forecast import Forecast
from mpiflow.report.summary import count

LAUNCHERS = {"mpirun": 'mpirun -n "$SLURM_NTASKS"', "srun-pmi2": "srun --mpi=pmi2", "srun-pmix": "srun --mpi=pmix"}
WARNING = 120               # seconds before the time limit at which SLURM warns; of short ones a third
ROUNDS = 50                 # a chain ends after so many, should it not get on
EXPLAINED = 5               # results that are listed

_SITE = """\
set -uo pipefail

# The site: modules of Python and of the MPI that mpi4py uses, and the environment with mpiflow.
# module load python openmpi
# source "$HOME/mpiflow/bin/activate"

export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}        # or each rank computes with a thread for every core of the node
"""
_SRUN = """\
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}     # srun does not take it over from sbatch
"""
_PMIX = """\
export SLURM_PMIX_FENCE=ring        # Open MPI 5 can crash at its start with the others (open-mpi/ompi#12495)
prefix=$(python -c 'import sys; print(sys.prefix)')     # an Open MPI from PyPI has to be told where its files are
[[ ! -e $prefix/bin/ompi_info ]] || export OPAL_PREFIX=$prefix
"""
_ONCE = """\

# exec: the warning before the time limit goes to the shell alone, which is the launcher from here on; it passes it to all ranks.
exec {run}
"""
_CHAIN = """\

record=mpiflow-$SLURM_JOB_ID.json
rm -f "$record"
# The warning before the time limit is passed on to the launcher, which passes it to all ranks.
launcher='' warned=yes
trap 'warned=yes; [[ ! $launcher ]] || kill -USR1 "$launcher"' USR1
{run} --resume --record "$record" &
launcher=$!
while [[ $warned ]]; do warned=; wait "$launcher"; status=$?; done      # a signal ends "wait" early

# Open MPI 5's mpirun ends with 0 when it has lost a node: only a run that came to its end leaves a record.
((status != 0)) || [[ -s $record ]] || status=75
# 75: stopped before the end; the same command with --resume goes on.
if ((status == 75 && ${{SLURM_RESTART_COUNT:-0}} + 1 < {rounds})); then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
"""


@dataclass(frozen=True)
class JobRequest:
    """What the user asks SLURM for.

    Attributes:
        workflow: Path of the document, as the job shall use it.
        num_nodes: Number of nodes.
        per_node: Ranks on each.
        time: Time limit, as the user wrote it.
        seconds: The same [s].
        launcher: Key of ``LAUNCHERS``.
        partition: Where to run; None for the site's default.
        memory: Memory of each node as SLURM takes it; None for the site's default.
        requeue: Whether the job goes on in further rounds until it is done.
        options: Further arguments of ``run``.
    """

    workflow: str
    num_nodes: int
    per_node: int
    time: str
    seconds: int
    launcher: str
    partition: str | None = None
    memory: str | None = None
    requeue: bool = False
    options: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Number of ranks."""
        return self.num_nodes * self.per_node


def jobscript(request: JobRequest, found: Forecast, results: Sequence[str]) -> str:
    """Write the script.

    Args:
        request: What is asked for.
        found: Plan and prediction for that many ranks.
        results: Files that the workflow writes.
    """
    run = f"{LAUNCHERS[request.launcher]} python -m mpiflow run {shlex.join([request.workflow, *request.options])}"
    closing = _CHAIN.format(run=run, rounds=ROUNDS) if request.requeue else _ONCE.format(run=run)
    site = _SITE + _SRUN * request.launcher.startswith("srun") + _PMIX * (request.launcher == "srun-pmix")
    return "\n".join(["#!/bin/bash", *_about(request, found, results), *_directives(request, found.name), site]) + closing


def _about(request: JobRequest, found: Forecast, results: Sequence[str]) -> list[str]:
    """Comments: what runs, what it is expected to take, what it writes."""
    files = sorted(set(results))
    more = f" and {len(files) - EXPLAINED} more" if len(files) > EXPLAINED else ""
    lines = [f"{found.name}: {count(len(found.plan.ranks), 'task')} on {count(request.size, 'rank')}", prediction(request, found)]
    lines += [f"writes {', '.join(files[:EXPLAINED])}{more}"] if files else []
    return [f"# {_printable(line)}" for line in lines]


def _directives(request: JobRequest, name: str) -> list[str]:
    """What sbatch reads."""
    # B: to the shell alone; mpirun's daemons must not get it.
    warning = f"B:USR1@{min(WARNING, request.seconds // 3)}"
    chosen = {"job-name": job_name(name), "nodes": request.num_nodes, "ntasks-per-node": request.per_node, "time": request.time,
              "partition": request.partition, "mem": request.memory, "signal": warning, "output": "%x-%j.out"}
    lines = [f"#SBATCH --{key}={value}" for key, value in chosen.items() if value is not None]
    return lines + (["#SBATCH --requeue", "#SBATCH --open-mode=append"] if request.requeue else [])


def job_name(name: str) -> str:
    """Name the job like the workflow, in characters that need no quotes."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-") or "mpiflow"


def _printable(line: str) -> str:
    """One line, whatever is in the names: what is in a new line would be run."""
    return "".join(char if char.isprintable() else "?" for char in line)


def prediction(request: JobRequest, found: Forecast) -> str:
    """Say how the time that the plan takes compares with the time limit."""
    return f"predicted: {_seconds(found.simulation.seconds)} of a time limit of {request.seconds} s ({request.time})"


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 100 else f"{seconds:.3g} s"


def doubts(request: JobRequest, found: Forecast, learned: bool) -> list[str]:
    """What speaks against the request.

    Args:
        request: What is asked for.
        found: Plan and prediction for that many ranks.
        learned: Whether the prediction rests on times of earlier runs.
    """
    seconds, widest = found.simulation.seconds, most_at_once(found)
    lines = []
    if widest < request.size:
        lines.append(f"the plan has never more than {count(widest, 'rank')} of {request.size} at work at the same time: "
                     "ask for fewer, or cut the data into more blocks")
    if seconds > request.seconds:
        rounds = -(-seconds // request.seconds)
        remedy = f"about {rounds:.0f} rounds" if request.requeue else "use --requeue or a longer --time"
        guess = "" if learned else " (guessed: no earlier run is known)"
        lines.append(f"the plan takes {_seconds(seconds)}{guess}, the time limit is {request.seconds} s: {remedy}")
    return lines


def most_at_once(found: Forecast) -> int:
    """Give the largest number of ranks at work at the same time."""
    spans = [(start, end) for start, end in zip(found.simulation.starts, found.simulation.ends, strict=True) if end > start]
    changes = sorted([(end, -1) for _, end in spans] + [(start, 1) for start, _ in spans])
    now = most = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most

"""``slurm``: write a jobscript that fits a workflow, without MPI and without SLURM."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from mpiflow.cli.arguments import add_store, add_workflow
from mpiflow.cli.compiling import compiled
from mpiflow.cli.files import deliver
from mpiflow.cli.plan import LARGEST
from mpiflow.errors import LaunchError
from mpiflow.planning.forecast import forecast
from mpiflow.planning.history import concerning, expectations
from mpiflow.planning.machine import BANDWIDTH, LATENCY, Machine
from mpiflow.report.console import say, warn
from mpiflow.report.jobscript import LAUNCHERS, JobRequest, doubts, jobscript, prediction
from mpiflow.storage.history import read_history

HELP = "write a SLURM jobscript that fits a workflow"
_UNITS = {"": 1 << 20, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_TIMES = "write minutes, hours:minutes:seconds or days-hours:minutes:seconds, e.g. 90, 1:30:00 or 2-00:00:00"
# The forms that sbatch takes, with the number of seconds in each field.
_FORMS = {r"(\d+)": (60,), r"(\d+):([0-5]?\d)": (60, 1), r"(\d+):([0-5]?\d):([0-5]?\d)": (3600, 60, 1),
          r"(\d+)-(\d+)": (86400, 3600), r"(\d+)-(\d+):([0-5]?\d)": (86400, 3600, 60),
          r"(\d+)-(\d+):([0-5]?\d):([0-5]?\d)": (86400, 3600, 60, 1)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this verb."""
    add_workflow(parser)
    parser.add_argument("--nodes", type=_count, default=1, metavar="NODES", help="number of nodes (default: 1)")
    parser.add_argument("--ntasks-per-node", dest="per_node", type=_count, required=True, metavar="RANKS",
                        help="ranks on each node")
    parser.add_argument("--time", type=_time, required=True, help="time limit, as sbatch takes it, e.g. 1:30:00")
    parser.add_argument("--partition", type=_partition, help="where to run (default: the site's)")
    parser.add_argument("--mem", dest="memory", type=_memory, metavar="SIZE",
                        help="memory on each node, as sbatch takes it, e.g. 64G")
    parser.add_argument("--launcher", choices=LAUNCHERS, default="mpirun",
                        help="what starts the ranks: srun-pmi2 for MPICH and Intel MPI, srun-pmix for Open MPI (default: mpirun)")
    parser.add_argument("--requeue", action="store_true", help="stop before the time limit and go on in a next round, until done")
    parser.add_argument("--results", type=Path, default=Path(), metavar="DIR", help="where results go (default: here)")
    add_store(parser)
    parser.add_argument("-o", dest="output", type=Path, metavar="FILE", help="write the script to FILE (default: print it)")


def execute(chosen: argparse.Namespace) -> int:
    """Check and plan the workflow for the ranks asked for, and write the script."""
    request = _request(chosen)
    local, graph = compiled(chosen, request.size)
    history, links = read_history(chosen.store)
    expected = expectations(graph, local.registry, concerning(history, local.registry))
    memory = None if chosen.memory is None else (_nbytes(chosen.memory) // request.per_node,) * request.size
    nodes = tuple(rank // request.per_node for rank in range(request.size))
    document = local.workflow.document
    found = forecast(graph, Machine(nodes, *(links or (LATENCY, BANDWIDTH)), memory), document.name, *(expected or (None, None)))
    for line in doubts(request, found, expected is not None):
        warn(line)
    deliver(jobscript(request, found, list(document.files.values())), chosen.output, "jobscript; submit it with sbatch")
    if chosen.output:
        say(prediction(request, found))
    return 0


def _request(chosen: argparse.Namespace) -> JobRequest:
    """What is asked for, with paths that hold wherever the script is submitted from."""
    size = chosen.nodes * chosen.per_node
    if size > LARGEST:
        raise LaunchError(f"--nodes {chosen.nodes} with --ntasks-per-node {chosen.per_node}: {size} ranks are too many "
                          f"(1 to {LARGEST})")
    options = [word for given in chosen.overrides for word in ("--set", given)]
    options += ["--results", str(chosen.results.absolute()), "--store", str(chosen.store.absolute())]
    text, seconds = chosen.time
    return JobRequest(str(chosen.workflow.absolute()), chosen.nodes, chosen.per_node, text, seconds, chosen.launcher,
                      chosen.partition, chosen.memory, chosen.requeue, tuple(options))


def _count(word: str) -> int:
    """A number of nodes or ranks."""
    if not re.fullmatch(r"[0-9]{1,7}", word) or not 1 <= int(word) <= LARGEST:
        raise argparse.ArgumentTypeError(f"{word!r} is no such number (1 to {LARGEST})")
    return int(word)


def _time(word: str) -> tuple[str, int]:
    """A time limit as sbatch takes it, and what it comes to [s]."""
    for form, weights in _FORMS.items():
        if match := re.fullmatch(form, word, re.ASCII):
            seconds = sum(int(number) * weight for number, weight in zip(match.groups(), weights, strict=True))
            if seconds > 0:
                return word, seconds
            raise argparse.ArgumentTypeError(f"{word!r} is no time limit: it must be above 0")
    raise argparse.ArgumentTypeError(f"{word!r} is no time limit; {_TIMES}")


def _memory(word: str) -> str:
    """Memory as sbatch takes it."""
    if not re.fullmatch(r"0*[1-9][0-9]*[KMGT]?", word):
        raise argparse.ArgumentTypeError(f"{word!r} is no memory for sbatch; write for example 64G or 4000M")
    return word


def _nbytes(memory: str) -> int:
    return int(memory.rstrip("KMGT")) * _UNITS[memory.lstrip("0123456789")]


def _partition(word: str) -> str:
    """A name of a partition, or several."""
    if not re.fullmatch(r"[\w.+-]+(,[\w.+-]+)*", word, re.ASCII):
        raise argparse.ArgumentTypeError(f"{word!r} is no name of a partition")
    return word

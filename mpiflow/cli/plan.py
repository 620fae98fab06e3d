"""``plan``: say what would run where, what would move and how long it would take, without MPI."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import msgspec

from mpiflow.cli.arguments import add_memory, add_store, add_workflow
from mpiflow.cli.compiling import compiled
from mpiflow.errors import LaunchError, did_you_mean, near_file
from mpiflow.planning.forecast import forecast
from mpiflow.planning.history import concerning, expectations
from mpiflow.planning.machine import BANDWIDTH, LATENCY, Machine
from mpiflow.planning.tasks import TaskGraph
from mpiflow.report.console import columns, fit, say
from mpiflow.report.planned import as_json, explanation, text
from mpiflow.storage.history import Links, read_history

HELP = "say what would run where, what would move and how long it would take, for any number of ranks"
LARGEST = 1_000_000     # ranks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this verb."""
    add_workflow(parser)
    parser.add_argument("-n", dest="size", metavar="RANKS", type=_count, default=1, help="number of ranks (default: 1)")
    parser.add_argument("--ranks-per-node", metavar="RANKS", type=_count, help="ranks on each node (default: all on one)")
    add_memory(parser)
    parser.add_argument("--machine", metavar="FILE", type=Path,
                        help='JSON file with "latency" [s] and "bandwidth" [bytes/s], each [within a node, between nodes]')
    add_store(parser)
    parser.add_argument("--explain", metavar="STEP", help="show the ranks weighed for each task of this step, and their costs")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def execute(chosen: argparse.Namespace) -> int:
    """Plan the workflow for a machine that need not be here."""
    local, graph = compiled(chosen, chosen.size)
    history, links = read_history(chosen.store)
    expected = expectations(graph, local.registry, concerning(history, local.registry)) or (None, None)
    if chosen.explain is not None:
        _known(chosen.explain, graph)
    found = forecast(graph, _machine(chosen, links), local.workflow.document.name, *expected)
    if chosen.json:
        say(as_json(found, chosen.explain))
    else:
        width = columns()
        say(fit(text(found, width) if chosen.explain is None else explanation(found, chosen.explain, width)))
    return 0


def _known(step: str, graph: TaskGraph) -> None:
    names = sorted({task.step for task in graph.tasks} | set(graph.datasets))
    if step not in names:
        hint = did_you_mean(step, names) or f" (steps: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''})"
        raise LaunchError(f"--explain {step}: the workflow has no such step{hint}")


def _machine(chosen: argparse.Namespace, known: Links | None) -> Machine:
    """The ranks, with the links that the user gives, else those of the last run."""
    per_node = chosen.ranks_per_node or chosen.size
    nodes = tuple([rank // per_node for rank in range(chosen.size)])
    memory = None if chosen.memory is None else (chosen.memory,) * chosen.size
    links = _links(chosen.machine) if chosen.machine else _Links(*(known or (LATENCY, BANDWIDTH)))
    return Machine(nodes, links.latency, links.bandwidth, memory)


class _Links(msgspec.Struct, forbid_unknown_fields=True):
    """What a machine file may hold."""

    latency: tuple[float, float] = LATENCY
    bandwidth: tuple[float, float] = BANDWIDTH


def _links(file: Path) -> _Links:
    try:
        links = msgspec.json.decode(file.read_bytes(), type=_Links)
    except OSError as error:
        raise LaunchError(f"--machine {file}: cannot read it: {error.strerror}{near_file(file)}") from None
    except msgspec.MsgspecError as error:
        raise LaunchError(f"--machine {file}: {error}") from None
    if min(links.latency) < 0 or min(links.bandwidth) <= 0:
        raise LaunchError(f"--machine {file}: latencies must not be negative, and bandwidths must be above 0")
    return links


def _count(word: str) -> int:
    """A number of ranks."""
    if not re.fullmatch(r"[0-9]{1,7}", word) or not 1 <= int(word) <= LARGEST:
        raise argparse.ArgumentTypeError(f"{word!r} is no number of ranks (1 to {LARGEST})")
    return int(word)

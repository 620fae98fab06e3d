"""What making a plan costs, for few and many tasks and ranks; no MPI. ``python benchmarks/planning.py``."""

from __future__ import annotations

import argparse
from typing import Any

from measuring import MICRO, arguments, finish, progress, side, summary

GRAPHS = ("independent", "layered")
TASKS = (1_000, 10_000, 100_000)
RANKS = (2, 32, 1_024)
MEGA = 1e6


def main() -> None:
    """Plan each graph of each size for each number of ranks."""
    parser = arguments(__doc__, repeats=3)
    parser.add_argument("--tasks", type=int, nargs="+", default=TASKS)
    parser.add_argument("--ranks", type=int, nargs="+", default=RANKS)
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.tasks, chosen.ranks, chosen.repeats = [100], [2, 32], 1
    rows: list[list[object]] = []
    found = [measure(chosen, graph, num_tasks, num_ranks, rows)
             for graph in GRAPHS for num_tasks in chosen.tasks for num_ranks in chosen.ranks]
    finish(chosen, ["graph", "tasks", "ranks", "plan [s]", "us / edge", "peak [MB]", "makespan / bound"], rows, found)


def measure(chosen: argparse.Namespace, graph: str, num_tasks: int, num_ranks: int, rows: list[list[object]]) -> dict[str, Any]:
    """Plan one graph for one number of ranks; a task and an input count as an edge each."""
    progress(f"{graph}, {num_tasks} tasks, {num_ranks} ranks")
    runs = [side("place.py", graph, num_tasks, num_ranks, timeout=chosen.timeout) for _ in range(chosen.repeats)]
    seconds = summary([run["seconds"] for run in runs])
    edges = num_tasks + runs[0]["num_inputs"]
    peak = max(run["peak_bytes"] for run in runs)
    rows.append([graph, num_tasks, num_ranks, seconds["median"], seconds["median"] / edges * MICRO, peak / MEGA,
                 runs[0]["makespan"] / runs[0]["bound"]])
    return {"graph": graph, "tasks": num_tasks, "ranks": num_ranks, "edges": edges, "seconds": seconds, "peak_bytes": peak,
            "makespan": runs[0]["makespan"], "bound": runs[0]["bound"], "moved_bytes": runs[0]["moved_bytes"]}


if __name__ == "__main__":
    main()

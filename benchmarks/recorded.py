"""Recorded workflows (WfFormat) against what no schedule can beat: ``python benchmarks/recorded.py FILE_OR_DIRECTORY ...``.

Each is scaled in time, so that its work takes a few seconds, and in size, run, and compared with two bounds: the larger of its
critical path and its work divided by the ranks, which no schedule can beat; and a list schedule of the same tasks without
any costs of moving or running them. Bytes moved are compared with a placement of the same tasks in turn.
"""

from __future__ import annotations

import argparse
import heapq
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import networkx as nx
from measuring import arguments, both, finish, in_turn, progress, run_mpiflow, start, summary


def main() -> None:
    """Measure every file."""
    parser = arguments(__doc__, repeats=5)
    parser.add_argument("files", type=Path, nargs="+", help="WfFormat files, or directories of them")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--work", type=float, default=10.0, help="seconds of work in each (default: 10)")
    parser.add_argument("--nbytes", type=float, default=1e8, help="bytes in each at most (default: 1e8)")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.work, chosen.nbytes, chosen.repeats = 0.2, 1e5, 1
    rows: list[list[object]] = []
    figures = [measure(chosen, file, rows) for file in listed(chosen.files)]
    header = ["workflow", "tasks", "critical path [s]", "work / ranks [s]", "run / bound", "run / list schedule", "moved [bytes]",
              "round-robin [bytes]", "moved / round-robin"]
    finish(chosen, header, rows, figures)


def listed(files: list[Path]) -> list[Path]:
    """Give the files, and those in the directories."""
    return [found for file in files for found in (sorted(file.glob("*.json")) if file.is_dir() else [file])]


def measure(chosen: argparse.Namespace, file: Path, rows: list[list[object]]) -> dict[str, Any]:
    """Scale, convert and run one file."""
    progress(file.name)
    graph, nbytes = read(file)
    work = sum(seconds for _, seconds in graph.nodes(data="seconds"))
    if not work:
        raise SystemExit(f"{file}: no task takes any time")
    time_scale, size_scale = chosen.work / work, min(1.0, chosen.nbytes / nbytes if nbytes else 1.0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start([sys.executable, "-m", "mpiflow", "import", "wfformat", file.absolute(), "-o", "w.yaml",
               "--time-scale", time_scale, "--size-scale", size_scale], chosen.timeout, folder)
        run = {"run": lambda: run_mpiflow(folder, "w.yaml", num_ranks=chosen.ranks, timeout=chosen.timeout)}
        records = in_turn(run, chosen.repeats)["run"]
    path, share = critical_path(graph) * time_scale, work * time_scale / chosen.ranks
    seconds = summary([record["seconds"] for record in records])
    listed = list_schedule(graph, chosen.ranks) * time_scale
    over, over_list = ({which: seconds[which] / bound for which in ("best", "median")} for bound in (max(path, share), listed))
    moved = [sum(link[3] for link in record["moved"]) for record in records]
    in_turn_bytes = round_robin(records[0]["tasks"], chosen.ranks)
    rows.append([file.stem, len(graph), path, share, both(over), both(over_list), max(moved), in_turn_bytes,
                 max(moved) / in_turn_bytes if in_turn_bytes else None])
    return {"file": file.name, "tasks": len(graph), "time_scale": time_scale, "size_scale": size_scale, "critical_path": path,
            "work_per_rank": share, "list_schedule": listed, "seconds": seconds, "over_bound": over,
            "over_list_schedule": over_list, "moved": moved, "round_robin": in_turn_bytes}


def read(file: Path) -> tuple[nx.DiGraph, int]:
    """Give a recorded workflow's tasks with their ``seconds``, and the bytes of all its files together."""
    workflow = json.loads(file.read_text())["workflow"]
    seconds = {task["id"]: task["runtimeInSeconds"] for task in workflow["execution"]["tasks"]}
    graph = nx.DiGraph()
    for task in workflow["specification"]["tasks"]:
        graph.add_node(task["id"], seconds=seconds.get(task["id"], 0.0))
        graph.add_edges_from((parent, task["id"]) for parent in task["parents"])
    return graph, sum(item["sizeInBytes"] for item in workflow["specification"].get("files", ()))


def critical_path(graph: nx.DiGraph) -> float:
    """Give the run time of the longest chain of tasks [s]."""
    ends: dict[str, float] = {}
    for task in nx.topological_sort(graph):
        ends[task] = graph.nodes[task]["seconds"] + max((ends[parent] for parent in graph.predecessors(task)), default=0.0)
    return max(ends.values(), default=0.0)


def list_schedule(graph: nx.DiGraph, num_ranks: int) -> float:
    """Give the makespan of a list schedule, in order of the longest way to the end, where moving data costs nothing [s].

    Source: Adam, Chandy, Dickson 1974, "A comparison of list schedules for parallel processing systems" (HLFET).
    """
    level: dict[str, float] = {}
    for task in reversed(list(nx.topological_sort(graph))):
        level[task] = graph.nodes[task]["seconds"] + max((level[after] for after in graph.successors(task)), default=0.0)
    waits = dict(graph.in_degree())
    ready = [(-level[task], task) for task, num in waits.items() if not num]
    heapq.heapify(ready)
    running: list[tuple[float, str]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < num_ranks:
            task = heapq.heappop(ready)[1]
            heapq.heappush(running, (now + graph.nodes[task]["seconds"], task))
        now, task = heapq.heappop(running)
        for after in graph.successors(task):
            waits[after] -= 1
            if not waits[after]:
                heapq.heappush(ready, (-level[after], after))
    return now


def round_robin(tasks: list[dict[str, Any]], num_ranks: int) -> int:
    """Give the bytes that would move if the tasks of a record, in their order, went to the ranks in turn.

    A block goes to a rank once, however many tasks need it there.
    """
    ranks = [number % num_ranks for number in range(len(tasks))]
    links = {(needed, ranks[number]) for number, task in enumerate(tasks) for needed in task["needs"]}
    return sum(tasks[needed]["nbytes"] for needed, rank in links if ranks[needed] != rank)


if __name__ == "__main__":
    main()

"""Plan a made-up graph, in a process of its own, and print what that cost as JSON: ``place.py GRAPH TASKS RANKS``."""

from __future__ import annotations

import json
import random
import resource
import sys
import time

from mpiflow.planning.bounds import lower_bounds
from mpiflow.planning.machine import Machine
from mpiflow.planning.plan import make_plan
from mpiflow.planning.tasks import Input, Kind, Task, TaskGraph
from mpiflow.planning.workload import workload

PER_NODE = 32       # ranks
LAYERS = 20


def main() -> None:
    """Make the graph and the plan."""
    kind, num_tasks, num_ranks = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    graph = GRAPHS[kind](num_tasks)
    machine = Machine(tuple(rank // PER_NODE for rank in range(num_ranks)))
    before = _peak()
    began, used = time.perf_counter(), time.process_time()
    plan = make_plan(graph, machine)
    wall, seconds = time.perf_counter() - began, time.process_time() - used
    print(json.dumps({
        "seconds": seconds, "wall": wall, "num_inputs": sum(map(len, graph.needs)), "peak_bytes": _peak(), "before_bytes": before,
        "makespan": plan.seconds, "bound": lower_bounds(workload(graph, machine)).seconds, "moved_bytes": plan.nbytes}))


def layered(num_tasks: int) -> TaskGraph:
    """Layers of tasks, each of which needs two or three of the layer before."""
    chance, width, tasks = random.Random(0), max(num_tasks // LAYERS, 10), []
    for number in range(num_tasks):
        first = number // width * width
        needs = chance.sample(range(first - width, first), chance.choice((2, 3))) if first else []
        tasks.append(_task(number, needs, chance.choice((10**3, 10**5, 10**6, 10**7)), chance.uniform(0.01, 0.1)))
    return TaskGraph(tasks)


def independent(num_tasks: int) -> TaskGraph:
    """Tasks that need nothing."""
    chance = random.Random(0)
    return TaskGraph([_task(number, [], 8000, chance.uniform(0.01, 0.1)) for number in range(num_tasks)])


def _task(number: int, needs: list[int], nbytes: int, seconds: float) -> Task:
    inputs = tuple(Input("", (needed,)) for needed in needs)
    return Task(f"{number:032x}", Kind.APPLY, "s", "f", inputs, nbytes=nbytes, seconds=seconds)


def _peak() -> int:
    """The most memory that this process has taken [bytes]."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


GRAPHS = {"layered": layered, "independent": independent}

if __name__ == "__main__":
    main()

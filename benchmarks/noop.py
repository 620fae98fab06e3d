"""Independent no-op tasks: what a task costs when there is nothing to do. ``python benchmarks/noop.py``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from measuring import add_dask, arguments, both, finish, in_turn, progress, ratio, run_mpiflow, side, summary

OPERATIONS = """\
from mpiflow import operation


@operation
def noop(i):
    return i
"""
DOCUMENT = """\
mpiflow: 1
name: noop
operations: [ops.py]
steps:
  t: {{for: {{i: range({})}}, run: noop($i)}}
"""


def main() -> None:
    """Measure all systems in turn."""
    parser = arguments(__doc__, repeats=7)
    add_dask(parser)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--ranks", type=int, default=2)
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.tasks, chosen.repeats = 200, 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "ops.py").write_text(OPERATIONS)
        (folder / "noop.yaml").write_text(DOCUMENT.format(chosen.tasks))
        samples = in_turn(systems(chosen, folder), chosen.repeats)
    report(chosen, samples)


def systems(chosen, folder: Path) -> dict[str, Callable[[], dict[str, float]]]:
    """Give what measures each system once: seconds of the run, and of everything."""
    tasks, num, peer = chosen.tasks, chosen.ranks, partial(other, timeout=chosen.timeout)
    found = {
        "mpiflow": lambda: ours(chosen, folder),
        "raw mpi4py, each rank its share": lambda: peer("noop_raw.py", "loop", tasks, num_ranks=num),
        "raw mpi4py, one message a task": lambda: peer("noop_raw.py", "messages", tasks, num_ranks=num),
        f"mpi4py.futures, {num} workers + 1": lambda: peer("noop_futures.py", tasks, num_ranks=num + 1, module="mpi4py.futures"),
        f"mpi4py.futures, {num - 1} workers + 1": lambda: peer("noop_futures.py", tasks, num_ranks=num, module="mpi4py.futures"),
    }
    if not chosen.without_dask:
        found |= {
            "Dask distributed, default": lambda: peer("noop_dask.py", tasks, num, "default"),
            "Dask distributed, worker-saturation: inf": lambda: peer("noop_dask.py", tasks, num, "inf")}
    return found


def ours(chosen, folder: Path) -> dict[str, float]:
    """Run the workflow once."""
    progress("mpiflow")
    record = run_mpiflow(folder, "noop.yaml", num_ranks=chosen.ranks, timeout=chosen.timeout)
    assert len(record["tasks"]) == chosen.tasks
    return {"run": record["seconds"], "all": record["seconds"] + record["preparation"]}


def other(script: str, *options: object, **how) -> dict[str, float]:
    """Run another system once: from the first submission to the last result, without the start of its processes."""
    progress(f"{script} {' '.join(map(str, options))}")
    seconds = side(script, *options, **how)["seconds"]
    return {"run": seconds, "all": seconds}


def report(chosen, samples: dict[str, list[dict[str, float]]]) -> None:
    """Print tasks per second, and how many times as many mpiflow runs as each of the others."""
    figures = {name: {phase: summary([sample[phase] for sample in found]) for phase in ("run", "all")}
               for name, found in samples.items()}
    rows = []
    for name, figure in figures.items():
        figure["mpiflow_is_faster"] = {
            phase: ratio(figure[phase], figures["mpiflow"][phase]) for phase in ("run", "all")}
        rates = [chosen.tasks / figure[phase]["median"] for phase in ("run", "all")]
        rows.append([name, *rates, *(both(figure["mpiflow_is_faster"][phase]) for phase in ("run", "all"))])
    header = ["system", "tasks/s, run", "tasks/s, all", "mpiflow is x faster, run", "all"]
    finish(chosen, header, rows, figures)


if __name__ == "__main__":
    main()

"""Task Bench grids: the smallest task that is worth its overhead, METG(50 %). ``python benchmarks/taskbench.py``.

METG(50 %) is the smallest granularity (wall time x ranks / tasks) at which at least half of the machine's time goes into
the kernels: twice the time of a kernel of that length. Task lengths are doubled or halved until efficiency crosses 50 %; the
crossing is interpolated. The speed of a core changes within seconds when others use the same hardware. So efficiency refers
to the kernel's speed around each grid, and lengths are given as times at one speed, the same for all systems.

Source: Slaughter et al. 2020, "Task Bench: A Parameterized Benchmark for Evaluating Parallel Runtime Performance" (SC'20).
"""

from __future__ import annotations

import itertools
import math
import statistics
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from measuring import MICRO, SIDES, add_dask, arguments, both, finish, progress, ratio, run_mpiflow, side, summary

sys.path.insert(0, str(SIDES))
from grid import PATTERNS, needed

HALF = 0.5
LARGEST = 1 << 24       # iterations, about a second
CALIBRATION = 1_000_000
STEADY = 1.1            # the speed of the machine counts as the same within this factor
TRIES = 6


@dataclass(frozen=True)
class Point:
    """One task length: wall times, efficiency of best and median, and the time of one iteration around each sample [s]."""

    seconds: dict[str, Any]
    efficiency: dict[str, float]
    kernels: list[float]


@dataclass
class Sweep:
    """One system on one pattern: efficiency for task lengths of 2^k iterations.

    Attributes:
        system: Its name.
        pattern: Of the grid.
        num_tasks: In one grid.
        measure: Iterations to seconds.
        start: Task length to begin with.
        ranks: Ranks that compute.
        points: By iterations.
        empty: Granularity of tasks without a kernel [s].
    """

    system: str
    pattern: str
    num_tasks: int
    measure: Callable[[int], float]
    start: int
    ranks: int
    points: dict[int, Point] = field(default_factory=dict)
    empty: dict[str, Any] = field(default_factory=dict)

    def granularity(self, samples: list[float]) -> dict[str, Any]:
        """Give what one task takes of one rank [s]."""
        return summary([seconds * self.ranks / self.num_tasks for seconds in samples])

    def following(self) -> int | None:
        """Give the task length to try next; None when the crossing is enclosed, for best and median, or cannot be."""
        if not self.points:
            return self.start
        longest, shortest = max(self.points), min(self.points)
        if all(point.efficiency["median"] < HALF for point in self.points.values()) and longest < LARGEST:
            return 2 * longest
        if self.points[shortest].efficiency["best"] >= HALF:
            return shortest // 2 or None
        return None

    def add(self, iterations: int, samples: list[tuple[float, float]]) -> None:
        """Keep what was measured: pairs of the seconds of a grid and those of one iteration at the peak, around it."""
        granularity = self.granularity([seconds for seconds, _ in samples])
        shares = [iterations * kernel / one for (_, kernel), one in zip(samples, granularity["all"], strict=True)]
        self.points[iterations] = Point(
            summary([seconds for seconds, _ in samples]), {"best": max(shares), "median": statistics.median(shares)},
            [kernel for _, kernel in samples])

    def metg(self, which: str, kernel: float) -> float | None:
        """Give METG(50 %) [s] where an iteration takes ``kernel`` seconds; None if efficiency crosses one half nowhere."""
        for (fine, before), (coarse, after) in itertools.pairwise(sorted(self.points.items())):
            low, high = before.efficiency[which], after.efficiency[which]
            if low < HALF <= high:
                share = (HALF - low) / (high - low)
                return 2 * kernel * math.exp((1 - share) * math.log(fine) + share * math.log(coarse))
        return None


def main() -> None:
    """Sweep all systems on all patterns, in turn."""
    parser = arguments(__doc__, repeats=5)
    add_dask(parser)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--width", type=int, help="columns (default: as many as ranks)")
    parser.add_argument("--steps", type=int, default=1000, help="rows (default: 1000)")
    parser.add_argument("--slow-steps", type=int, default=200, help="rows for Dask and mpi4py.futures (default: 200)")
    parser.add_argument("--patterns", nargs="+", choices=PATTERNS, default=PATTERNS)
    chosen = parser.parse_args()
    chosen.width = chosen.width or chosen.ranks
    if chosen.quick:
        chosen.repeats, chosen.steps, chosen.slow_steps, chosen.patterns = 1, 20, 10, ["stencil_1d"]
    moved: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        sweeps = [sweep for pattern in chosen.patterns for sweep in systems(chosen, Path(name), pattern, moved)]
        rates = run_sweeps(chosen, sweeps)
    report(chosen, sweeps, moved, rates)


def systems(chosen, folder: Path, pattern: str, moved) -> list[Sweep]:
    """Give one sweep for each system."""
    def peer(script: str, steps: int, *more: object, **how) -> Callable[[int], float]:
        return lambda iterations: side(
            script, pattern, chosen.width, steps, iterations, *more, timeout=chosen.timeout, **how)["seconds"]

    few, ranks = min(chosen.steps, chosen.slow_steps), chosen.ranks
    rows = [
        ("mpiflow", chosen.steps, lambda iterations: ours(chosen, folder, pattern, iterations, moved), 1 << 10),
        ("raw mpi4py", chosen.steps, peer("grid_raw.py", chosen.steps, num_ranks=ranks), 1 << 7),
        ("mpi4py.futures", few, peer("grid_futures.py", few, num_ranks=ranks + 1, module="mpi4py.futures"), 1 << 12)]
    if not chosen.without_dask:
        rows.append(("Dask distributed", few, peer("grid_dask.py", few, ranks), 1 << 15))
    return [Sweep(name, pattern, steps * chosen.width, measure, start, ranks) for name, steps, measure, start in rows]


def run_sweeps(chosen, sweeps: list[Sweep]) -> list[float]:
    """Let every sweep take its next point, one after the other, until all are done; give the kernel's times [s]."""
    rates = []
    for sweep in sweeps:
        sweep.empty = sweep.granularity([sweep.measure(0) for _ in range(chosen.repeats)])
    while pending := [(sweep, length) for sweep in sweeps if (length := sweep.following()) is not None]:
        samples: dict[int, list[tuple[float, float]]] = defaultdict(list)
        for _ in range(chosen.repeats):
            for number, (sweep, length) in enumerate(pending):
                progress(f"{sweep.pattern}: {sweep.system}: {length} iterations")
                samples[number].append(sample(chosen, sweep, length))
        for number, (sweep, length) in enumerate(pending):
            sweep.add(length, samples[number])
            rates += sweep.points[length].kernels
        if chosen.quick:
            break
    return rates


def sample(chosen, sweep: Sweep, length: int) -> tuple[float, float]:
    """Measure one grid, and one iteration of the kernel before and after it; again while these two differ.

    That speed may change by as much as two: a grid counts if it was the same on both sides of it.
    """
    def kernel() -> float:
        return side("grid_rate.py", CALIBRATION, num_ranks=chosen.ranks, timeout=chosen.timeout)["seconds"]

    after = kernel()
    for _ in range(TRIES):
        before, seconds, after = after, sweep.measure(length), kernel()
        if max(before, after) <= STEADY * min(before, after):
            break
    return seconds, (before + after) / 2


def ours(chosen, folder: Path, pattern: str, iterations: int, moved) -> float:
    """Run the grid as a workflow; give the seconds of the run, and note what moved and which columns stayed on a rank."""
    (folder / "grid.yaml").write_text(document(pattern, chosen.width, chosen.steps))
    record = run_mpiflow(folder, "grid.yaml", "--set", f"k={iterations}", num_ranks=chosen.ranks, timeout=chosen.timeout)
    columns: dict[str, Counter[int]] = defaultdict(Counter)
    for task in record["tasks"]:
        columns[task["step"].partition("_")[2]][task["rank"]] += 1
    assert sum(ranks.total() for ranks in columns.values()) == chosen.width * chosen.steps
    stayed = sum(max(ranks.values()) for ranks in columns.values()) / (chosen.width * chosen.steps)
    homes = {ranks.most_common(1)[0][0] for ranks in columns.values()}
    moved[pattern].append({"iterations": iterations, "blocks": sum(link[2] for link in record["moved"]), "stayed": stayed,
                           "ranks": len(homes), "preparation": record["preparation"], "seconds": record["seconds"]})
    return record["seconds"]


def document(pattern: str, width: int, steps: int) -> str:
    """Write the grid as a workflow, one step for each task."""
    lines = ["mpiflow: 1", "name: grid", "params: {k: 0}", f"operations: [{SIDES / 'grid_ops.py'}]", "steps:"]
    for step in range(steps):
        for column in range(width):
            inputs = [f"s{step - 1}_{near}" for near in needed(pattern, step, column, width)]
            parts = ", ".join([*inputs, f"step={step}", f"column={column}", "iterations=$k"])
            lines.append(f"  s{step}_{column}: point({parts})")
    return "\n".join([*lines, ""])


def report(chosen, sweeps: list[Sweep], moved, rates: list[float]) -> None:
    """Print METG, the time of an empty task, and mpiflow's as multiples of both."""
    mine, kernel = {sweep.pattern: sweep for sweep in sweeps if sweep.system == "mpiflow"}, statistics.median(rates)
    rows, figures = [], []
    for sweep in sweeps:
        own = mine[sweep.pattern]
        metg = metgs(sweep, kernel)
        against = compared(metgs(own, kernel), metg)
        empty = ratio(own.empty, sweep.empty)
        rows.append([f"{sweep.pattern}: {sweep.system}", metg["median"] and metg["median"] * MICRO, against and both(against),
                     sweep.empty["median"] * MICRO, both(empty)])
        figures.append({
            "pattern": sweep.pattern, "system": sweep.system, "tasks": sweep.num_tasks, "metg_seconds": metg,
            "mpiflow_over_this": against, "empty_task_seconds": sweep.empty, "mpiflow_over_this_empty": empty,
            "points": [{"iterations": length} | asdict(point) for length, point in sorted(sweep.points.items())]})
    header = ["pattern: system", "METG(50 %) [us]", "METG: mpiflow / this", "empty task [us]", "empty: mpiflow / this"]
    finish(chosen, header, rows, {"systems": figures, "kernel_seconds_per_iteration": summary(rates), "mpiflow_runs": moved})
    for pattern, runs in moved.items():
        stayed, num_ranks = min(run["stayed"] for run in runs), min(run["ranks"] for run in runs)
        print(f"{pattern}: mpiflow kept at least {stayed:.0%} of the tasks on their column's rank, and used {num_ranks} ranks")


def metgs(sweep: Sweep, kernel: float) -> dict[str, float | None]:
    """Give METG(50 %) from the medians and from the best of the repeats [s]."""
    return {which: sweep.metg(which, kernel) for which in ("best", "median")}


def compared(ours: dict[str, float | None], other: dict[str, float | None]) -> dict[str, float] | None:
    """Divide where both were found."""
    return ratio(ours, other) if all([*ours.values(), *other.values()]) else None


if __name__ == "__main__":
    main()

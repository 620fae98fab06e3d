"""What learning run times during a run is worth when declarations are wrong. ``python benchmarks/learning.py``.

A third of the tasks take five times longer than declared. Three runs are compared: with learning, without, and with
declarations that are right. The tasks spin for a given time by the clock, so they take as long on a busy core.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

from measuring import arguments, both, finish, in_turn, progress, ratio, run_mpiflow, summary

OPERATIONS = """\
import time

from mpiflow import operation


def spin(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
    return 0


@operation(nbytes=8, seconds={usual})
def usual(number):
    return spin({usual})


@operation(nbytes=8, seconds={declared})
def unusual(number):
    return spin({unusual})
"""


def main() -> None:
    """Measure every order of tasks on every number of ranks."""
    parser = arguments(__doc__, repeats=7)
    parser.add_argument("--ranks", type=int, nargs="+", default=(2, 4))
    parser.add_argument("--tasks", type=int, default=102)
    parser.add_argument("--seconds", type=float, default=0.02, help="run time of a usual task (default: 0.02)")
    parser.add_argument("--factor", type=float, default=5, help="how many times longer a third of them take (default: 5)")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.ranks, chosen.tasks, chosen.seconds, chosen.repeats = [2], 12, 0.005, 1
    figures, rows = [], []
    for num_ranks in chosen.ranks:
        for order in ("unlucky", "random"):
            progress(f"{num_ranks} ranks, {order}")
            figures.append(measure(chosen, num_ranks, order, rows))
    header = ["ranks, which tasks", "bound [s]", "learning / knowing", "no learning / knowing", "no learning / learning",
              "knowing / bound"]
    finish(chosen, header, rows, figures)


def measure(chosen, num_ranks: int, order: str, rows: list[list[object]]) -> dict[str, Any]:
    """Run the three in turn."""
    slow = slow_tasks(chosen.tasks, order)
    long = chosen.seconds * chosen.factor
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, "guess", chosen, slow, declared=chosen.seconds)
        write(folder, "knowing", chosen, slow, declared=long)

        def run(document: str, *options: str) -> dict[str, Any]:
            return run_mpiflow(folder, f"{document}.yaml", *options, num_ranks=num_ranks, timeout=chosen.timeout)

        records = in_turn({
            "learning": lambda: run("guess"), "no_learning": lambda: run("guess", "--no-replan"),
            "knowing": lambda: run("knowing")}, chosen.repeats)
    work = (chosen.tasks - len(slow)) * chosen.seconds + len(slow) * long
    bound = max(work / num_ranks, long)
    times = {name: summary([record["seconds"] for record in found]) for name, found in records.items()}
    ratios = {f"{a}/{b}": ratio(times[a], times[b]) for a, b in (
        ("learning", "knowing"), ("no_learning", "knowing"), ("no_learning", "learning"))}
    beyond = {which: times["knowing"][which] / bound for which in ("best", "median")}
    rows.append([f"{num_ranks}, {order}", bound, *map(both, ratios.values()), both(beyond)])
    moved = [sum(task["rank"] != task["planned_rank"] for task in record["tasks"]) for record in records["learning"]]
    return {"ranks": num_ranks, "order": order, "bound": bound, "seconds": times, "ratios": ratios, "knowing_over_bound": beyond,
            "tasks_on_other_ranks_than_planned": moved}


def slow_tasks(num_tasks: int, order: str) -> frozenset[int]:
    """Choose the third that takes longer: every second one from the start, which round-robin puts on one of two ranks, or any."""
    third = num_tasks // 3
    return frozenset(range(0, 2 * third, 2) if order == "unlucky" else random.Random(1).sample(range(num_tasks), third))


def write(folder: Path, name: str, chosen, slow: frozenset[int], declared: float) -> None:
    """Write the workflow, with what the longer tasks are declared to take [s]."""
    text = OPERATIONS.format(usual=chosen.seconds, unusual=chosen.seconds * chosen.factor, declared=declared)
    (folder / f"{name}.py").write_text(text)
    width = len(str(chosen.tasks))
    steps = [f"  t{number:0{width}}: {'unusual' if number in slow else 'usual'}({number})" for number in range(chosen.tasks)]
    lines = ["mpiflow: 1", "name: learning", f"operations: [{name}.py]", "steps:", *steps, ""]
    (folder / f"{name}.yaml").write_text("\n".join(lines))


if __name__ == "__main__":
    main()

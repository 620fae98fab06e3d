"""A sweep of small instances: what an instance costs beside a task that does nothing. ``python benchmarks/sweep.py``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from measuring import MICRO, arguments, both, finish, in_turn, progress, ratio, run_mpiflow, summary

OPERATIONS = """\
from mpiflow import operation


@operation
def noop(i):
    return i


@operation
def instance(x, a, b, c=0):
    return a


@operation
def collected(*values):
    return sum(values)
"""
HEAD = "mpiflow: 1\nname: {name}\noperations: [ops.py]\n"
GIVEN = "datasets:\n  x: {{arange: {{stop: 4}}}}\n"
GRID = GIVEN + """\
steps:
  sweep: {{for: {{a: range({side}), b: range({side})}}, run: instance, in: {{x: x}}, with: {{a: $a, b: $b}}}}
"""
ZIP = GIVEN + """\
steps:
  sweep:
    for: {{a: range({side})}}
    zip: {{b: range({side}), c: 'range(0, {double}, 2)'}}
    run: instance
    in: {{x: x}}
    with: {{a: $a, b: $b, c: $c}}
"""
DOCUMENTS = {
    "no-op tasks": "steps:\n  t: {{for: {{i: range({num})}}, run: noop($i)}}\n",
    "a grid": GRID,
    "a grid of pairs (zip)": ZIP,
    "a grid, all collected by one task": GRID + "  all: collected(sweep.*)\nresults: {{all: all.npy}}\n",
}
NOOP = next(iter(DOCUMENTS))


def main() -> None:
    """Measure all in turn."""
    parser = arguments(__doc__, repeats=7)
    parser.add_argument("--side", type=int, default=100, help="values of each of two parameters (default: %(default)s)")
    parser.add_argument("--ranks", type=int, default=2)
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.side, chosen.repeats = 8, 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "ops.py").write_text(OPERATIONS)
        measures: dict[str, Callable[[], dict[str, float]]] = {}
        for number, (title, text) in enumerate(DOCUMENTS.items()):
            document = (HEAD + text).format(name=f"w{number}", num=chosen.side**2, side=chosen.side, double=2 * chosen.side)
            (folder / f"{number}.yaml").write_text(document)
            measures[title] = partial(once, chosen, folder, f"{number}.yaml")
        samples = in_turn(measures, chosen.repeats)
    report(chosen, samples)


def once(chosen, folder: Path, document: str) -> dict[str, float]:
    """Run a workflow once; give the seconds before and of the run."""
    progress(document)
    record = run_mpiflow(folder, document, num_ranks=chosen.ranks, timeout=chosen.timeout)
    num = sum(task["step"] in ("sweep", "t") for task in record["tasks"])
    assert num == chosen.side**2, num
    return {"preparation": record["preparation"], "run": record["seconds"],
            "sent": sum(blocks for _, _, blocks, _ in record["moved"])}


def report(chosen, samples: dict[str, list[dict[str, float]]]) -> None:
    """Print what an instance costs, and how many times as much as a task that does nothing."""
    figures = {name: {phase: summary([sample[phase] for sample in found]) for phase in found[0]}
               for name, found in samples.items()}
    rows = []
    for name, figure in figures.items():
        figure["ratio"] = {phase: ratio(figure[phase], figures[NOOP][phase]) for phase in ("preparation", "run")}
        per_instance = MICRO * figure["run"]["median"] / chosen.side**2
        rows.append([name, figure["preparation"]["median"], per_instance, both(figure["ratio"]["run"]),
                     both(figure["ratio"]["preparation"]), int(figure["sent"]["median"])])
    header = [f"{chosen.side**2:,} instances", "reading and planning [s]", "run [us / instance]", "run / no-op",
              "reading and planning / no-op", "blocks sent"]
    finish(chosen, header, rows, figures)


if __name__ == "__main__":
    main()

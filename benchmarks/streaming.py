"""Datasets larger than memory: a file block by block, against plain loops with h5py. ``python benchmarks/streaming.py``.

Two workflows run in turn with the loops, on the same file. The first reads each block once: mean, variance, histogram and RMSF
(root mean square fluctuation of each coordinate, over frames). The second has an elementwise step whose result is needed twice,
the second time after all of it was made, so most of it goes to scratch files and comes back.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from measuring import SIDES, arguments, both, finish, in_turn, progress, ratio, run_mpiflow, side, summary

WIDTH = 1000            # coordinates of a frame
BLOCK = 25_000_000      # bytes of a block
ONCE = """\
  mean: mean(x, axis=0)
  variance: variance(x)
  histogram: histogram(x, range=[0, 1], bins=100)
  rmsf: sqrt(variance(x, axis=0))
results: {mean: once.h5, variance: once.h5, histogram: once.h5, rmsf: once.h5}
"""
TWICE = """\
  y: bent(x)
  spread: std(y - mean(y))
results: {spread: twice.h5}
"""


def main() -> None:
    """Make the file, measure, and remove it."""
    parser = arguments(__doc__, repeats=3)
    parser.add_argument("--nbytes", type=int, default=20_000_000_000, help="size of the dataset [bytes] (default: 20 GB)")
    parser.add_argument("--memory", type=int, default=1_000_000_000, help="for blocks on each rank [bytes] (default: 1 GB)")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the file and scratch files are")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.repeats, chosen.nbytes, chosen.memory = 1, 200_000_000, 60_000_000
    folder = Path(tempfile.mkdtemp(prefix="streaming-", dir=chosen.folder))
    try:
        blocks = make(folder, chosen.nbytes)
        rows, figures = measure(chosen, folder, blocks)
    finally:
        shutil.rmtree(folder)
    finish(chosen, ["what", "[s]", "GB/s", "/ loop, 1 process", "/ loop on all ranks", "peak of a rank [MB]",
                     "its scratch file [MB]"], rows, figures)


def make(folder: Path, nbytes: int) -> int:
    """Write the dataset and the workflows; give the number of blocks."""
    progress(f"writing {nbytes / 1e9:.1f} GB")
    rows_each = BLOCK // 8 // WIDTH
    blocks = nbytes // (rows_each * 8 * WIDTH)
    frames = np.random.default_rng(1).random((rows_each, WIDTH))
    with h5py.File(folder / "x.h5", "w") as opened:
        array = opened.create_dataset("x", (blocks * rows_each, WIDTH), "f8")
        for number in range(blocks):
            array[number * rows_each:(number + 1) * rows_each] = np.roll(frames, number)
    for name, steps in (("once", ONCE), ("twice", TWICE)):
        (folder / f"{name}.yaml").write_text(
            f"mpiflow: 1\nname: {name}\noperations: [{SIDES / 'streaming_ops.py'}]\n"
            f"datasets:\n  x: {{file: x.h5, path: x, blocks: {blocks}}}\nsteps:\n{steps}")
    return blocks


def measure(chosen: argparse.Namespace, folder: Path, blocks: int) -> tuple[list[list[object]], dict[str, Any]]:
    """Measure all in turn; give rows to print and all figures."""
    records: dict[str, list[dict[str, Any]]] = {"once": [], "twice": []}

    def ours(name: str) -> float:
        progress(name)
        record = run_mpiflow(folder, f"{name}.yaml", "--no-save", "--memory", chosen.memory, "--scratch", folder,
                             num_ranks=chosen.ranks, timeout=chosen.timeout)
        records[name].append(record)
        return record["seconds"]

    def loop(name: str, num_ranks: int) -> float:
        progress(f"{name}, loop on {num_ranks}")
        return side("streaming_loop.py", folder / "x.h5", blocks, name, folder, num_ranks=num_ranks,
                    timeout=chosen.timeout)["seconds"]

    samples = in_turn({(name, who): measured for name in records for who, measured in (
        ("mpiflow", lambda name=name: ours(name)), ("one", lambda name=name: loop(name, 1)),
        ("all", lambda name=name: loop(name, chosen.ranks)))}, chosen.repeats)
    seconds = {key: summary(found) for key, found in samples.items()}
    rows, figures = [], {"nbytes": chosen.nbytes, "memory": chosen.memory, "seconds": {}, "ratios": {}, "runs": {}}
    for name, found in records.items():
        against = {who: ratio(seconds[name, "mpiflow"], seconds[name, who]) for who in ("one", "all")}
        peak, disk = (max(max(record[what]) for record in found) for what in ("peak_memory", "scratch"))
        rows.append([name, seconds[name, "mpiflow"]["median"], chosen.nbytes / seconds[name, "mpiflow"]["median"] / 1e9,
                     both(against["one"]), both(against["all"]), peak / 1e6, disk / 1e6])
        for who in ("one", "all"):
            took = seconds[name, who]["median"]
            rows.append([f"{name}: loop, {who}", took, chosen.nbytes / took / 1e9, None, None, None, None])
        figures["seconds"][name] = {who: seconds[name, who] for who in ("mpiflow", "one", "all")}
        figures["ratios"][name] = against
        memory = ("peak_memory", "spilled", "read_again", "scratch")
        figures["runs"][name] = [{key: record[key] for key in memory} for record in found]
    return rows, figures


if __name__ == "__main__":
    main()

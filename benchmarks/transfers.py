"""Bandwidth and latency of transfers against raw mpi4py and memcpy. ``python benchmarks/transfers.py``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from measuring import MICRO, arguments, both, finish, in_turn, progress, ratio, run_mpiflow, side, summary

MB = 10**6
CACHED = 4 * MB
SIZES = (1 * MB, 4 * MB, 16 * MB, 64 * MB, 256 * MB, 1000 * MB)
LATENCY_BYTES = 16
OPERATIONS = """\
import numpy as np

from mpiflow import operation


@operation(nbytes=16, seconds=1e-5)
def begin(anchor):
    return np.zeros(2, np.int64)


@operation(nbytes=16, seconds=1e-5)
def hop(before, anchor):
    return before + 1
"""


def main() -> None:
    """Measure bandwidth for each size, then latencies."""
    parser = arguments(__doc__, repeats=11)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="bytes")
    parser.add_argument("--launches", type=int, default=7, help="of two processes, for each size up to 4 MB (default: 7)")
    parser.add_argument("--trips", type=int, default=2000, help="round trips in one measurement of latency")
    parser.add_argument("--hops", type=int, default=1000, help="dependencies in the chain of the whole engine")
    parser.add_argument("--anchor", type=int, default=10 * MB, help="bytes of the datasets that hold the chain's tasks")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.repeats, chosen.sizes, chosen.launches = 2, [MB], 2
        chosen.trips, chosen.hops, chosen.anchor = 20, 10, 10 * MB
    figures: dict[str, Any] = {"bandwidth": {}}
    rows: list[list[object]] = []
    for nbytes in chosen.sizes:
        progress(f"{nbytes} bytes")
        figures["bandwidth"][nbytes] = bandwidth(chosen, nbytes, rows)
    progress("latency")
    figures["latency"] = latency(chosen, rows)
    with tempfile.TemporaryDirectory() as name:
        figures["dependency"] = dependency(chosen, Path(name), rows)
    header = ["bytes", "raw mpi4py", "mpiflow", "mpiflow / raw", "/ raw, new array", "/ memcpy", "/ memcpy, new array"]
    finish(chosen, header, rows, figures)


def bandwidth(chosen, nbytes: int, rows: list[list[object]]) -> dict[str, Any]:
    """Measure one size; the ratios are of times, so below 1 is faster.

    Where blocks fit into caches, it is luck which physical memory a process gets, and stays so for all its life.
    """
    launches = [side("pingpong.py", "bandwidth", nbytes, chosen.repeats, num_ranks=2, timeout=chosen.timeout)
                for _ in range(chosen.launches if nbytes <= CACHED else 1)]
    seconds = {name: summary([one for found in launches for one in found[name]]) for name in launches[0]}
    others = ("raw", "raw into a new array", "memcpy", "memcpy into a new array")
    ratios = {name: ratio(seconds["mpiflow"], seconds[name]) for name in others}
    rates = [f"{nbytes / seconds[name]['median'] / 1e9:.2f} GB/s" for name in ("raw", "mpiflow")]
    rows.append([f"{nbytes:,}", *rates, *(both(ratios[name]) for name in others)])
    return {"seconds": seconds, "mpiflow_over": ratios}


def latency(chosen, rows: list[list[object]]) -> dict[str, Any]:
    """Measure half a round trip of a small block."""
    found = side("pingpong.py", "latency", LATENCY_BYTES, chosen.repeats, chosen.trips, num_ranks=2, timeout=chosen.timeout)
    seconds = {name: summary(samples) for name, samples in found.items()}
    against = ratio(seconds["mpiflow"], seconds["raw"])
    times = [f"{seconds[name]['median'] * MICRO:.1f} us" for name in ("raw", "mpiflow")]
    rows.append([f"{LATENCY_BYTES}, half a round trip", *times, both(against), None, None, None])
    return {"seconds": seconds, "mpiflow_over": {"raw": against}}


def dependency(chosen, folder: Path, rows: list[list[object]]) -> dict[str, Any]:
    """Measure a dependency in the whole engine: a chain of tasks that goes to and fro against one that stays.

    Each task reads one of two datasets that are too big to be moved, so the chain has to follow them.
    """
    (folder / "ops.py").write_text(OPERATIONS)
    for name, anchors in (("across", ("a", "b")), ("within", ("a", "a"))):
        (folder / f"{name}.yaml").write_text(chain(chosen, anchors))
    records = in_turn({name: lambda name=name: run_mpiflow(folder, f"{name}.yaml", num_ranks=2, timeout=chosen.timeout)
                       for name in ("across", "within")}, chosen.repeats)
    hops = {name: summary([_chain_seconds(record) / (chosen.hops - 1) for record in found]) for name, found in records.items()}
    moved = sum(link[2] for link in records["across"][-1]["moved"])
    if moved != chosen.hops:
        progress(f"the chain was to cross {chosen.hops} times and did so {moved} times: its latency says nothing")
    text = f"{hops['across']['median'] * MICRO:.1f} us"
    rows.append([f"{LATENCY_BYTES}, dependency in the engine", "-", text, None, None, None, None])
    rows.append(["the same within one rank", "-", f"{hops['within']['median'] * MICRO:.1f} us", None, None, None, None])
    return {"seconds": hops, "crossings": moved, "hops": chosen.hops}


def _chain_seconds(record: dict[str, Any]) -> float:
    """Give the time from the end of the chain's second task, when both datasets are there, to the start of its last [s]."""
    tasks = {task["step"]: task for task in record["tasks"] if task["step"].startswith("s")}
    first, last = tasks["s1"], tasks[f"s{len(tasks) - 1}"]
    return last["start"] - first["start"] - first["seconds"]


def chain(chosen, anchors: tuple[str, str]) -> str:
    """Write the chain as a workflow."""
    shape = chosen.anchor // 8
    datasets = [f"  {name}: {{full: {{shape: [{shape}], value: {number}}}, rank: {number}}}"
                for number, name in enumerate("ab") if name in anchors]
    steps = [f"  s{step}: hop(s{step - 1}, {anchors[step % 2]})" for step in range(1, chosen.hops + 1)]
    return "\n".join(["mpiflow: 1", "name: chain", "operations: [ops.py]", "datasets:", *datasets,
                      "steps:", f"  s0: begin({anchors[0]})", *steps, ""])


if __name__ == "__main__":
    main()

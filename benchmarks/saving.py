"""What saving blocks costs a run, and finding them again; no MPI. ``python benchmarks/saving.py``."""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from measuring import MICRO, arguments, both, finish, in_turn, progress, ratio, summary

from mpiflow.storage.records import Made
from mpiflow.storage.saving import Writer
from mpiflow.storage.store import load, read_store

NUM_LARGE = 10


def main() -> None:
    """Measure all, in turn, in one folder."""
    parser = arguments(__doc__, repeats=5)
    parser.add_argument("--folder", type=Path, default=Path(), help="where the store is (default: here)")
    parser.add_argument("--blocks", type=int, default=10_000, help="small blocks saved")
    parser.add_argument("--records", type=int, default=100_000, help="records found again")
    parser.add_argument("--nbytes", type=int, default=1_000_000_000, help=f"size of {NUM_LARGE} large blocks together [bytes]")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.blocks, chosen.records, chosen.nbytes, chosen.repeats = 100, 200, 10_000_000, 1
    folder = Path(tempfile.mkdtemp(prefix=".saving-", dir=chosen.folder))
    try:
        rows, figures = measure(chosen, folder)
    finally:
        shutil.rmtree(folder)
    finish(chosen, ["what", "[s]", "each [us]", "/ raw"], rows, figures)


def measure(chosen: argparse.Namespace, folder: Path) -> tuple[list[list[object]], dict[str, object]]:
    """Measure; give rows to print and all samples."""
    large = [frozen(np.random.default_rng(i).integers(0, 256, chosen.nbytes // NUM_LARGE, np.uint8)) for i in range(NUM_LARGE)]
    small = [frozen(np.arange(2.0))] * chosen.blocks
    filled = folder / "filled"
    save(filled, [frozen(np.arange(2.0))] * chosen.records)
    places = list(read_store(filled).places.values())[:chosen.blocks]
    progress(f"{chosen.blocks} blocks of 16 bytes; {NUM_LARGE} of {large[0].nbytes}; {chosen.records} records")
    samples = in_turn({
        "save(), median of calls": lambda: calls(folder / "calls", small),
        "save small blocks": lambda: timed(folder / "small", lambda at: save(at, small)),
        "write and fsync, raw": lambda: timed(folder / "raw", lambda at: raw(at, large)),
        "save large blocks": lambda: timed(folder / "large", lambda at: save(at, large)),
        "scan": lambda: timed(folder / "none", lambda _: read_store(filled)),
        "load small blocks": lambda: timed(folder / "none", lambda _: [load(place) for place in places]),
        "numpy alone": lambda: busy(chosen.quick),
        "numpy while large blocks are saved": lambda: busy(chosen.quick, folder / "busy", large),
    }, chosen.repeats)
    found = {name: summary(each) for name, each in samples.items()}
    counts = {"save small blocks": chosen.blocks, "scan": chosen.records, "load small blocks": len(places),
              "save(), median of calls": 1}
    pairs = {"save large blocks": "write and fsync, raw", "numpy while large blocks are saved": "numpy alone"}
    ratios = {name: ratio(found[name], found[other]) for name, other in pairs.items()}
    rows: list[list[object]] = [
        [name, each["median"], each["median"] / counts[name] * MICRO if name in counts else None,
         both(ratios[name]) if name in ratios else None] for name, each in found.items()]
    return rows, {"seconds": found, "ratios": ratios}


def frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def task(number: int, nbytes: int) -> Made:
    return Made(f"{number:032x}", "step", nbytes, 1e-3, 0, "host")


def timed(folder: Path, work) -> float:
    began = time.perf_counter()
    work(folder)
    seconds = time.perf_counter() - began
    shutil.rmtree(folder, ignore_errors=True)
    return seconds


def save(folder: Path, values: list[np.ndarray]) -> None:
    """Until all is on the disk."""
    writer = Writer(folder, "run", 0, pending=1 << 40)
    for number, value in enumerate(values):
        writer.save(task(number, value.nbytes), value)
    if not writer.close(600):
        raise SystemExit(writer.error or "the disk is too slow")


def calls(folder: Path, values: list[np.ndarray]) -> float:
    """The median of single calls, with the time of looking at the clock in it."""
    writer, samples = Writer(folder, "run", 0), []
    for number, value in enumerate(values):
        made = task(number, value.nbytes)
        began = time.perf_counter()
        writer.save(made, value)
        samples.append(time.perf_counter() - began)
    writer.close(600)
    shutil.rmtree(folder)
    return statistics.median(samples)


def raw(folder: Path, values: list[np.ndarray]) -> None:
    folder.mkdir()
    for number, value in enumerate(values):
        with open(folder / str(number), "wb", buffering=0) as opened:
            opened.write(value)
            os.fsync(opened.fileno())


def busy(quick: bool, folder: Path | None = None, values: list[np.ndarray] | None = None) -> float:
    """Short numpy calls, with nothing else or with the thread that saves beside them."""
    writer = Writer(folder, "run", 0, pending=1 << 40) if folder else None
    for number, value in enumerate(values or []):
        writer.save(task(number, value.nbytes), value)
    array = np.ones(100_000)
    began = time.perf_counter()
    for _ in range(10 if quick else 20_000):
        np.sqrt(array, out=array)
    seconds = time.perf_counter() - began
    if writer:
        writer.close(600)
        shutil.rmtree(folder)
    return seconds


if __name__ == "__main__":
    main()

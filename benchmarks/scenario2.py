"""Scenario 2, a linear operation over two datasets on two ranks, against numpy. ``python benchmarks/scenario2.py``.

The least possible time is that of the longer of the two parts (generating one dataset and reducing it, in one process that
has the machine for itself) and of one message with the smaller partial result. By hand on two ranks both parts run at once,
and share the memory. Before its time starts, each process takes as much memory as it needs: see ``sides/touch.py``.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from measuring import ROOT, SIDES, arguments, both, finish, in_turn, progress, ranks, ratio, run_mpiflow, side, start, summary

EXAMPLE = ROOT / "examples" / "scenarios" / "2-linear-two.yaml"
SIZES = (10**6, 10**7, 10**8)
SMALL = 1000            # elements: what remains is the memory of interpreter, libraries and engine
PARTIAL_BYTES = 8000
ELEMENT_BYTES = 9       # of a dataset, and of the comparison with 0.5
TOUCH = "\nfrom benchmarks.sides.touch import touch\n\ntouch()\n"


def main() -> None:
    """Measure times and memory for each size."""
    parser = arguments(__doc__, repeats=7)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="elements of each dataset; multiples of 1,000")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.sizes, chosen.repeats = [10**5], 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_example(folder)
        message = side("pingpong.py", "bandwidth", PARTIAL_BYTES, 21, num_ranks=2, timeout=chosen.timeout)["raw"]
        floor = peaks(chosen, folder, SMALL)
        found = {size: measure(chosen, folder, size, summary(message), floor) for size in chosen.sizes}
    rows = [[f"{size:,}", item["bound"]["median"], item["mpiflow"]["median"], both(item["ratios"]["bound"]),
             both(item["ratios"]["by_hand"]), both(item["ratios"]["with_file"]), item["memory"]["ratio"]]
            for size, item in found.items()]
    header = ["elements of each", "bound [s]", "mpiflow [s]", "/ bound", "/ by hand on 2 ranks", "with result file / bound",
              "memory / arrays"]
    finish(chosen, header, rows, {"message": message, "floor_bytes": floor, "sizes": found})


def copy_example(folder: Path) -> None:
    """Copy the example, with its result and without; its operations come with the touch."""
    text = EXAMPLE.read_text()
    (folder / "ops.py").write_text((EXAMPLE.parent / "ops.py").read_text() + TOUCH)
    (folder / "file.yaml").write_text(text)
    (folder / "bare.yaml").write_text("\n".join(line for line in text.splitlines() if not line.startswith("results:")) + "\n")


def measure(chosen, folder: Path, size: int, message: dict[str, Any], floor: list[int]) -> dict[str, Any]:
    """Measure one size."""
    progress(f"{size} elements")

    def run(document: str) -> float:
        return run_mpiflow(folder, document, "--set", f"n={size}", num_ranks=2, timeout=chosen.timeout)["seconds"]

    def parts(num_ranks: int | None = None) -> dict[str, Any]:
        return side("parts.py", size, num_ranks=num_ranks, timeout=chosen.timeout)

    with touching(ELEMENT_BYTES * size):
        samples = in_turn({"alone": parts, "by_hand": lambda: parts(2), "mpiflow": lambda: run("bare.yaml"),
                           "with_file": lambda: run("file.yaml")}, chosen.repeats)
    agree(folder, samples)
    alone = [summary([sample["seconds"][number] for sample in samples["alone"]]) for number in (0, 1)]
    bound = {which: max(part[which] for part in alone) + message[which] for which in ("best", "median")}
    times = {name: summary(samples[name]) for name in ("mpiflow", "with_file")}
    by_hand = summary([sample["seconds"] for sample in samples["by_hand"]])
    ratios = {"bound": ratio(times["mpiflow"], bound), "by_hand": ratio(times["mpiflow"], by_hand),
              "with_file": ratio(times["with_file"], bound)}
    return {"parts": alone, "bound": bound, "by_hand": by_hand, **times, "ratios": ratios,
            "memory": memory(peaks(chosen, folder, size), floor, size)}


@contextmanager
def touching(nbytes: int) -> Iterator[None]:
    """Let every process that is started touch so many bytes, and keep them for what it does then."""
    settings = {"TOUCH": str(nbytes), "GLIBC_TUNABLES": f"glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold={2 * nbytes}"}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name in settings:
            del os.environ[name]


def agree(folder: Path, samples: dict[str, list[Any]]) -> None:
    """Check that numpy and mpiflow have the same result."""
    with h5py.File(folder / "results" / "scenario-2.h5") as opened:
        answer = opened["answer"][()]
    expected = int(np.dot(answer, np.arange(1, len(answer) + 1)))
    assert {sample["checksum"] for name in ("alone", "by_hand") for sample in samples[name]} == {expected}


def peaks(chosen, folder: Path, size: int) -> list[int]:
    """Give the peak memory of each rank of one run [bytes], ascending."""
    for old in folder.glob("*.peak"):
        old.unlink()
    command = [*ranks(2), sys.executable, SIDES / "peak.py", folder, "bare.yaml", "--set", f"n={size}"]
    start(command, chosen.timeout, folder)
    found = sorted(int(file.read_text()) for file in folder.glob("*.peak"))
    assert len(found) == 2
    return found


def memory(found: list[int], floor: list[int], size: int) -> dict[str, Any]:
    """Compare what the larger rank took beyond a tiny run with what its arrays need."""
    taken, arrays = max(found) - min(floor), size * ELEMENT_BYTES
    return {"peak_bytes": found, "taken_bytes": taken, "array_bytes": arrays, "ratio": taken / arrays}


if __name__ == "__main__":
    main()

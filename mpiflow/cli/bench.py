"""``bench``: what mpiflow costs here and now, against raw mpi4py; short. ``benchmarks/`` measures more, and more carefully."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mpiflow.cli.arguments import add_json
from mpiflow.cli.launching import mpirun, run_job
from mpiflow.errors import LaunchError, MachineError
from mpiflow.peer.launch import join_world
from mpiflow.report.console import say
from mpiflow.report.summary import human_bytes

HELP = "measure tasks and transfers here and now, against raw mpi4py"
EPILOG = """\
examples:
  mpiflow bench               2 ranks on this node, half a minute
  mpiflow bench --json        for comparison

Figures of one moment, of a machine on which others compute as well. The
benchmarks of the repository measure more, and more carefully: docs/performance.md.
"""
TASKS, NBYTES = 5_000, 64 << 20         # tasks that do nothing; bytes of a transfer
_OPS = """\
import time
from mpiflow import operation

@operation
def nothing(i):
    return i

@operation(nbytes=64 << 20)
def late(a):
    time.sleep(0.5)                     # all else is there by then
    return a[:(64 << 20) // 8].copy()

@operation
def both(x, y):
    return x[0] + y[0]

@operation
def last(a, sum):
    return sum
"""
_TASKS = """\
mpiflow: 1
name: tasks
operations: [ops.py]
steps: {{tasks: {{for: {{i: range({num})}}, run: nothing, with: {{i: $i}}}}}}
"""
# x is made where a is; of x and y the smaller one moves: x. What comes of them goes back, so that one clock tells the time.
_TRANSFER = f"""\
mpiflow: 1
name: transfer
operations: [ops.py]
datasets:
  a: {{full: {{shape: [{NBYTES // 4}], value: 1}}, rank: 0}}
  y: {{full: {{shape: [{NBYTES // 6}], value: 1}}, rank: 1}}
steps: {{x: late(a), sum: "both(x, y)", back: "last(a, sum)"}}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this verb."""
    parser.add_argument("--mpirun", metavar="FILE", help="the launcher (default: the one of this environment, or in the path)")
    parser.add_argument("--tasks", type=int, default=TASKS, metavar="N", help="tasks that do nothing (default: %(default)d)")
    parser.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS",
                        help="how long each of the three jobs may take (default: %(default)g)")
    parser.add_argument("--probe", action="store_true", help=argparse.SUPPRESS)
    add_json(parser)


def execute(chosen: argparse.Namespace) -> int:
    """Run three small jobs, and compare.

    Raises:
        LaunchError: There is no launcher.
        MachineError: A job did not end well.
    """
    if chosen.probe:
        return _probe(chosen.tasks)
    launcher = chosen.mpirun or mpirun()
    if launcher is None:
        raise LaunchError("there is no mpirun: 'mpiflow doctor' says what to do")
    with tempfile.TemporaryDirectory(prefix="mpiflow-bench-") as folder:
        found = _measured(launcher, chosen, Path(folder))
    say(json.dumps(found, indent=1) if chosen.json else _text(found))
    return 0


def _probe(num: int) -> int:
    """Be one of two ranks that send plain messages."""
    world = join_world(20.0)
    from mpiflow.peer.probing import raw_rates
    said = raw_rates(world, num, NBYTES)
    say(json.dumps(said), world.rank)
    return 0


def _measured(launcher: str, chosen: argparse.Namespace, folder: Path) -> dict[str, float]:
    def job(*words: str) -> Any:
        ended = run_job([launcher, "-n", "2", sys.executable, "-m", "mpiflow", *words], chosen.timeout, folder)
        if ended.status != 0:
            raise MachineError(f"{launcher} -n 2 does not work: {ended.why}.\n'mpiflow doctor' says what to do")
        return ended

    (folder / "ops.py").write_text(_OPS)
    raw = job("bench", "--probe", "--tasks", str(chosen.tasks)).said()
    tasks = _run(job, folder, _TASKS.format(num=chosen.tasks))
    moving = _run(job, folder, _TRANSFER)
    return {"tasks_per_second": chosen.tasks / tasks["seconds"], "raw_messages_per_second": raw["messages"],
            "bandwidth": _bandwidth(moving["tasks"], moving["moved"]), "raw_bandwidth": raw["bandwidth"]}


def _run(job: Callable[..., Any], folder: Path, document: str) -> dict[str, Any]:
    """Run a workflow, and give its record."""
    (folder / "w.yaml").write_text(document)
    job("w.yaml", "--no-save", "--store", "store", "--record", "record.json")
    return json.loads((folder / "record.json").read_text())


def _bandwidth(tasks: Sequence[dict[str, Any]], moved: Sequence[Sequence[int]]) -> float:
    """Bytes a second, from when what moves was made until what came of it was back, on the same rank."""
    made = next(task for task in tasks if task["step"] == "x")
    needed = next(task["start"] for task in tasks if task["step"] == "back")
    return sum(nbytes for *_, nbytes in moved) / max(needed - made["start"] - made["seconds"], 1e-6)


def _text(found: dict[str, float]) -> str:
    tasks, messages = found["tasks_per_second"], found["raw_messages_per_second"]
    bandwidth, raw = found["bandwidth"], found["raw_bandwidth"]
    return "\n".join([
        f"tasks that do nothing, 2 ranks   {tasks:12,.0f} a second",
        f"raw mpi4py, one message a task   {messages:12,.0f} a second   {messages / tasks:.1f} times as many",
        f"a block from rank to rank        {human_bytes(bandwidth):>12} a second",
        f"raw mpi4py, Isend and Irecv      {human_bytes(raw):>12} a second   {raw / max(bandwidth, 1):.1f} times as many"])

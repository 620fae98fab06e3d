"""Runs that somebody looks at, and the same ones unobserved, in turn in the same processes; started by ``progress.py``.

Arguments: seconds that all tasks take together on each rank, how many times as often as usual they are looked at, pairs of such
runs; tasks that do nothing, lines, repeats.
"""

import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

from mpi4py import MPI

from mpiflow.operations.printed import Printed
from mpiflow.peer import round, telling
from mpiflow.peer.run import Request, run
from mpiflow.report import live
from mpiflow.report.live import Live
from mpiflow.storage.lines import Lines

OPS = """
import numpy as np
from mpiflow import operation

@operation(seconds=0.002)
def busy(number):
    total = 0.0
    for i in range(40_000):
        total += i * 0.5
    return np.float64(total)

@operation(seconds=5e-6)
def nothing(number):
    return np.int64(number)
"""
DOCUMENT = """
mpiflow: 1
name: observed
operations: [ops.py]
steps:
  t: {{for: {{number: "range({num})"}}, run: {operation}, with: {{number: $number}}}}
"""


@contextlib.contextmanager
def looking(often):
    """Have runs looked at so many times as often as usual, from their begin; and what is bounded by its own clock, likewise."""
    with contextlib.ExitStack() as stack:
        for module, name in ((telling, "PERIOD"), (telling, "SHARE"), (live, "_OFTEN"), (live, "_SHARE"), (live, "_EACH")):
            stack.enter_context(mock.patch.object(module, name, getattr(module, name) / often))
        stack.enter_context(mock.patch.object(telling, "_CROWD", telling._CROWD * often))
        stack.enter_context(mock.patch.object(round, "FIRST", telling.FIRST / often))
        yield


def measured(comm, folder, document, observed):
    """Give the seconds of the run itself, and of all that it takes, on the slowest rank."""
    shown = Live(folder / "store", "live")

    def conclude(outcome):
        if observed:
            shown.finish(outcome)

    comm.Barrier()
    began = time.perf_counter()
    done = run(comm, Request(folder / document, store=folder / "store", save=False, replan=False), conclude,
               observe=shown if observed else None)
    mine = time.perf_counter() - began
    return done.seconds, comm.allreduce(mine, MPI.MAX)


def printing(folder, num, kept):
    """Give the seconds for one line of a task; the lines go to a file, as those of a job do."""
    printed, old = Printed(), sys.stdout
    with open(folder / "out.txt", "w") as sys.stdout:
        if kept:
            printed.doing = lambda: 1
            lines = Lines(folder / "lines", os.getpid())
            printed.keep, printed.flush = lines.append, lines.flush
            printed.listen()
        began = time.perf_counter()
        for number in range(num):
            print("line", number)
        seconds = time.perf_counter() - began
        printed.close()
    sys.stdout = old
    return seconds / num


def main():
    """Print seconds for each way, with and without."""
    comm = MPI.COMM_WORLD
    seconds, (often, pairs, num_nothing, num_lines, repeats) = float(sys.argv[1]), map(int, sys.argv[2:])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(comm.bcast(name))
        if comm.rank == 0:
            (folder / "ops.py").write_text(OPS)
            (folder / "busy.yaml").write_text(DOCUMENT.format(num=int(seconds / 0.002) * comm.size, operation="busy"))
            (folder / "nothing.yaml").write_text(DOCUMENT.format(num=num_nothing, operation="nothing"))
        comm.Barrier()
        found = {what: {"off": [], "on": []} for what in ("busy", "nothing", "line")}
        for _ in range(pairs):
            with looking(often):
                for way in ("off", "on"):
                    found["busy"][way].append(measured(comm, folder, "busy.yaml", way == "on")[0])
        for _ in range(repeats):
            for way in ("off", "on"):
                found["nothing"][way].append(measured(comm, folder, "nothing.yaml", way == "on")[1])
                found["line"][way].append(printing(folder, num_lines, way == "on"))
        comm.Barrier()
    if comm.rank == 0:
        print(json.dumps(found))


if __name__ == "__main__":
    main()

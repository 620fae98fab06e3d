"""Run mpiflow's command line and leave the peak memory of this process in a file: ``peak.py DIRECTORY ARGUMENTS``."""

import atexit
import os
import runpy
import sys
from pathlib import Path


def peak_bytes():
    """Give the largest resident size so far [bytes]. Linux counts it anew for every program, unlike ``ru_maxrss``."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("no VmHWM in /proc/self/status")


def leave_behind(folder):
    """Write what this process needed; mpiflow calls the exit functions on every way out that is no abort."""
    (folder / f"{os.getpid()}.peak").write_text(str(peak_bytes()))


if __name__ == "__main__":
    atexit.register(leave_behind, Path(sys.argv[1]).absolute())
    sys.argv = ["mpiflow", *sys.argv[2:]]
    runpy.run_module("mpiflow", run_name="__main__")

"""Run mpiflow's command line and leave what this host's link has carried between the first task and the agreed end.

``decentral.py FOLDER ARGUMENTS`` writes FOLDER/HOST.json; one rank on each host.
"""

import json
import runpy
import socket
import sys
from pathlib import Path

from link import counters

from mpiflow.peer.loop import Loop

_run = Loop.run
_folder = Path(sys.argv[1])


def counted(loop: Loop) -> float:
    """Run the loop of this rank between two looks at the counters."""
    before = counters()
    seconds = _run(loop)
    (_folder / f"{socket.gethostname()}.json").write_text(json.dumps((counters() - before).tolist()))
    return seconds


if __name__ == "__main__":
    Loop.run = counted
    sys.argv = ["mpiflow", *sys.argv[2:]]
    runpy.run_module("mpiflow", run_name="__main__")

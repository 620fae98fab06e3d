"""All data on a shared directory: ``conventional.py WORKFLOW SIZE SERVER ANSWER``.

Every task reads its arguments from the directory and writes its result to it. Tasks go to the ranks in turn, and each waits
for its files: nobody sends anything to anybody else.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from chains import chain
from file_server import Files
from mpi4py import MPI
from wire import measured


def main() -> None:
    """Measure, print, and leave the answer behind."""
    comm = MPI.COMM_WORLD
    workflow, size, server, answer = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    tasks = chain(workflow, comm.size, size)
    dtypes = {task.name: task.dtype for task in tasks}
    files = Files(server)

    def part() -> int:
        messages = 0
        for task in tasks[comm.rank::comm.size]:
            files.write(task.name, task.run([files.read(name, dtypes.get(name, "f8")) for name in task.needs]))
            messages += len(task.needs) + 1
        return messages

    before = files.counters()
    found = measured(comm, part)
    if found:
        found["links"]["server"] = (files.counters() - before).tolist()
        np.save(answer, files.read("answer", dtypes["answer"]))
        print(json.dumps(found))


if __name__ == "__main__":
    main()

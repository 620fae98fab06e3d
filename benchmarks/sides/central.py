"""One rank orchestrates, and all data pass through it: ``central.py WORKFLOW SIZE SCRATCH ANSWER HOW``.

HOW is ``centre``: rank 0 does every task itself; or ``workers``: it sends each task, with its arguments, to an idle one of the
others and gets the result back. Both ways the datasets come from where they lie, one on each rank, and as early as possible.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from chains import Task, chain
from mpi4py import MPI
from wire import measured, polite, wait

END = -1
DATA, ORDER, ARGUMENT, RESULT = range(4)        # tags


class Centre:
    """What rank 0 knows: arrays, tasks not begun, arrays that are on their way to it.

    Args:
        comm: All ranks.
        tasks: In an order in which they can be done.
        size: Of a dataset [elements].
        own: The dataset of rank 0.
    """

    def __init__(self, comm: MPI.Comm, tasks: list[Task], size: int, own: np.ndarray) -> None:
        self._comm, self._tasks, self._left = comm, tasks, list(tasks)
        self._known = {"D1": own}
        self._coming: dict[str, tuple[MPI.Request, np.ndarray, int]] = {}
        self._sending: list[MPI.Request] = []
        self._idle = list(range(1, comm.size))
        self.messages = 0
        for rank in range(1, comm.size):
            self._expect(f"D{rank + 1}", np.empty(size), rank, DATA)

    def _expect(self, name: str, place: np.ndarray, rank: int, tag: int) -> None:
        self._coming[name] = self._comm.Irecv(place, rank, tag), place, rank if tag == RESULT else END

    def _arrived(self) -> bool:
        """Take in what has come; say whether anything has."""
        here = [name for name, (request, _, _) in self._coming.items() if request.Test()]
        for name in here:
            _, self._known[name], worker = self._coming.pop(name)
            if worker != END:
                self._idle.append(worker)
        return bool(here)

    def _ready(self) -> list[Task]:
        return [task for task in self._left if all(name in self._known for name in task.needs)]

    def _order(self, task: Task, worker: int) -> None:
        """Send a task and its arguments away, and expect its result."""
        arrays = [self._known[name] for name in task.needs]
        self._expect(task.name, np.empty(task.size, task.dtype), worker, RESULT)
        self._sending.append(self._comm.Isend(np.array([self._tasks.index(task)]), worker, ORDER))
        self._sending += [self._comm.Isend(array, worker, ARGUMENT) for array in arrays]
        self.messages += len(arrays)

    def _begin(self, task: Task, alone: bool) -> bool:
        """Do a task here, or have it done if anybody is idle; say whether there was anybody."""
        if alone:
            self._known[task.name] = task.run([self._known[name] for name in task.needs])
        elif self._idle:
            self._order(task, self._idle.pop(0))
        else:
            return False
        self._left.remove(task)
        return True

    def run(self, alone: bool) -> np.ndarray:
        """See to it that all tasks are done, here or by the others, and give the answer."""
        while "answer" not in self._known:
            begun = [self._begin(task, alone) for task in self._ready()]
            if not any(begun):
                polite(self._arrived)
        ends = [self._comm.Isend(np.array([END]), worker, ORDER) for worker in range(1, self._comm.size)]
        wait(*self._sending, *ends)
        return self._known["answer"]


def work(comm: MPI.Comm, tasks: list[Task], size: int) -> int:
    """Do the tasks that rank 0 sends, until there are no more; give the number of results sent."""
    sizes = {f"D{number}": (size, "f8") for number in range(1, comm.size + 1)} | {t.name: (t.size, t.dtype) for t in tasks}
    order, done = np.empty(1, np.int64), 0
    while True:
        wait(comm.Irecv(order, 0, ORDER))
        if order[0] == END:
            return done
        task = tasks[order[0]]
        arrays = [np.empty(*sizes[name]) for name in task.needs]
        wait(*[comm.Irecv(array, 0, ARGUMENT) for array in arrays])
        wait(comm.Isend(task.run(arrays), 0, RESULT))
        done += 1


def main() -> None:
    """Measure, print, and leave the answer behind."""
    comm = MPI.COMM_WORLD
    workflow, size, scratch, answer, how = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], sys.argv[5]
    tasks = chain(workflow, comm.size, size)

    def part() -> int:
        own = np.load(scratch / f"D{comm.rank + 1}.npy")
        if comm.rank:
            sending = comm.Isend(own, 0, DATA)
            done = work(comm, tasks, size)
            wait(sending)
            return 1 + done
        centre = Centre(comm, tasks, size, own)
        np.save(answer, centre.run(alone=how == "centre"))
        return centre.messages

    found = measured(comm, part)
    if found:
        print(json.dumps(found))


if __name__ == "__main__":
    main()

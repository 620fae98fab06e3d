"""Saving in tests, without a thread, and looking at what comes of it."""

import os

from mpiflow.operations.values import columns, nbytes
from mpiflow.planning.tasks import recipe_id
from mpiflow.storage.records import Made, decode_head, scan
from mpiflow.storage.shelf import Shelf


def made(number, value, step="step"):
    return Made(recipe_id(number), step, nbytes(value), 0.5, 3, "host")


def save(store, values, run="run", inline=100, end=True):
    """Save without a thread; give the tasks."""
    shelf = Shelf(store, run, 0, inline)
    tasks = [made(number, value) for number, value in values.items()]
    for task, value in zip(tasks, values.values(), strict=True):
        shelf.add(task, value)
    shelf.commit()
    shelf.end() if end else shelf.close()
    return tasks


def assert_same(one, other):
    for (name, a), (other_name, b) in zip(columns(one), columns(other), strict=True):
        assert (name, a.dtype, a.shape, a.tobytes()) == (other_name, b.dtype, b.shape, b.tobytes())


def spans(file):
    """Begin, end and head of each record of a journal."""
    opened = os.open(file, os.O_RDONLY)
    records = [(offset, decode_head(head)) for offset, head in scan(opened, [])]
    os.close(opened)
    ends = [*[offset for offset, _ in records[1:]], os.path.getsize(file)]
    return [(offset, end, head) for (offset, head), end in zip(records, ends, strict=True)]

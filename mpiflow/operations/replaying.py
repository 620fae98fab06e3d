"""The built-in operation that stands for a task of a recorded workflow."""

from __future__ import annotations

import time
from hashlib import blake2b

import numpy as np

from mpiflow.operations.operation import operation
from mpiflow.operations.values import columns

_BLOCK = 16_384     # numbers changed at a time while time passes: few enough for the cache, enough to let other threads run


def _sizes(files):
    """Sizes of the files [bytes]; a task that writes none gives one byte."""
    return {name: size for name, size in files} if files else 1


def _content(name, size):
    """Bytes that depend on the file's name only."""
    return np.resize(np.frombuffer(blake2b(name.encode()).digest(), np.uint8), size)


def _spin(until):
    """Keep the processor busy until this thread has used it for so long [s]."""
    block = np.zeros(_BLOCK)
    while time.thread_time() < until:
        np.add(block, 1.0, out=block)


@operation(seconds=lambda nbytes, seconds: seconds, nbytes=lambda nbytes, files: _sizes(files))
def replay(*inputs, task="", seconds=0.0, files=None):
    """Do what a task of a recorded workflow did: read all inputs, compute for ``seconds``, and write ``files``.

    Args:
        inputs: Any arrays or tables; every byte is read.
        task: Its id; two tasks that do the same are two.
        seconds: How long it keeps a processor busy, reading and writing included [s].
        files: [name, size in bytes] of each file.

    Returns:
        Table of uint8 with a column for each file; without files, one byte.
    """
    start = time.thread_time()
    total = sum(int(np.sum(array.view(np.uint8) if array.ndim else array, dtype=np.uint64))
                for value in inputs for _, array in columns(value) if array.dtype.kind in "biuf")
    sizes = _sizes(files)
    if sizes == 1:
        made = np.full(1, total % 251, np.uint8)
    else:
        made = {name: _content(name, size) for name, size in sizes.items()}
    _spin(start + seconds)
    return made

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


def _read(array):
    """Read every byte, as fast as memory gives them."""
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    whole = len(flat) // 8 * 8
    return int(flat[:whole].view(np.uint64).sum()) + int(flat[whole:].sum())


def _content(name, size):
    """Bytes that depend on the file's name only."""
    return np.resize(np.frombuffer(blake2b(name.encode()).digest(), np.uint8), size)


def _spin(until):
    """Keep the processor busy until that time [s]."""
    block = np.zeros(_BLOCK)
    while time.perf_counter() < until:
        np.add(block, 1.0, out=block)


@operation(seconds=lambda nbytes, seconds: seconds, nbytes=lambda nbytes, files: _sizes(files))
def replay(*inputs, task="", seconds=0.0, files=None):
    """Do what a task of a recorded workflow did: read all inputs, compute for ``seconds``, and write ``files``.

    Args:
        inputs: Any arrays or tables; every byte is read.
        task: Its id; two tasks that do the same are two.
        seconds: How long it takes, reading and writing included, a processor kept busy [s].
        files: [name, size in bytes] of each file.

    Returns:
        Table of uint8 with a column for each file; without files, one byte.
    """
    start = time.perf_counter()
    total = sum(_read(array) for value in inputs for _, array in columns(value))
    sizes = _sizes(files)
    if sizes == 1:
        made = np.full(1, total % 251, np.uint8)
    else:
        made = {name: _content(name, size) for name, size in sizes.items()}
    _spin(start + seconds)
    return made

"""Transfers on real ranks: what is sent arrives, bit by bit, whatever it is and in whatever order."""

import random
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mpiflow.operations.values import as_value, columns, nbytes
from mpiflow.peer import wire
from mpiflow.peer.ahead import AHEAD
from mpiflow.peer.buffers import LEAST
from mpiflow.peer.transfers import Transfers


class Noting(Transfers):
    """Transfers that note what has left, at once or later."""

    def __init__(self, comm, probing=False):
        super().__init__(comm, probing)
        self.gone = []

    def send(self, task, rank, value):
        size = super().send(task, rank, value)
        if size is not None:
            self.gone.append((task, rank, size))
        return size


def turn(transfers, num_arrivals, num_sends, limit=90):
    """Poll until so many blocks have arrived and left."""
    arrived, began = [], time.monotonic()
    while (len(arrived) < num_arrivals or len(transfers.gone) < num_sends) and time.monotonic() - began < limit:
        more, gone = transfers.receive(), transfers.sent()
        arrived += more
        transfers.gone += gone
        if not more and not gone:
            time.sleep(0 if transfers.busy else 1e-4)
    return arrived, transfers.gone


def same(left, right):
    pairs = zip(columns(left), columns(right), strict=True)
    return all(a == b and x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes() for (a, x), (b, y) in pairs)


def value(seed):
    """A value of a random kind."""
    numbers = np.random.default_rng(seed)
    kind = seed % 10
    record = np.dtype([("a", "<i4"), ("b", "<f8", (2, 3)), ("c", [("d", "S3")])])
    return as_value([
        lambda: numbers.random(),
        lambda: numbers.random((0, 3)),
        lambda: numbers.random(wire.INLINE // 8),
        lambda: numbers.random(wire.INLINE // 8 + 1),
        lambda: {"x": numbers.random(5), "y": numbers.integers(0, 9, (300, 7)), "z": np.array(3, ">i2")},
        lambda: np.array(["Ångström", "", "nm"]),
        lambda: np.zeros(1000, record),
        lambda: {f"column {i:04}": numbers.random(3) for i in range(500)},
        lambda: np.array(["2026-11-23", "NaT"], "datetime64[D]"),
        lambda: numbers.random((50, 60, 3)).astype(np.float32).transpose(2, 0, 1),
    ][kind]())


@pytest.mark.parametrize("probing", [False, True])
def test_values_of_every_kind_arrive_as_they_were(comm, together, probing):
    transfers = Noting(comm, probing)
    others = [rank for rank in range(comm.size) if rank != comm.rank]
    num = 40
    for index in random.Random(comm.rank).sample(range(num), num):
        for rank in others:
            transfers.send(comm.rank * num + index, rank, value(comm.rank * num + index))
    arrived, sent = turn(transfers, num * len(others), num * len(others))
    right = all(same(item, value(task)) for task, item in arrived)
    tasks = sorted(task for task, _ in arrived)
    wanted = [rank * num + index for rank in others for index in range(num)]
    sizes = all(size == nbytes(value(task)) for task, _, size in sent)
    states = together((right, tasks == wanted, sizes, transfers.busy))
    transfers.close()
    assert states == ["(True, True, True, False)"] * comm.size


def test_received_values_are_read_only(comm, together):
    transfers = Noting(comm)
    transfers.send(comm.rank, (comm.rank + 1) % comm.size, as_value(np.arange(3 * wire.INLINE)))
    (_, item), = turn(transfers, 1, 1)[0]
    writeable = together(item.flags.writeable)
    transfers.close()
    assert writeable == ["False"] * comm.size


@pytest.mark.parametrize("size", [3_999, 8_001, 100_000_000])
def test_a_ring_in_which_all_send_at_once_does_not_lock_up(comm, together, size):
    transfers = Noting(comm)
    size = size if comm.size <= 4 else min(size, 20_000_000)
    block = as_value(np.full(size, comm.rank, np.uint8))
    for turns in range(2):
        transfers.send(comm.rank + turns * comm.size, (comm.rank + 1) % comm.size, block)
    arrived, sent = turn(transfers, 2, 2)
    left = (comm.rank - 1) % comm.size
    right = [(task, item.shape, bool((item == left).all())) for task, item in arrived]
    states = together((right == [(left, (size,), True), (left + comm.size, (size,), True)], len(sent)))
    transfers.close()
    assert states == ["(True, 2)"] * comm.size


@pytest.mark.parametrize("probing", [False, True])
def test_many_blocks_to_one_rank_are_all_received(comm, together, probing):
    transfers = Noting(comm, probing)
    num = 500
    if comm.rank:
        for index in range(num):
            transfers.send(comm.rank * num + index, 0, as_value(np.full(index * 10, index)))
        arrived, sent = turn(transfers, 0, num)
    else:
        arrived, sent = turn(transfers, num * (comm.size - 1), 0)
    right = all((item == task % num).all() and len(item) == task % num * 10 for task, item in arrived)
    states = together((right, len({task for task, _ in arrived}), len(sent)))
    transfers.close()
    assert states == [f"(True, {num * (comm.size - 1)}, 0)"] + [f"(True, 0, {num})"] * (comm.size - 1)


def large(seed):
    """A block that may be what everybody expects of it, LEAST bytes in a plain array; or not."""
    numbers = np.random.default_rng(seed)
    expected = numbers.integers(0, 255, LEAST, np.uint8)
    kind = seed % 8
    return as_value([
        lambda: expected,
        lambda: expected.view(np.float32).reshape(-1, 64),
        lambda: expected.view("S8"),
        lambda: {"x": expected},
        lambda: {"x": expected[:LEAST // 2].copy(), "y": expected[LEAST // 2:].copy()},
        lambda: expected[:-1].copy(),
        lambda: numbers.random(LEAST // 4),
        lambda: 1.0,
    ][kind]())


class Promised:
    """Blocks that are said to come: to this rank, in this order, from these sources."""

    def __init__(self, rank, num, edges):
        self.rank = rank
        self.lost = set()
        routes = [()] * num
        for block, source in edges:
            routes[block] = ((source, rank),)
        self.plan = SimpleNamespace(order=[block for block, _ in edges], routes=routes)

    def comes(self, block):
        return block not in self.lost


@pytest.mark.parametrize("probing", [False, True])
def test_blocks_arrive_as_they_were_whatever_was_foreseen(comm, together, probing):
    """Some are as expected, some are not, some never come, some come from elsewhere; rank 0 expects nothing."""
    transfers, num, size = Noting(comm, probing), 16 * comm.size, comm.size
    left, right = (comm.rank - 1) % size, (comm.rank + 1) % size
    edges = [(left * 16 + index, left if index % 5 else right) for index in random.Random(comm.rank).sample(range(16), 16)]
    promised = Promised(comm.rank, num, edges)
    transfers.foresee(dict.fromkeys(range(num), LEAST), promised if comm.rank else None)
    together("known")
    sends = [index for index in range(16) if index % 7 != 3]
    for index in random.Random(-comm.rank).sample(sends, len(sends)):
        transfers.send(comm.rank * 16 + index, right, large(index))
    arrived, sent = turn(transfers, len(sends), len(sends))
    same_bits = all(same(item, large(task % 16)) for task, item in arrived)
    tasks = sorted(task for task, _ in arrived) == [left * 16 + index for index in sends]
    locked = not any(array.flags.writeable for _, item in arrived for _, array in columns(item))
    states = together((same_bits, tasks, locked, len(sent) == len(sends), transfers.busy))
    transfers.close()
    assert states == ["(True, True, True, True, False)"] * size


def test_an_array_of_very_many_fields_arrives_though_it_was_expected(comm, together):
    """Its description does not fit into its header."""
    dtype = np.dtype([(f"a field with a long name {number}", "f8") for number in range(300)])
    block = as_value(np.zeros(LEAST // dtype.itemsize + 1, dtype))
    transfers, sends = Noting(comm), comm.rank == 0 and comm.size > 1
    transfers.foresee({0: nbytes(block)}, Promised(comm.rank, 1, [(0, 0)] if comm.rank == 1 else []))
    together("")
    if sends:
        transfers.send(0, 1, block)
    arrived, _ = turn(transfers, comm.rank == 1, sends)
    together("")
    transfers.close()
    assert len(arrived) == (comm.rank == 1) and all(same(value, block) for _, value in arrived)


def test_memory_of_blocks_that_were_returned_as_they_came_is_used_again(comm, together):
    """An operation that returns its input makes a value of it, which locks the memory."""
    transfers, num = Noting(comm), 6
    blocks = [as_value(np.full(LEAST, number, np.uint8)) for number in range(num)]
    foreseen = Promised(comm.rank, num, [(number, 0) for number in range(0, num, 2)] if comm.rank == 1 else [])
    transfers.foresee({number: LEAST for number in range(0, num, 2)}, foreseen)
    for number in range(num):
        together("")
        if comm.rank == 0 and comm.size > 1:
            transfers.send(number, 1, blocks[number])
        arrived, _ = turn(transfers, comm.rank == 1, number + 1 if comm.rank == 0 and comm.size > 1 else 0)
        returned = [(task, as_value(value[:10]).tolist()) for task, value in arrived]
        assert returned == ([(number, [number] * 10)] if comm.rank == 1 else [])
        del arrived
    together("")
    transfers.close()


def test_a_receive_that_was_withdrawn_too_early_or_too_late_loses_nothing(comm, together):
    """Blocks go round while everybody gives up expecting them: before they are sent, or when they may be there already."""
    transfers, size = Noting(comm), comm.size
    left, right = (comm.rank - 1) % size, (comm.rank + 1) % size
    num, found = AHEAD, []
    for again in range(2):                      # as rounds of a run, the second after the first
        for late in (False, True):
            promised = Promised(comm.rank, num, [(block, left) for block in range(num)])
            transfers.foresee(dict.fromkeys(range(num), LEAST), promised)
            posted = [transfers.ahead.expect(block, left) for block in range(1, num)]
            together("known")
            if late:
                for block in range(AHEAD):
                    transfers.send(block, right, large(8 * block))
            together("sent")                    # MPI moves what it can
            promised.lost = set(range(AHEAD))
            transfers.ahead.due = True
            transfers.trim(0.0)
            promised.lost = set()
            if not late:
                for block in range(AHEAD):
                    transfers.send(block, right, large(8 * block))
            arrived, _ = turn(transfers, AHEAD, AHEAD * (2 * again + late + 1))
            found.append(all(posted) and sorted(task for task, _ in arrived) == list(range(AHEAD))
                         and all(same(item, large(8 * task)) for task, item in arrived))
            together("over")
    states = together(found)
    transfers.close()
    assert states == ["[True, True, True, True]"] * size


def test_a_block_that_comes_twice_is_received_twice(comm, together):
    transfers = Noting(comm)
    left, right = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
    transfers.foresee({0: LEAST}, Promised(comm.rank, 1, [(0, left)]))
    together("known")
    for _ in range(3):
        transfers.send(0, right, large(0))
    arrived, _ = turn(transfers, 3, 3)
    states = together((len(arrived), all(same(item, large(0)) for _, item in arrived)))
    transfers.close()
    assert states == ["(3, True)"] * comm.size


def peak_memory():
    """Largest resident memory of this process so far, without pages shared with others [bytes]."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def test_a_huge_block_arrives_whole_without_a_second_copy(comm, together):
    size = 3 << 30 if comm.size == 2 else 200_000_001       # above 2 GiB counts, and not a multiple of a piece
    transfers = Noting(comm)
    source, destination = 0, comm.size - 1
    block = None
    if comm.rank == source:
        block = np.empty(size, np.uint8)
        words = block[: size // 8 * 8].view(np.uint64)
        for start in range(0, len(words), 1 << 22):
            words[start:start + (1 << 22)] = np.arange(start, min(start + (1 << 22), len(words)), dtype=np.uint64)
        block[size // 8 * 8:] = 7
        block.flags.writeable = False
    together("ready")
    before = peak_memory()
    if comm.rank == source:
        transfers.send(0, destination, block)
    arrived, _ = turn(transfers, comm.rank == destination, comm.rank == source)
    extra = peak_memory() - before
    right = True
    if comm.rank == destination:
        (_, item), = arrived
        words = item[: size // 8 * 8].view(np.uint64)
        right = item.shape == (size,) and bool((item[size // 8 * 8:] == 7).all()) and all(
            bool((words[start:start + (1 << 22)] == np.arange(start, min(start + (1 << 22), len(words)))).all())
            for start in range(0, len(words), 1 << 22))
    growth = [int(part) for part in together(extra)]
    rights = together(right)
    transfers.close()
    assert rights == ["True"] * comm.size
    assert all(more < 1.1 * size for more in growth), [more / size for more in growth]
    assert source == destination or growth[source] < 0.1 * size, growth[source] / size

"""Epochs on real ranks."""

import random
import time

from mpiflow.peer.epochs import SLOT, Epochs


def wait(epochs):
    while (parts := epochs.poll()) is None:
        time.sleep(0)
    return parts


def contribution(rank, turn):
    chance = random.Random(rank * 1000 + turn)
    return chance.randbytes(chance.choice([0, 1, 100, SLOT - 9, SLOT - 8, SLOT - 7, SLOT, 5 * SLOT, 100_000]))


def test_every_rank_gets_every_contribution_whatever_its_length(comm, together):
    epochs = Epochs(comm)
    right = True
    for turn in range(40):
        epochs.post(contribution(comm.rank, turn))
        right &= wait(epochs) == [contribution(rank, turn) for rank in range(comm.size)]
    assert together(right) == ["True"] * comm.size


def test_an_exchange_that_was_not_posted_is_never_complete(comm, together):
    assert together(Epochs(comm).poll()) == ["None"] * comm.size


def test_a_late_rank_delays_only_the_result(comm, together):
    epochs = Epochs(comm)
    if comm.rank == comm.size - 1:
        time.sleep(0.2)
    before = time.perf_counter()
    epochs.post(b"x")
    posted = time.perf_counter() - before
    parts = wait(epochs)
    assert together((parts == [b"x"] * comm.size, posted < 0.1)) == ["(True, True)"] * comm.size

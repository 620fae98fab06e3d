"""Signs of life between real ranks."""

import math
import time

from mpiflow.peer.pulse import Pulse


def hear_all(pulse):
    """Listen until every other rank has been heard of."""
    limit = time.monotonic() + 20
    others = [rank for rank in range(pulse.size) if rank != pulse.rank]
    while any(pulse.heard[rank] == -math.inf for rank in others) and time.monotonic() < limit:
        pulse.listen(7.0)
        time.sleep(1e-3)
    return [pulse.heard[rank] for rank in others]


def test_each_rank_hears_of_all_others_again_and_again(comm, together):
    pulse, heard = Pulse(comm), []
    for _ in range(3):
        pulse.begin()
        together("listening")
        pulse.beat()
        heard += hear_all(pulse)
        together("heard")
        pulse.rest()
    assert together(heard) == [str([7.0] * 3 * (comm.size - 1))] * comm.size


def test_a_rank_that_gives_no_sign_is_not_heard_of(comm, together):
    pulse = Pulse(comm)
    pulse.begin()
    together("listening")
    silent = comm.size - 1
    if comm.rank < silent:
        pulse.beat()
    together("sent")
    for _ in range(100):
        pulse.listen(7.0)
    mute = pulse.heard[silent]
    together("heard")
    pulse.rest()
    assert together(mute) == [str(-math.inf)] * comm.size

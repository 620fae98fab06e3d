"""Receives posted ahead: which, how many, and what becomes of those that were not needed. The MPI is made up."""

from types import SimpleNamespace

import numpy as np
import pytest
from mpi4py import MPI

from mpiflow.peer.ahead import AHEAD, MOST, ROOM, Ahead, sizes
from mpiflow.peer.buffers import LEAST, Buffers
from mpiflow.peer.wire import Follows

TAG = 100


def plain(nbytes, dtype=np.uint8):
    """What a header says of a plain array of this size."""
    return Follows(nbytes, (), np.dtype(dtype), (nbytes // np.dtype(dtype).itemsize,))


BYTES, OTHER = plain(LEAST), plain(LEAST - 1)         # OTHER is not what is expected


class Receive:
    """A request; ``come`` is the arrival of its message, and MPI may take its time to withdraw it (``slow``)."""

    def __init__(self, source, tag, slow):
        self.source, self.tag, self.slow = source, tag, slow
        self.state = "posted"

    def come(self):
        assert self.state == "posted"
        self.state = "here"

    def Cancel(self):
        if self.state == "posted":
            self.state = "going" if self.slow else "gone"

    def Get_status(self, status):
        status.Set_cancelled(self.state == "gone")
        return self.state in ("here", "gone")

    def Test(self, status=None):
        done = self.Get_status(status or MPI.Status())
        self.state = "over" if done else self.state
        return done


class Comm:
    """Keeps the receives that were posted."""

    rank = 1

    def __init__(self, most=10_000, slow=False):
        self.most, self.slow = most, slow
        self.receives = []

    def Get_attr(self, key):
        return self.most

    def Irecv(self, memory, source, tag):
        self.receives.append(Receive(source, tag, self.slow))
        return self.receives[-1]

    @property
    def posted(self):
        return [(receive.tag - TAG, receive.source) for receive in self.receives if receive.state == "posted"]


class Foresight:
    """Every block comes, each from the next one of so many sources, until it is taken away."""

    rank = 9

    def __init__(self, order, nbytes=LEAST, num_sources=8):
        self.nbytes, self.lost = nbytes, set()
        self.place(order, num_sources)

    def place(self, order, num_sources):
        routes = [()] * len(order)
        for place, block in enumerate(order):
            routes[block] = ((place % num_sources, self.rank),)
        self.plan = SimpleNamespace(order=order, routes=routes, estimates=SimpleNamespace(nbytes=[self.nbytes] * len(order)))

    def comes(self, block):
        return block not in self.lost


def started(foresight, **how):
    comm = Comm(**how)
    ahead = Ahead(comm, Buffers(), TAG)
    ahead.know(sizes(foresight.plan))
    ahead.follow(foresight)
    return ahead, comm


def again(ahead):
    """As after a large block."""
    ahead.due = True
    ahead.renew()


def test_the_blocks_that_are_made_first_are_received_ahead():
    order = [5, 3, 4, 0, 1, 2, 6]
    _, comm = started(Foresight(order))
    assert comm.posted == [(block, source) for source, block in enumerate(order[:AHEAD])]


def test_only_one_is_received_ahead_from_each_source():
    _, comm = started(Foresight(range(6), num_sources=2))
    assert comm.posted == [(0, 0), (1, 1)]


def test_the_next_one_is_posted_when_one_has_come():
    foresight = Foresight(range(5), num_sources=2)
    ahead, comm = started(foresight)
    request = ahead.claim(0, 0, BYTES).request
    request.come()
    assert request.Test() and ahead.due
    foresight.lost.add(0)
    ahead.renew()
    assert comm.posted == [(1, 1), (2, 0)] and not ahead.due


@pytest.mark.parametrize("second", [BYTES, plain(LEAST, np.float64), Follows(LEAST, None, None, ())],
                         ids=["like", "unlike", "table"])
def test_the_array_is_made_beforehand_and_is_what_the_header_says(second):
    foresight = Foresight(range(3), num_sources=1)
    ahead, comm = started(foresight)
    arrays = []
    for block, follows in enumerate((BYTES, second, BYTES)):
        posted = ahead.claim(block, 0, follows)
        if posted is None:
            assert follows.dtype is None
        else:
            array = posted.array
            posted.request.come()
            assert posted.request.Test() and not array.flags.writeable
            assert (array.dtype, array.shape, array.nbytes) == (follows.dtype, follows.shape, LEAST)
            arrays.append(array)
        foresight.lost.add(block)
        ahead.renew()
    assert comm.posted == [] and len({array.ctypes.data for array in arrays}) == len(arrays)


def test_nothing_is_done_while_nothing_has_changed():
    ahead, comm = started(Foresight(range(AHEAD + 2)))
    ahead.renew()
    assert len(comm.receives) == AHEAD


@pytest.mark.parametrize(("nbytes", "num"), [(LEAST - 1, 0), (LEAST, AHEAD), (ROOM // 3, 3), (MOST, ROOM // MOST), (MOST + 1, 0)])
def test_small_blocks_and_very_large_ones_are_not_and_the_rest_take_a_bounded_memory(nbytes, num):
    ahead, comm = started(Foresight(range(20), nbytes))
    assert len(comm.posted) == num
    assert (ahead.tag(7, nbytes) is not None) == (num > 0)


def test_a_block_of_another_size_has_no_tag_of_its_own():
    ahead, _ = started(Foresight(range(3)))
    others = LEAST - 1, LEAST + 1, -1
    assert [ahead.tag(2, size) for size in (LEAST, *others)] == [TAG + 2, None, None, None]
    assert [ahead.claim(2, 0, plain(size)) for size in (LEAST - 1, LEAST + 1)] == [None, None]


def test_blocks_have_tags_of_their_own_as_far_as_there_are_any():
    ahead, comm = started(Foresight(range(6)), most=TAG + 2)
    assert [ahead.tag(block, LEAST) for block in range(6)] == [TAG, TAG + 1, TAG + 2, None, None, None]
    assert comm.posted == [(0, 0), (1, 1), (2, 2)]
    assert started(Foresight(range(6)), most=TAG - 1)[1].posted == []


def test_a_new_plan_withdraws_what_comes_from_elsewhere_and_keeps_the_rest():
    foresight = Foresight(range(AHEAD))
    ahead, comm = started(foresight)
    foresight.place(range(AHEAD), 2)
    ahead.renew()
    assert comm.posted == [(0, 0), (1, 1)]
    assert [receive.state for receive in comm.receives] == ["posted", "posted", *["over"] * (AHEAD - 2)]


def test_blocks_that_will_never_be_made_are_withdrawn_in_favour_of_others():
    foresight = Foresight(range(7), num_sources=2)
    ahead, comm = started(foresight)
    foresight.lost = {1, 2, 3}
    again(ahead)
    assert comm.posted == [(0, 0), (5, 1)]


def test_memory_of_a_receive_that_was_withdrawn_serves_another():
    foresight = Foresight(range(2 * AHEAD), num_sources=AHEAD)
    ahead, _ = started(foresight)
    foresight.lost = set(range(AHEAD))
    again(ahead)
    assert len(ahead._posted) == AHEAD and ahead._buffers.nbytes == AHEAD * LEAST


def test_a_message_that_was_faster_than_the_withdrawal_is_kept_for_its_header():
    ahead, comm = started(Foresight(range(1)))
    comm.receives[0].come()
    assert ahead.claim(0, 0, OTHER) is None
    posted = ahead.claim(0, 0, BYTES)
    assert posted.request.Test() and len(comm.receives) == 1 and posted.array.nbytes == LEAST


def test_a_receive_whose_withdrawal_takes_time_is_posted_again_if_the_block_comes_after_all():
    ahead, comm = started(Foresight(range(1)), slow=True)
    assert ahead.claim(0, 0, OTHER) is None
    request = ahead.claim(0, 0, BYTES).request
    assert not request.Test()
    comm.receives[0].state = "gone"
    assert not request.Test() and comm.posted == [(0, 0)]
    comm.receives[1].come()
    assert request.Test()


def test_a_withdrawal_that_takes_time_keeps_its_memory_until_then():
    foresight = Foresight(range(2 * AHEAD), ROOM // AHEAD, num_sources=AHEAD)
    ahead, comm = started(foresight, slow=True)
    foresight.lost = set(range(AHEAD))
    again(ahead)
    assert comm.posted == []
    for receive in comm.receives:
        receive.state = "gone"
    again(ahead)
    assert comm.posted == [(AHEAD + source, source) for source in range(AHEAD)]


def test_the_end_gives_all_requests_that_are_left():
    ahead, comm = started(Foresight(range(AHEAD)), slow=True)
    assert ahead.claim(1, 1, OTHER) is None
    assert sorted(map(id, ahead.close())) == sorted(map(id, comm.receives))
    assert ahead.close() == [] and ahead.tag(0, LEAST) is None


def test_a_rank_without_foresight_posts_nothing_but_knows_the_tags():
    comm = Comm()
    ahead = Ahead(comm, Buffers(), TAG)
    ahead.know({3: LEAST})
    ahead.renew()
    assert comm.receives == [] and ahead.tag(3, LEAST) == TAG
    assert ahead.claim(3, 2, BYTES).request is comm.receives[0]

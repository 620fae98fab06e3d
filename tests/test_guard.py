"""Nodes that do not answer: what connections tell, and when a rank ends the run for it."""

import os
import socket

import pytest

from mpiflow.errors import SilenceError
from mpiflow.peer.guard import Guard
from mpiflow.peer.reach import Connection, Reach, own_addresses, tcp_connections

HOSTS = ["n0", "n0", "n1", "n1"]
ADDRESSES = [["10.0.0.1", "172.17.0.1"]] * 2 + [["10.0.0.2", "172.17.0.1"]] * 2


class Guarded:
    """A guard of rank ``rank``, its time, what it has written at which time, and the connections that it sees."""

    def __init__(self, rank=0, limit=30.0, known=True):
        self.now, self.epoch, self.written = 0.0, 0, []
        self.stuck = {}                         # since when, by address
        self.guard = Guard(rank, limit, lambda: self.epoch, None, Reach(self.connections),
                           lambda text: self.written.append((round(self.now), text)))
        if known:
            self.guard.know(HOSTS, ADDRESSES)

    def connections(self):
        answering = Connection("socket:[0]", "10.0.0.2", False, 1000.0)
        return [answering, *(Connection(address, address, True, self.now - since) for address, since in self.stuck.items())]

    def pass_time(self, seconds, each=lambda: None):
        until = self.now + seconds
        while self.now < until:
            self.now += 1.0
            each()
            self.guard.look(self.now)

    def next_epoch(self):
        self.epoch += 1


@pytest.mark.parametrize(("rank", "when"), [(0, 31), (1, 31.5)])
def test_a_node_that_does_not_answer_ends_the_run(rank, when):
    guarded = Guarded(rank)
    guarded.pass_time(10, guarded.next_epoch)
    guarded.stuck["10.0.0.2"] = 10.0
    message = r"^node n1 with rank 2-3 cannot be reached.* 10\.0\.0\.2 .*\n.*--unreachable allows 30 s.*--resume goes on"
    with pytest.raises(SilenceError, match=message):
        guarded.pass_time(1000)
    assert guarded.now == pytest.approx(10 + when, abs=1)
    (at, text), = guarded.written
    assert text.startswith(f"mpiflow: rank {rank} on node n0: node n1 with rank 2-3 cannot be reached") and 22 <= at <= 28


def test_the_side_that_is_cut_off_ends_as_well():
    guarded = Guarded(rank=2)
    guarded.stuck["10.0.0.1"] = 0.0
    with pytest.raises(SilenceError, match="node n0 with rank 0-1"):
        guarded.pass_time(100)


def test_before_ranks_have_met_nodes_go_by_their_addresses():
    guarded = Guarded(known=False)
    guarded.stuck["10.0.0.2"] = 0.0
    with pytest.raises(SilenceError, match=r"node 10\.0\.0\.2 cannot be reached"):
        guarded.pass_time(100)


@pytest.mark.parametrize("address", ["192.168.9.9", "172.17.0.1", "10.0.0.1"], ids=["stranger", "of all nodes", "own"])
def test_what_is_no_other_node_of_the_run_does_not_matter(address):
    guarded = Guarded()
    guarded.stuck[address] = 0.0
    guarded.pass_time(1000)
    assert guarded.written == []


def test_a_rank_that_is_silent_on_a_node_that_answers_is_waited_for():
    guarded = Guarded()
    guarded.pass_time(100_000)
    assert guarded.written == []


def test_a_stuck_connection_is_no_matter_while_epochs_complete():
    guarded = Guarded()
    guarded.stuck["10.0.0.2"] = 0.0
    guarded.pass_time(1000, guarded.next_epoch)
    assert guarded.written == []


def test_a_node_that_answers_again_in_time_is_forgiven():
    guarded = Guarded()
    guarded.stuck["10.0.0.2"] = 0.0
    guarded.pass_time(25)
    del guarded.stuck["10.0.0.2"]
    guarded.next_epoch()
    guarded.pass_time(100)
    assert [text.partition("n0: ")[2][:10] for _, text in guarded.written] == ["node n1 wi", "the nodes "]


def test_a_rank_that_was_stopped_itself_blames_nobody():
    guarded = Guarded()
    guarded.pass_time(20)
    guarded.stuck["10.0.0.2"] = 0.0
    guarded.now += 300
    guarded.guard.look(guarded.now)
    guarded.pass_time(2)
    guarded.stuck.clear()
    guarded.pass_time(1000)
    assert guarded.written == []


def test_without_a_limit_nothing_is_looked_at():
    guarded = Guarded(limit=0.0)
    guarded.stuck["10.0.0.2"] = 0.0
    guarded.pass_time(1000)
    assert guarded.written == []


# What the kernel knows of connections

@pytest.mark.parametrize(("seen", "lost"), [
    ([True] * 9, ["a"]), ([True] * 5, []), ([True] * 4 + [False] + [True] * 4, []), ([False] * 9, []),
], ids=["long", "short", "answers between", "answers"])
def test_a_connection_counts_as_lost_when_it_is_seen_stuck_for_long(seen, lost):
    found = []
    reach = Reach(lambda: found)
    for now, waits in enumerate(seen):
        found[:] = [Connection("socket:[1]", "a", waits, 100.0), Connection("socket:[2]", "b", False, 100.0)]
        reach.look(float(now))
    assert reach.lost(float(len(seen) - 1), 8.0) == lost


def test_what_was_acknowledged_between_two_looks_is_not_lost():
    reach = Reach(lambda: [Connection("socket:[1]", "a", True, 3.0)])
    for now in range(0, 100, 10):
        reach.look(float(now))
    assert reach.lost(99.0, 12.0) == []


def test_the_connections_of_this_process_are_seen():
    with (socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as one,
          server.accept()[0] as other):
        one.sendall(b"x")
        assert other.recv(1) == b"x"
        ours = {f"socket:[{os.fstat(end.fileno()).st_ino}]" for end in (one, other)}
        found = [connection for connection in tcp_connections() if connection.name in ours]
    assert [(connection.address, connection.waits) for connection in found] == [("127.0.0.1", False)] * 2
    assert all(0 <= connection.silence < 60 for connection in found)


def test_a_node_does_not_name_the_addresses_by_which_every_node_knows_itself():
    assert not {"127.0.0.1", "::1"} & set(own_addresses())

"""Which ranks measure links, and what is made of it."""

import pytest

from mpiflow.catalog.entries import Links
from mpiflow.peer.measure import common, link, pairs
from mpiflow.planning.machine import BANDWIDTH, LATENCY


@pytest.mark.parametrize(("hosts", "measuring"), [
    (["a"], (None, None)), (["a", "a", "a"], ((0, 1), None)), (["a", "b"], (None, (0, 1))),
    (["a", "b", "b", "a"], ((0, 3), (0, 1))), (["a", "b", "b"], ((1, 2), (0, 1))),
], ids=str)
def test_one_pair_of_ranks_measures_each_kind_of_link(hosts, measuring):
    assert pairs(hosts) == measuring


def test_noise_does_not_change_what_is_planned_with():
    seen = [Links((latency, 0.0), (bandwidth, 0.0)) for latency, bandwidth in ((2e-6, 3.3e9), (9e-6, 1.1e9), (3e-5, 6e9))]
    assert {common([links, Links()]) for links in seen} == {(LATENCY, BANDWIDTH)}


def test_a_slow_network_is_noticed():
    latency, bandwidth = common([Links((0.0, 2e-3), (0.0, 1e7)), Links()])
    assert latency[1] > 5 * LATENCY[1] and bandwidth[1] < BANDWIDTH[1] / 5
    assert (latency[0], bandwidth[0]) == (LATENCY[0], BANDWIDTH[0])


def test_where_nobody_measured_links_are_the_usual_ones():
    assert common([Links(), Links()]) == (LATENCY, BANDWIDTH)


class Wire:
    """A link that takes ``latency`` [s] and carries ``bandwidth`` [bytes/s]; ``seconds`` is what was spent on it so far."""

    def __init__(self, latency, bandwidth):
        self.latency, self.bandwidth, self.seconds = latency, bandwidth, 0.0

    def round_trip(self, size):
        seconds = 2 * (self.latency + size / self.bandwidth)
        self.seconds += seconds
        return seconds


LEAST, MOST = 8 << 10, 8 << 20


@pytest.mark.parametrize("latency", [1e-6, 1e-4])
@pytest.mark.parametrize("bandwidth", [5e6, 25e6, 125e6, 1e9, 5e9, 2e10])
def test_measuring_takes_tens_of_milliseconds_whatever_the_link(latency, bandwidth):
    wire = Wire(latency, bandwidth)
    assert link(wire.round_trip, LEAST) == (pytest.approx(latency, abs=2e-6), pytest.approx(bandwidth, rel=0.01))
    assert wire.seconds < 0.09


def test_pauses_of_a_busy_machine_do_not_make_a_link_slow():
    wire, num = Wire(1e-5, 1e9), 0

    def round_trip(size):
        nonlocal num
        num += 1
        return wire.round_trip(size) + (0.02 if num % 3 else 0.0)

    assert link(round_trip, LEAST)[1] == pytest.approx(1e9, rel=0.01)


def test_a_link_within_a_node_is_measured_with_large_messages_only():
    wire = Wire(1e-5, 1e9)
    sizes = []
    link(lambda size: sizes.append(size) or wire.round_trip(size), MOST)
    assert set(sizes[20:]) == {MOST}

"""Which ranks measure links, and what is made of it."""

import pytest

from mpiflow.catalog.entries import Links
from mpiflow.peer.measure import common, pairs
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

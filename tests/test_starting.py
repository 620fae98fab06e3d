"""Ranks of a node that look after each other while MPI starts, on a made-up list of processes."""

import pytest

from mpiflow.peer.starting import _FORKED, Neighbours, _before

JOB = {"PMIX_NAMESPACE": "prterun-node-7@1", "OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "3"}


@pytest.fixture
def node(tmp_path):
    """Make processes: rank on the node, or None for a process of somebody else, to pid."""
    (tmp_path / "meminfo").write_text("no process")

    def fork(rank, pid, job="prterun-node-7@1"):
        (tmp_path / str(pid)).mkdir()
        words = ["HOME=/root", f"PMIX_NAMESPACE={job}", f"OMPI_COMM_WORLD_LOCAL_RANK={rank}", ""]
        (tmp_path / str(pid) / "environ").write_bytes("\0".join(words).encode())

    def end(pid):
        (tmp_path / str(pid) / "environ").unlink()
        (tmp_path / str(pid)).rmdir()
    fork(0, 10), fork(1, 11), fork(2, 12), fork(9, 13, "prterun-node-8@1")
    return Neighbours(JOB, tmp_path), fork, end


def test_nobody_is_missing_while_all_are_there(node):
    there, _, _ = node
    assert there.missing(0.0) == there.missing(2 * _FORKED) == []


def test_a_rank_that_was_there_and_is_not_any_more_is_missing_at_once(node):
    there, _, end = node
    assert there.missing(0.0) == []
    end(12)
    assert there.missing(0.1) == [2]


def test_a_rank_that_nobody_has_seen_may_still_be_started_for_a_while(node):
    there, fork, end = node
    end(12)
    assert there.missing(_FORKED / 2) == []
    assert there.missing(2 * _FORKED) == [2]
    fork(2, 14)
    assert there.missing(2 * _FORKED) == []


def test_a_dead_process_that_its_parent_has_not_taken_leave_of_is_missing(node, tmp_path):
    there, _, _ = node
    assert there.missing(0.0) == []
    (tmp_path / "10" / "environ").write_bytes(b"")      # so the system shows it
    assert there.missing(0.1) == [0]


def test_without_a_launcher_that_numbers_ranks_nobody_is_missing(tmp_path):
    assert Neighbours({}, tmp_path).missing(2 * _FORKED) == []
    assert Neighbours(JOB | {"OMPI_COMM_WORLD_LOCAL_SIZE": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "0"}, tmp_path).missing(99.0) == []


def test_ranks_speak_in_turn_and_the_dead_are_left_out():
    assert [_before(own, [0, 2]) for own in (1, 3, 4)] == [0, 1, 2]

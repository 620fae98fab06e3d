"""``bench``: it comes to its end, and says what it measured."""

import json

from launching import mpiflow


def test_tasks_and_transfers_are_measured_against_raw_messages(tmp_path):
    ended = mpiflow(None, "bench", "--tasks", 200, "--json", cwd=tmp_path)
    assert (ended.status, ended.err) == (0, "")
    found = json.loads(ended.out)
    assert set(found) == {"tasks_per_second", "raw_messages_per_second", "bandwidth", "raw_bandwidth"}
    assert all(value > 0 for value in found.values()) and not list(tmp_path.iterdir())


def test_a_launcher_that_does_not_work_is_one_message(command, tmp_path):
    ended = command("bench", "--mpirun", "/bin/false")
    assert ended.status == 1 and "/bin/false -n 2 does not work" in ended.err and "doctor" in ended.err

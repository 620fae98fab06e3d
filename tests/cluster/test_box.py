"""The cluster in a box itself: what hosts share, what links do, what is left at the end."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))           # one file of tests may be run alone

from box import Box, BoxError  # noqa: E402


@pytest.fixture(scope="module")
def box():
    with Box(2) as found:
        yield found


def test_hosts_share_one_directory_and_nothing_else(box):
    script = f"for d in /tmp /dev/shm {box.scratch} {box.shared}; do touch $d/mine; done; touch {HERE}/mine; hostname"
    assert box.execute("h1", ["sh", "-c", script]).out == "h1\n"
    seen = [place for place in ("/tmp", "/dev/shm", box.scratch, box.shared, HERE)
            if box.execute("h2", ["test", "-e", f"{place}/mine"]).status == 0]
    assert seen == [box.shared]


SEND = """
import socket, sys
with socket.create_server(("", 5000)) as server:
    print("ready", flush=True)
    connection, _ = server.accept()
    while connection.recv(1 << 20):
        pass
"""


def send(box, num: int) -> int:
    """Send ``num`` bytes from h1 to h2; give the status of the sender."""
    with box.starting_on("h2", [sys.executable, "-c", SEND]) as receiver:
        assert receiver.stdout.readline() == "ready\n"
        code = f"import socket; socket.create_connection(('h2', 5000), 2).sendall(bytes({num}))"
        status = box.execute("h1", [sys.executable, "-c", code]).status
        receiver.kill() if status else receiver.wait(60)
        return status


def test_what_crosses_a_link_is_counted_at_both_ends_and_nowhere_else(box):
    before = box.counters()
    assert send(box, 10_000_000) == 0
    carried = {host: after - before[host] for host, after in box.counters().items()}
    assert all(10_000_000 <= size <= 10_600_000 for size in (carried["h1"].sent, carried["h2"].received)), carried
    assert all(size < 500_000 for size in (carried["h1"].received, carried["h2"].sent)), carried


def test_a_limited_link_takes_the_time_that_its_rate_says(box):
    box.limit(80_000_000)
    began = time.monotonic()
    assert send(box, 10_000_000) == 0
    assert time.monotonic() - began > 0.9           # 10 MB at 10 MB/s, less what waits in queues and buffers at the end
    box.limit(0)


def test_a_host_that_is_cut_off_is_not_reached_until_it_is_healed(box):
    box.cut("h2")
    assert send(box, 10) != 0
    box.heal("h2")
    assert send(box, 10) == 0


def alive(numbers: list[int]) -> list[int]:
    """Those that still run; one that has ended may wait for its parent to notice."""
    return [number for number in numbers if Path(f"/proc/{number}").exists()
            and Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"]


def test_a_host_that_was_killed_has_nothing_running_and_comes_up_again(box):
    with box.starting_on("h2", ["sh", "-c", "touch /tmp/mine; sleep 100 & echo ready; wait"]) as job:
        assert job.stdout.readline() == "ready\n"
        running = box.processes("h2")
        box.kill("h2")
        job.wait(10)
        assert len(running) >= 2 and not alive(running)
    with pytest.raises(BoxError, match="h2 is down"):
        box.execute("h2", ["true"])
    box.boot("h2")
    assert box.execute("h2", ["sh", "-c", "hostname; ls /tmp/mine"]).out == "h2\n"


def test_a_box_leaves_nothing_behind():
    def traces():
        namespaces = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout.splitlines()
        links = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout.splitlines()
        return sorted(line.split()[0] for line in namespaces), sorted(links), Path("/proc/self/mounts").read_text()

    before = traces()
    with Box(2) as box:
        box.up()                            # again: harmless
        state = box.shared.parent
        with box.starting_on("h1", ["sh", "-c", "sleep 100 & echo ready; wait"]) as job:
            assert job.stdout.readline() == "ready\n"
            running = box.processes("h1")
            assert len(running) >= 2 and traces() != before
            box.down()
            job.wait(10)
            assert not alive(running)
    box.down()                              # again
    assert traces() == before and not state.exists()


def test_without_root_there_is_a_clear_message(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(BoxError, match="needs root"), Box(2):
        pass


def test_without_iproute2_there_is_a_clear_message(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BoxError, match=r"apt-get install iproute2 mount util-linux"), Box(2):
        pass

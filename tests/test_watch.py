"""When nothing moves: what ranks say of themselves and of those that are silent; through mpirun, as a user sees it."""

import contextlib
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from launching import mpiflow, started

from mpiflow.errors import SilenceError
from mpiflow.peer.watch import Watch

# The rules, with a clock and with signs of life that the test makes up


class FakePulse:
    """Signs of life of three ranks, of which this is the first; all others beat as long as they are in ``alive``."""

    def __init__(self, mortal=False):
        self.rank, self.size, self.mortal = 0, 3, mortal
        self.alive, self.heard = {1, 2}, [-math.inf] * 3
        self.active, self.sent = False, 0

    def begin(self):
        self.active, self.heard = True, [-math.inf] * 3

    def beat(self):
        self.sent += 1

    def listen(self, now):
        for rank in self.alive:
            self.heard[rank] = now

    def rest(self):
        self.active = False


class FakeSight:
    """A rank of which nothing moves."""

    def __init__(self):
        self.epoch, self.moved = 17, 0

    def progress(self):
        return self.epoch, self.moved

    def lines(self, now, asked):
        return ["runs nothing"]

    def excuse(self, rank):
        return f"it is task {rank}"


class Watched:
    """A watch, its time, and what it has written at which time."""

    def __init__(self, report=30.0, silence=0.0, mortal=False):
        self.pulse, self.sight, self.written, self.now = FakePulse(mortal), FakeSight(), [], 0.0
        self.watch = Watch(self.pulse, report, silence, lambda text: self.written.append((self.now, text)))
        self.watch.hosts = ["n0", "n1", "n2"]
        self.watch.follow(self.sight, 0.0)

    def pass_time(self, seconds, each=lambda: None):
        until = self.now + seconds
        while self.now < until:
            self.now += 0.1
            each()
            self.watch.look(self.now)

    def next_epoch(self):
        self.sight.epoch += 1

    @property
    def times(self):
        return [round(now) for now, _ in self.written]


def test_a_rank_of_which_nothing_moves_says_so_at_ever_greater_distances():
    watched = Watched()
    watched.pass_time(250)
    assert watched.times == [30, 60, 120, 240]
    assert all(line.startswith("mpiflow: rank 0 on node n0: ") for _, text in watched.written for line in text.splitlines())


def test_nothing_is_said_and_nothing_sent_while_epochs_complete_and_things_move():
    watched = Watched()
    watched.pass_time(100, lambda: (watched.next_epoch(), setattr(watched.sight, "moved", watched.now)))
    assert watched.written == [] and watched.pulse.sent == 0


def test_epochs_alone_are_no_move():
    watched = Watched()
    watched.pass_time(31, watched.next_epoch)
    (_, text), = watched.written
    assert "nothing moves" in text and watched.pulse.sent == 0


def test_tasks_that_end_do_not_hide_that_an_epoch_does_not():
    watched = Watched()
    watched.pass_time(31, lambda: setattr(watched.sight, "moved", watched.now))
    (_, text), = watched.written
    assert "epoch 18 began 30.0 s ago, and something moved 0.0 s ago" in text


def test_it_is_said_when_things_go_on_and_the_next_stop_is_a_new_one():
    watched = Watched()
    watched.pass_time(31)
    watched.sight.epoch = watched.sight.moved = 18
    watched.pass_time(1)
    assert watched.written[-1][1] == "mpiflow: rank 0 on node n0: goes on\n" and not watched.pulse.active
    watched.pass_time(31)
    assert watched.times == [30, 31, 61]


def test_a_silent_rank_is_named_and_the_others_are_not():
    watched = Watched()
    watched.pulse.alive.remove(2)
    watched.pass_time(31)
    (_, text), = watched.written
    assert ("rank 2 on node n2 has given no sign of life for 30 s (last epoch 17): it is stopped, its node is gone, or "
            "it is task 2\n") in text
    assert "rank 1" not in text
    assert 8 <= watched.pulse.sent <= 16


def test_a_rank_that_is_heard_of_again_is_not_named_again():
    watched = Watched()
    watched.pulse.alive.remove(2)
    watched.pass_time(31)
    watched.pulse.alive.add(2)
    watched.pass_time(31)
    assert "all other ranks give signs of life" in watched.written[-1][1] and watched.times == [30, 60]


def test_signs_of_life_become_rare():
    watched = Watched()
    watched.pass_time(7200)
    assert watched.pulse.sent < 120


def test_who_asks_is_told_at_once_and_once():
    watched = Watched()
    watched.pass_time(1, watched.next_epoch)
    watched.watch.ask()
    watched.pass_time(5, watched.next_epoch)
    (_, text), = watched.written
    assert f"is asked (pid {os.getpid()})" in text and watched.times == [1]


def test_a_rank_that_did_not_get_to_look_does_not_blame_others():
    watched = Watched()
    watched.now = 100.0
    watched.watch.look(watched.now)
    watched.pass_time(10)
    (_, text), = watched.written
    assert "rank 0 on node n0: did not get to look for 100 s" in text


def test_a_watch_of_no_seconds_only_answers():
    watched = Watched(report=0.0)
    watched.pass_time(1000)
    watched.watch.ask()
    watched.pass_time(1)
    assert watched.times == [1000] and watched.pulse.sent == 0


@pytest.mark.parametrize("mortal", [False, True])
def test_silence_beyond_the_limit_ends_the_run_with_the_name_of_the_rank(mortal):
    watched = Watched(30.0, 90.0, mortal)
    watched.pulse.alive.remove(1)
    with pytest.raises(SilenceError, match=r"rank 1 on node n1 .*\n.*--silence allows 90 s.*--resume goes on") as error:
        watched.pass_time(1000)
    assert watched.now == pytest.approx(90, abs=1)
    assert ("not for mpiflow to kill" in str(error.value)) == mortal


def test_an_overdue_epoch_ends_no_run_of_ranks_that_are_alive():
    watched = Watched(30.0, 90.0)
    watched.pass_time(1000)
    assert watched.times == pytest.approx([30, 60, 120, 240, 480, 960], rel=0.01)


def test_silence_is_noticed_without_any_reports():
    watched = Watched(0.0, 20.0)
    watched.pulse.alive.remove(1)
    with pytest.raises(SilenceError):
        watched.pass_time(1000)
    assert watched.now == pytest.approx(20, abs=1) and watched.written == []


# Real ranks

OPS = """
import ctypes, hashlib, os, time
from mpiflow import operation

def mark():
    open(f"mark-{os.getpid()}", "w").close()

@operation
def python(x):
    mark()
    while not os.path.exists("go"):
        time.sleep(0.01)
    return x

@operation
def stubborn(x, seconds=1000):
    # C calls of a few seconds, that no signal handler of Python interrupts.
    mark()
    while not os.path.exists("go"):
        hashlib.pbkdf2_hmac("sha256", b"a", b"b", 4_000_000)
    return x

@operation
def selfish(x, seconds=8):
    mark()
    ctypes.PyDLL(None).sleep(seconds)       # keeps the interpreter to itself
    return x
"""
WORKFLOW = """
mpiflow: 1
name: watched
params: {what: python(x)}
operations: [ops.py]
datasets:
  x: {arange: {stop: 10}, rank: 1}
  y: {arange: {stop: 20}, rank: 0}
steps:
  long: $what
  both: sum(long) + sum(y)
results: {both: both.npy}
"""
RIGHT = sum(range(10)) + sum(range(20))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "ops.py").write_text(OPS)
    (tmp_path / "workflow.yaml").write_text(WORKFLOW)
    return tmp_path


class Run:
    """A run under way, which leaves its standard error in a file."""

    def __init__(self, process: subprocess.Popen, folder: Path) -> None:
        self.process, self.folder = process, folder

    @property
    def err(self) -> str:
        return (self.folder / "err.txt").read_text()

    def until(self, fact) -> None:
        """Wait for ``fact()``, which must come true in time."""
        limit = time.monotonic() + 60
        while not fact():
            assert time.monotonic() < limit and self.process.poll() is None, self.err
            time.sleep(0.02)

    def pid(self, rank: int) -> int:
        """Find the process of a rank by what its launcher told it."""
        wanted = {f"WATCHED={self.folder}".encode(), f"PMI_RANK={rank}".encode()}
        for path in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if path.name.isdigit() and wanted <= set((path / "environ").read_bytes().split(b"\0")):
                    return int(path.name)
        raise AssertionError(f"no rank {rank}")

    def ask(self, rank: int, text: str) -> None:
        """Ask a rank until it has answered ``text``: at its very start it does not hear yet."""
        last = 0.0

        def answered() -> bool:
            nonlocal last
            if time.monotonic() > last + 5:
                last = time.monotonic()
                os.kill(self.pid(rank), signal.SIGUSR2)
            return re.search(text, self.err) is not None

        self.until(answered)

    def end(self) -> int:
        """Let the operations end, and give the exit status of the run."""
        (self.folder / "go").touch()
        return self.process.wait(timeout=60)


@contextlib.contextmanager
def run(folder: Path, *arguments: object, num_ranks: int = 3):
    """Start the workflow, wait until the operation runs on rank 1, and take care that nothing is left."""
    words = " ".join(map(str, arguments))
    command = f"exec mpirun -n {num_ranks} {sys.executable} -m mpiflow workflow.yaml --no-save {words} 2> err.txt"
    with started(["bash", "-c", command], cwd=folder, env={"WATCHED": str(folder)}) as process:
        running = Run(process, folder)
        pids = []
        try:
            running.until(lambda: list(folder.glob("mark-*")))
            pids = [running.pid(rank) for rank in range(num_ranks)]
            yield running
        finally:
            for pid in pids:
                with contextlib.suppress(OSError):
                    if f"WATCHED={folder}".encode() in Path(f"/proc/{pid}/environ").read_bytes():
                        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("what", ["python", "stubborn"])
def test_a_rank_in_an_operation_says_where_it_is_when_it_is_asked(folder, what):
    with run(folder, "--set", f"'what={what}(x)'") as running:
        running.ask(1, rf"mpiflow: rank 1 on node \S+: runs task \d+ \(step 'long', operation {what}\) for [\d.]+ s\n")
        assert re.search(rf'File "{folder}/ops.py", line \d+ in {what}\n', running.err)
        assert f"rank 1 on node {os.uname().nodename}: is asked (pid {running.pid(1)}): epoch" in running.err
        assert running.end() == 0
    assert np.load(folder / "both.npy") == RIGHT


def test_an_idle_rank_says_what_it_waits_for_when_it_is_asked(folder):
    with run(folder) as running:
        running.ask(0, r"rank 0 on node \S+: runs nothing\n")
        running.ask(0, r"rank 0 on node \S+: when rank 1 was last heard of, it ran task \d+ \(step 'long', operation python\)\n")
        assert running.end() == 0


def test_a_rank_whose_interpreter_an_operation_keeps_still_shows_its_stack(folder):
    with run(folder, "--set", "'what=selfish(x, 12)'", "--watch", 0) as running:
        os.kill(running.pid(1), signal.SIGUSR2)
        running.until(lambda: "in selfish" in running.err)
        assert running.end() == 0


def test_an_operation_that_keeps_the_interpreter_to_itself_is_named_by_the_others(folder):
    with run(folder, "--set", "'what=selfish(x, 10)'", "--watch", 2) as running:
        for rank in (0, 2):
            running.until(lambda rank=rank: re.search(
                rf"rank {rank} on node \S+: rank 1 on node \S+ has given no sign of life for \d+ s \(last epoch \d+\): .*"
                r"; (it runs|next there:) .*task \d+ \(step 'long', operation selfish\)", running.err))
        assert running.end() == 0
    assert np.load(folder / "both.npy") == RIGHT
    assert re.search(r"rank 1 on node \S+: did not get to look for \d+ s", running.err)


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_stopped_rank_is_named_by_the_others_and_may_go_on(folder, victim):
    with run(folder, "--watch", 4) as running:
        pid = running.pid(victim)
        os.kill(pid, signal.SIGSTOP)
        for rank in {0, 1, 2} - {victim}:
            running.until(lambda rank=rank: re.search(
                rf"rank {rank} on node \S+: rank {victim} on node \S+ has given no sign of life", running.err))
        os.kill(pid, signal.SIGCONT)
        for rank in {0, 1, 2} - {victim}:
            running.until(lambda rank=rank: re.search(rf"rank {rank} on node \S+: goes on\n", running.err))
        assert running.end() == 0
    assert np.load(folder / "both.npy") == RIGHT
    named = set(re.findall(r"rank (\d) on node \S+ has given no sign", running.err))
    assert named == {str(victim)}


def test_a_rank_that_waits_for_a_silent_one_shows_its_own_stack(folder):
    with run(folder, "--watch", 2) as running:
        os.kill(running.pid(0), signal.SIGSTOP)
        running.until(lambda: re.search(rf"rank 1 on node \S+:   at {folder}/ops.py:\d+ in python: ", running.err))
        os.kill(running.pid(0), signal.SIGCONT)
        assert running.end() == 0


@pytest.mark.parametrize("victim", [0, 1])
def test_silence_for_too_long_ends_the_run(folder, victim):
    with run(folder, "--watch", 2, "--silence", 4) as running:
        pids = [running.pid(rank) for rank in range(3)]
        os.kill(pids[victim], signal.SIGSTOP)
        assert running.process.wait(timeout=60) == 1
        assert not left(pids, folder)
    assert running.err.count("mpiflow: error:") == 1
    assert re.search(rf"mpiflow: error: rank {victim} on node \S+ has given no sign of life for \d+ s", running.err)
    assert "the same command with --resume goes on" in running.err
    assert not (folder / "both.npy").exists()


def left(pids: list[int], folder: Path) -> list[int]:
    """Give those processes of the run that are not gone soon: the launcher kills them, and does not wait for that."""
    until = time.monotonic() + 20
    while (there := [pid for pid in pids if alive(pid, folder)]) and time.monotonic() < until:
        time.sleep(0.02)
    return there


def alive(pid: int, folder: Path) -> bool:
    """Whether this process of the run is still there."""
    try:
        return f"WATCHED={folder}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def test_a_long_run_of_short_tasks_says_nothing(folder):
    steps = "\n".join(f"  s{i}: sum({'x' if not i else f's{i - 1} * x'})" for i in range(200))
    (folder / "many.yaml").write_text("mpiflow: 1\nname: many\ndatasets:\n  x: {arange: {stop: 10}, rank: 1}\n"
                                      f"steps:\n{steps}\nresults: {{s199: s.npy}}\n")
    ended = mpiflow(3, "many.yaml", "--watch", "5", "--no-save", cwd=folder)
    assert (ended.status, ended.err) == (0, "")


def test_ranks_that_disagree_on_the_options_are_refused(folder):
    script = f'exec {sys.executable} -m mpiflow workflow.yaml --no-save --watch $((30 + PMI_RANK))'
    with started(["mpirun", "-n", "2", "bash", "-c", script], cwd=folder) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and "other options" in err

"""How far a run has come, as it is shown: when, and in which words."""

import os
import pty
import subprocess
import sys
from itertools import pairwise

import pytest
from launching import ROOT

from mpiflow.catalog.catalog import Catalog
from mpiflow.catalog.entries import Delta, TaskEntry, Traffic
from mpiflow.catalog.states import State
from mpiflow.peer.state import PeerState
from mpiflow.planning.machine import Machine
from mpiflow.planning.plan import make_plan
from mpiflow.planning.tasks import Kind, Task, TaskGraph
from mpiflow.report.progress import Doing, Gauge, Progress, clock, display, line, next_line
from mpiflow.report.terminal import terminal, width

HOUR = 3600.0


def times(until):
    """When lines are written in a run of so many seconds."""
    now, found = next_line(0.0), []
    while now <= until:
        found.append(now)
        now = next_line(now)
    return found


def test_the_first_line_comes_after_ten_seconds():
    assert times(9.9) == [] and times(10) == [10]


@pytest.mark.parametrize(("hours", "most"), [(1, 100), (24, 170), (24 * 30, 240)])
def test_lines_become_rarer(hours, most):
    found = times(hours * HOUR)
    gaps = [b - a for a, b in pairwise(found)]
    assert 50 < len(found) < most and gaps == sorted(gaps)


def test_lines_of_a_slow_look_do_not_come_in_a_burst():
    now, num = next_line(0.0), 0
    while now < HOUR:                           # a look every 20 s, as with a thousand ranks
        now, num = next_line(now + 20), num + 1
    assert num < 100


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (7, "0:07"), (754, "12:34"), (7384, "2:03:04"),
                                               (90000, "25:00:00")])
def test_times_are_written_for_people(seconds, text):
    assert clock(seconds) == text


RANKS = (Doing.BUSY, Doing.BUSY, Doing.WAITING, Doing.IDLE)
FOUND = Progress("even-odd", 83.0, 480, 120, 0, RANKS, 3 << 29, 31 << 20, 3 << 30, 133.0)


def test_a_line_says_all():
    assert line(FOUND) == ("mpiflow: 1:23: 120 of 480 tasks done; 4 ranks: 2 busy, 1 waiting, 1 idle; 1.5 GiB moved, 31.0 MiB/s; "
                           "memory 3.0 GiB; about 2:13 left")


def test_a_line_leaves_out_what_is_not_known():
    assert line(Progress("w", 10, 1, 0, 1, (Doing.IDLE,))) == "mpiflow: 0:10: 0 of 1 task done, 1 failed; 1 rank: 1 idle"


def test_a_display_holds_what_it_can():
    assert display(FOUND, 200) == ("120/480  [#####---------------]  1:23  2:13 left  ##w.  1.5 GiB moved, 31.0 MiB/s  "
                                   "memory 3.0 GiB  even-odd")
    for columns in range(2, 130):
        text = display(FOUND, columns)
        assert len(text) < columns and text.startswith("120/480"[:columns - 1])
    assert display(FOUND, 30) == "120/480  1:23  2:13 left"


def test_many_ranks_are_counted():
    found = Progress("w", 10, 1, 0, 0, (Doing.BUSY,) * 40 + (Doing.WAITING,) * 24)
    assert "40# 24w" in display(found, 100)


# What is measured: two ranks, four tasks of one step and one of another, expected to take a second each

class Run:
    """What the lowest rank knows of a made-up run."""

    def __init__(self, steps=("a", "a", "a", "a", "b"), seconds=1.0):
        self.graph = TaskGraph([Task(f"{number:032}", Kind.APPLY, step, seconds=seconds) for number, step in enumerate(steps)])
        machine = Machine((0, 0))
        self.plan = make_plan(self.graph, machine)
        self.catalog = Catalog(len(steps), 2, self.plan.digest)
        self.state = PeerState(0, self.plan, self.catalog)
        self.gauge = Gauge()

    def tell(self, *entries, rank=0, **given):
        """An epoch, in which one rank has news."""
        self.catalog.epoch([Delta(rank, 0, tasks=entries, **given)])

    def done(self, task, seconds, state=State.DONE):
        self.tell(TaskEntry(task, 0, state, self.plan.ranks[task], 0.0, seconds), rank=self.plan.ranks[task])

    def at(self, seconds):
        return self.gauge.measure("w", self.state, seconds)


def test_at_first_the_plan_says_how_long_it_takes():
    run = Run()
    found = run.at(0.25)
    assert (found.num_tasks, found.num_done, found.num_failed) == (5, 0, 0)
    assert found.left == pytest.approx(run.plan.seconds - 0.25)


def test_what_is_slower_than_planned_makes_the_rest_longer():
    run = Run()
    run.done(0, 10.0)
    run.done(1, 10.0)
    assert run.at(10.0).left == pytest.approx(10.5, abs=1)      # two more of 10 s, and one of 1 s, on two ranks


def test_what_takes_longer_than_expected_lets_nobody_guess():
    run = Run()
    for task in range(4):
        run.done(task, 1.0)
    run.tell(TaskEntry(4, 0, State.RUNNING, 0), elapsed=9.0)
    assert run.at(11.0).left is None


def test_nothing_is_left_at_the_end():
    run = Run()
    for task in range(5):
        run.done(task, 1.0, State.FAILED if task == 4 else State.DONE)
    found = run.at(3.0)
    assert (found.num_done, found.num_failed, found.left) == (4, 1, 0.0)


def test_a_rank_is_busy_waiting_or_idle():
    run = Run()
    run.tell(TaskEntry(0, 0, State.RUNNING, 0))
    run.tell(rank=1, settled=True)
    assert run.at(1.0).ranks == (Doing.BUSY, Doing.IDLE)
    run.done(0, 1.0)
    assert run.at(2.0).ranks[0] is Doing.BUSY           # since it has got something done
    assert run.at(3.0).ranks[0] is Doing.WAITING


def test_bytes_have_a_rate_and_memory_a_sum():
    run = Run()
    run.tell(rank=0, traffic=Traffic(0, ((1, 1, 1000),)), memory=100)
    run.tell(rank=1, memory=20)
    assert (run.at(2.0).nbytes, run.at(2.0).memory) == (1000, 120)
    run.tell(rank=0, traffic=Traffic(0, ((1, 3, 3000),)))
    assert run.at(4.0).rate == pytest.approx(1000)


def test_a_workflow_of_no_tasks_can_be_shown():
    assert line(Run(steps=()).at(1.0)).startswith("mpiflow: 0:01: 0 of 0 tasks done")


# The terminal at the other end of the launcher

PROGRAM = "from mpiflow.report.terminal import *; print(repr((terminal(1), width(terminal(1)))), flush=True)"


@pytest.mark.parametrize("launcher", [[], ["mpirun", "-n", "1"]], ids=["alone", "mpirun"])
def test_a_terminal_is_found_behind_a_launcher(launcher):
    leader, follower = pty.openpty()
    name = os.ttyname(follower)
    done = subprocess.run([*launcher, sys.executable, "-c", PROGRAM], stdout=follower, stderr=subprocess.PIPE, timeout=60,
                          env={**os.environ, "TERM": "xterm", "PYTHONPATH": str(ROOT)}, check=False)
    text = os.read(leader, 1000).decode()
    assert text.strip() == repr((name, 80)), done.stderr
    os.close(leader)
    os.close(follower)


def test_there_is_none_in_a_file_a_pipe_or_where_lines_cannot_be_replaced(tmp_path):
    def proc(pid, name, parent, end):
        (tmp_path / str(pid) / "fd").mkdir(parents=True)
        (tmp_path / str(pid) / "stat").write_text(f"{pid} ({name}) S {parent} 0")
        (tmp_path / str(pid) / "fd" / "2").symlink_to(end)

    proc(1, "sh", 0, "/dev/pts/1")
    proc(2, "mpiexec.hydra", 1, "/home/me/err.txt")
    proc(3, "hydra_pmi_proxy", 2, "pipe:[17]")
    proc(4, "python", 3, "/dev/pts/9")                  # Open MPI gives ranks terminals of their own
    proc(5, "python", 1, "/dev/pts/1")
    environment = {"TERM": "xterm"}
    assert terminal(2, environment, tmp_path, 4) == ""
    assert terminal(2, environment, tmp_path, 5) == "/dev/pts/1"
    assert terminal(2, {"TERM": "dumb"}, tmp_path, 5) == terminal(2, {}, tmp_path, 5) == ""
    assert terminal(2, environment, tmp_path, 99) == "" and width("/nowhere") == 80

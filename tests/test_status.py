"""How a run stands: ``status``, ``why`` and ``log``, from files alone; made-up ones first, then those of real runs."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launching import ROOT, mpiflow, started
from msgspec.structs import replace

from mpiflow.cli.main import main
from mpiflow.errors import LaunchError
from mpiflow.report.condition import Condition, Sight, tasks_of
from mpiflow.report.printed import lines_of, lines_text
from mpiflow.report.status import status_json, status_text
from mpiflow.report.why import why, why_text
from mpiflow.storage.accounts import DatasetRecord, Line, RankState, Record, TaskRecord, Waited

NOW = 1000.0


def task(number, step, *needs, state="planned", rank=-1, planned=0, **given):
    return TaskRecord(number, f"{number:032}", step=step, needs=needs, state=state, rank=rank, planned_rank=planned, **given)


# x and two instances of a sweep on it are joined in ``fit``, of which ``last`` is made; ``side`` needs nothing.
TASKS = (
    task(0, "x", state="done", rank=0, kind="load", seconds=0.5),
    task(1, "sweep", 0, instance="T=1", operation="melt", state="done", rank=0, start=0.5, seconds=2.0),
    task(2, "sweep", 0, instance="T=2", operation="melt", planned=1, planned_seconds=2.0),
    task(3, "fit", 1, 2, operation="fit", planned=0),
    task(4, "last", 3, operation="sum", planned=0),
    task(5, "side", operation="sum", planned=1))
STATES = {
    0: RankState("r", 0, 0, "n0", 11, 1, NOW - 0.5, num_tasks=4, num_done=2, waiting=(Waited(2, "sweep[T=2]", 1, "running"),),
                 num_waiting=1, sent=1 << 20, memory=1 << 30, all_tasks=6, all_done=2, size=2, seconds=9.5, workflow="melting"),
    1: RankState("r", 1, 1, "n1", 12, 1, NOW - 1.5, num_tasks=2, running=2, doing="sweep[T=2]", since=NOW - 8.0,
                 memory=1 << 30, all_tasks=6, all_done=2, size=2, seconds=8.5, workflow="melting")}


def record(tasks=TASKS, **given):
    datasets = {"x": DatasetRecord("a", (0,)), "same": DatasetRecord("b", (3,))}
    return Record("melting", "2026-11-26T04:00:00+00:00", ("n0", "n1"), tasks, run="r", names=(0, 1), document="melt.yaml",
                  datasets=datasets, **given)


def sight(tasks=TASKS, states=STATES, alive=(True, True), **given):
    return Sight("r", record(tasks, **given), states, NOW, dict(zip(states, alive, strict=True)))


def with_states(*states, tasks=TASKS, **errors):
    """All tasks, with other states; the text of a failure by its step."""
    return tuple(replace(task, state=state, rank=-1 if state in ("planned", "cancelled") else task.planned_rank,
                         error=errors.get(task.step, "")) for task, state in zip(tasks, states, strict=True))


# Condition

@pytest.mark.parametrize(("status", "condition"), [(0, Condition.DONE), (1, Condition.FAILED), (75, Condition.STOPPED)])
def test_a_run_that_has_come_to_its_end_says_how(status, condition):
    assert sight(status=status, alive=(False, False)).condition is condition


@pytest.mark.parametrize(("alive", "condition"), [
    ((True, True), Condition.RUNNING), ((False, True), Condition.RUNNING), ((False, False), Condition.KILLED),
    ((None, None), Condition.RUNNING)])
def test_a_run_is_over_when_its_processes_are_gone(alive, condition):
    assert sight(alive=alive).condition is condition


def test_a_run_on_other_nodes_is_taken_to_be_over_when_it_is_silent_for_long():
    old = {name: replace(state, time=NOW - 60) for name, state in STATES.items()}
    assert sight(states=old, alive=(None, None)).condition is Condition.SILENT
    rare = {name: replace(state, period=20.0) for name, state in old.items()}
    assert sight(states=rare, alive=(None, None)).condition is Condition.RUNNING


def test_a_run_of_which_no_rank_is_seen_is_silent():
    assert Sight("r", record(), {}, NOW).condition is Condition.SILENT


def test_a_run_whose_ranks_have_all_ended_is_over_even_if_its_record_is_elsewhere():
    ended = {name: replace(state, ended=True, all_done=6) for name, state in STATES.items()}
    assert sight(states=ended, alive=(False, None)).condition is Condition.DONE
    assert sight(states=ended, alive=(False, True)).condition is Condition.RUNNING      # it may be writing the record
    long_ago = {name: replace(state, time=NOW - 60) for name, state in ended.items()}
    assert sight(states=long_ago, alive=(True, True)).condition is Condition.DONE       # its process does something else
    stopped = {name: replace(state, all_done=5) for name, state in ended.items()}
    assert sight(states=stopped, alive=(False, None)).condition is Condition.STOPPED


# Status

def test_status_says_what_each_rank_does():
    text = status_text(sight())
    assert text.startswith("melting: running (0:10), 2 of 6 tasks done; run r\n  sent 1.0 MiB; memory 2.0 GiB; melt.yaml\n")
    assert "  0     n0    2/4    1.0 GiB  0.5 s ago  waits for sweep[T=2] from rank 1 (running)\n" in text
    assert "  1     n1    0/2    1.0 GiB  1.5 s ago  runs sweep[T=2] for 8.0 s\n" in text
    assert "  sweep  1/2   1 running\n" in text and "  1 of 5 steps done" in text


def test_status_says_what_ranks_did_that_are_gone():
    text = status_text(sight(alive=(False, False)))
    assert "process 11 is gone; it waited for sweep[T=2] from rank 1\n" in text
    assert "process 12 is gone; it had run sweep[T=2] for 6.5 s\n" in text
    assert text.startswith("melting: killed ") and text.endswith("the same command with --resume goes on from what was saved")


def test_status_says_which_ranks_cannot_be_seen_from_here():
    found = sight(states={1: STATES[1]}, alive=(True,))
    assert "  rank 0: cannot be seen from here; a store on disks of the nodes is read on each of them" in status_text(found)
    assert status_json(found)["unseen"] == [0]


def test_status_names_ranks_that_have_died_and_those_that_are_numbered_anew():
    states = {0: replace(STATES[0], time=NOW - 30), 1: replace(STATES[1], rank=0)}
    found = Sight("r", replace(record(), names=(1,)), states, NOW, {0: False, 1: True})
    rows = status_text(found).splitlines()
    assert any(row.startswith("  (was 0)") and row.endswith("has died; the others went on") for row in rows)
    assert any(row.startswith("  0 (was 1)") and "runs sweep[T=2]" in row for row in rows)


def test_status_works_before_there_is_a_plan():
    text = status_text(Sight("r", None, STATES, NOW, {0: True, 1: True}))
    assert text.startswith("melting: running (0:10), 2 of 6 tasks done; run r\n") and "runs sweep[T=2]" in text


def test_status_of_a_failure_says_where_to_look():
    tasks = with_states("done", "done", "failed", "cancelled", "cancelled", "done", sweep="oops")
    text = status_text(sight(tasks, status=1, alive=(False, False)))
    assert text.startswith("melting: FAILED") or text.startswith("melting: failed")
    assert text.endswith("why it failed: mpiflow why 'sweep[T=2]'\nwhat it printed: mpiflow log 'sweep[T=2]'")


def test_status_as_json_is_plain():
    found = json.loads(json.dumps(status_json(sight())))
    assert found["condition"] == "running" and found["steps"]["sweep"] == {"done": 1, "running": 1}
    assert found["ranks"][0]["waits_for"] == [{"task": 2, "name": "sweep[T=2]", "from_rank": 1, "state": "running"}]
    assert found["ranks"][1]["runs"] == "sweep[T=2]" and found["ranks"][1]["runs_for"] == 8.0


# Why

def test_a_step_waits_for_what_stands_at_the_beginning():
    found = why(sight(), "last")
    assert [(one.name, one.rank, one.state, one.own) for one in found.waits_for] == [("sweep[T=2]", 1, "running", False)]
    assert why_text(found) == (
        "last: 1 task: 1 planned; run r (running)\n  waits for 1 task:\n"
        "    sweep[T=2], operation melt: runs on rank 1 (n1) for 8 s; 2 s were expected")


def test_a_task_that_has_all_it_needs_waits_for_its_turn():
    assert "side, operation sum: has all that it needs, and waits for its turn on rank 1 (n1), which runs sweep[T=2]" in why_text(
        why(sight(), "side"))


def test_a_dataset_under_another_name_is_known():
    assert why(sight(), "same").waits_for[0].name == "sweep[T=2]"


def test_an_instance_is_asked_for_by_its_name():
    assert [found.task for found in tasks_of(sight(), "sweep[T=1]")] == [1]


@pytest.mark.parametrize(("word", "hint"), [("swep", "did you mean 'sweep'"), ("sweep[T=7]", "did you mean 'sweep[T="),
                                            ("zzz", "(steps: x, sweep, fit, last, side, same)")])
def test_a_wrong_step_is_answered_by_a_right_one(word, hint):
    with pytest.raises(LaunchError) as error:
        why(sight(), word)
    assert hint in str(error.value)


def test_a_run_that_was_killed_says_what_ran_and_what_did_not():
    text = why_text(why(sight(alive=(False, False)), "sweep"))
    assert "sweep[T=2] was running on rank 1 when the run was killed, for 6.5 s" in text
    assert "1 task had not started when the run was killed" in why_text(why(sight(alive=(False, False)), "fit"))


@pytest.mark.parametrize(("states", "step", "text"), [
    (("done", "done", "failed", "cancelled", "cancelled", "done"), "last",
     "did not run, since it needs sweep[T=2], which failed on rank 1: ValueError: no"),
    (("done", "done", "failed", "cancelled", "cancelled", "cancelled"), "side",
     "did not run, since sweep[T=2] failed, and then nothing more is started; with --keep-going"),
    (("done", "done", "failed", "cancelled", "cancelled", "cancelled"), "sweep",
     "sweep[T=2] failed on rank 1 (n1) after 0 s:\n    Traceback\n    ValueError: no"),
    (("done", "done", "skipped", "skipped", "skipped", "done"), "fit",
     "skipped: it, or something that it needs, was not to run")])
def test_what_did_not_run_says_why(states, step, text):
    tasks = with_states(*states, sweep="Traceback\nValueError: no" if "failed" in states else "")
    assert text in why_text(why(sight(tasks, status=1, alive=(False, False)), step))


def test_a_run_that_was_stopped_says_by_whom():
    tasks = with_states("done", "done", "cancelled", "cancelled", "cancelled", "done")
    assert "did not run: the run was stopped by a signal at rank 1; --resume goes on" in why_text(
        why(sight(tasks, status=75, stopped_by=(1,)), "fit"))


@pytest.mark.parametrize(("reason", "text"), [
    ("kept", "kept: all that is needed of it was made by an earlier run"), ("code changed", "the text of its module is another"),
    ("", "in a run without --resume and --cache every step runs")])
def test_what_has_run_says_why(reason, text):
    tasks = with_states(*["done"] * 6)
    found = why_text(why(sight(tasks, status=0, reasons={"fit": reason} if reason else {}), "fit"))
    assert text in found and ("ran on rank 0" in found) == (reason != "kept")


# Log

def test_lines_are_shown_task_by_task():
    lines = [(0, Line(3.0, 1, "sweep[T=1]", "out", "a")), (0, Line(3.5, 3, "fit", "out", "other")),
             (1, Line(2.0, 2, "sweep[T=2]", "err", "b")), (1, Line(4.0, 2, "sweep[T=2]", "out", "c"))]
    found = lines_of(sight(), "sweep", lines)
    assert [line.text for _, line in found] == ["b", "c", "a"]
    heads = [line for line in lines_text(found, "sweep").splitlines() if line.startswith("--")]
    assert [head.rpartition(",")[0] for head in heads] == ["-- sweep[T=2], task 2 on rank 1", "-- sweep[T=1], task 1 on rank 0"]
    assert [line.text for _, line in lines_of(sight(), "sweep[T=1]", lines)] == ["a"]
    assert [line.text for _, line in lines_of(Sight("r", None, {}, NOW), "sweep", lines)] == ["b", "c", "a"]
    assert lines_text(lines_of(sight(), "last", lines), "last").startswith("last has printed nothing")


# Real runs

OPS = """
import os, sys, time
from mpiflow import operation

@operation
def first(x):
    print("first sees", len(x), "rows")
    return x

@operation(seconds=5)
def hold(x):
    print("holds")
    print("and says so", file=sys.stderr)
    print("not ended", end="", flush=True)
    open("mark", "w").close()
    while not os.path.exists("go"):
        time.sleep(0.01)
    return x * 2

@operation
def join(x, large):
    return x.sum() + large.sum()
"""
WORKFLOW = """
mpiflow: 1
name: held
operations: [ops.py]
datasets:
  x: {arange: {stop: 10}, rank: 1}
  y: {arange: {stop: 2000000}, rank: 0}
steps:
  begin: first(x)
  said:
    run: [sh, -c, "echo program speaks; echo and complains >&2; cp a.npy b.npy"]
    in: {a: begin}
    out: {b: b.npy}
  long: hold(begin)
  last: join(long, y)
results: {last: last.npy}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "ops.py").write_text(OPS)
    (tmp_path / "workflow.yaml").write_text(WORKFLOW)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def wait_for(fact, process):
    limit = time.monotonic() + 60
    while not fact():
        assert time.monotonic() < limit and process.poll() is None
        time.sleep(0.05)


@pytest.fixture
def ask(capsys):
    """Give what a verb prints, without MPI, in a second process or this one."""
    def answer(*arguments, status=0):
        assert main([str(word) for word in arguments]) == status
        captured = capsys.readouterr()
        return captured.out if status == 0 else captured.err
    return answer


def test_a_run_is_seen_from_a_second_shell_while_it_goes_on_and_after_it_was_killed(folder, ask):
    with started(["mpirun", "-n", "2", sys.executable, "-m", "mpiflow", "workflow.yaml", "--no-replan"], cwd=folder) as process:
        wait_for(lambda: (folder / "mark").exists() and len(list(folder.glob(".mpiflow/runs/*/*.json"))) >= 4, process)
        wait_for(lambda: json.loads(ask("status", "--json"))["num_done"] == 4, process)
        found = json.loads(ask("status", "--json"))
        pids = [rank["pid"] for rank in found["ranks"]]
        run = found["run"]
        assert found["condition"] == "running" and found["unseen"] == []
        assert [rank["alive"] for rank in found["ranks"]] == [True, True]
        text = ask("status")
        assert "held: running" in text and " runs long for " in text and "waits for long from rank " in text
        outside = mpiflow(None, "why", "last", cwd=folder)     # as a user asks
        assert outside.status == 0 and "waits for 1 task:\n    long, operation hold: runs on rank " in outside.out
        assert ask("log", "begin").splitlines()[1:] == ["first sees 10 rows"]
        assert sorted(ask("log", "said").splitlines()[1:]) == ["and complains", "program speaks"]
        assert ask("log", "long").splitlines()[1:] == ["holds", "and says so"]
        assert "did you mean 'long'?" in ask("why", "lnog", status=2)
        assert "knows of no run 2025" in ask("status", "--run", "2025", status=2)
        os.kill(process.pid, signal.SIGKILL)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_gone(pids)

    text = ask("status", ".mpiflow")
    assert text.startswith("held: killed") and f"process {pids[0]} is gone; it " in text and "it had run long for " in text
    assert "long was running on rank " in ask("why", "long") and "1 task had not started" in ask("why", "last.npy")
    assert ask("log", "long", "--run", run[:12]).splitlines()[1:] == ["holds", "and says so"]

    (folder / "go").touch()
    ended = mpiflow(2, "workflow.yaml", "--resume", "--record", "record.json", cwd=folder)
    assert ended.status == 0, ended.err
    assert ask("status").startswith("held: done") and json.loads(ask("status", "--run", run, "--json"))["condition"] == "killed"
    why_said = json.loads(ask("why", "said", "--json"))
    assert why_said["reason"] == "kept" and why_said["because"] == ["kept: all that is needed of it was made by an earlier run"]
    assert "it ran" in ask("why", "long")
    assert ask("log", "long").splitlines()[1:] == ["holds", "and says so", "not ended"]
    newest = max((folder / ".mpiflow" / "runs").iterdir())
    assert json.loads((newest / "record.json").read_bytes()) == json.loads((folder / "record.json").read_bytes()) | {
        "started": json.loads((newest / "record.json").read_bytes())["started"]}


def test_a_terminal_shows_one_line_in_place_of_another_and_status_can_watch(folder):
    leader, follower = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    command = ["mpirun", "-n", "2", sys.executable, "-m", "mpiflow", "workflow.yaml"]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=follower, text=True,
                          start_new_session=True) as process:
        try:
            os.close(follower)
            shown = b""
            while shown.count(b"\r\33[K") < 3 or b"/7  [" not in shown:
                assert select.select([leader], [], [], 60)[0], shown
                shown += os.read(leader, 4096)
            assert re.search(rb"\r\x1b\[K[3-5]/7  \[[#-]{20}\]  0:0\d  ", shown)
            with started([sys.executable, "-m", "mpiflow", "status", "--watch"], cwd=folder) as watching:
                assert watching.stdout.readline().startswith("held: running")
                (folder / "go").touch()
                out, _ = process.communicate(timeout=60)
                watched, _ = watching.communicate(timeout=60)
            assert "held: done" in watched and watched.endswith("7 of 7 steps done\n\n")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0 and out.startswith("first sees 10 rows\n"), "lines in a pipe are as they were"
    os.close(leader)


def wait_gone(pids):
    limit = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() and b") Z" not in Path(f"/proc/{pid}/stat").read_bytes() for pid in pids):
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_a_store_that_cannot_be_written_is_a_warning(folder):
    (folder / "go").touch()
    (folder / "blocked").write_text("")
    ended = mpiflow(None, "workflow.yaml", "--no-save", "--store", "blocked", cwd=folder)
    assert ended.status == 0 and "first sees 10 rows" in ended.out
    assert "mpiflow: warning: cannot write " in ended.err
    assert "status, why, log and report do not know all of this run" in ended.err


def test_verbs_in_a_store_without_runs_say_so(folder, ask):
    assert ".mpiflow knows of no run" in ask("status", status=2) and "there is no such folder" in ask("log", "long", status=2)

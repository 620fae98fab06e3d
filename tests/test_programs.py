"""External programs: no shell, a folder of their own, files in and out, and nothing left behind, however they end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from launching import EXAMPLES, mpiflow, started

from mpiflow.errors import MachineError, OperationError
from mpiflow.operations.commands import environment, run_command
from mpiflow.operations.folders import Folders
from mpiflow.operations.interrupts import Interrupted, Interrupts
from mpiflow.operations.programs import ProgramError, find_program
from mpiflow.peer.reading import read
from mpiflow.planning.lowering import lower
from mpiflow.planning.tasks import Kind
from mpiflow.storage.files import keep_file, read_file, write_file
from mpiflow.workflow.policies import Policy, parse_seconds
from mpiflow.workflow.programs import format_of
from mpiflow.workflow.reading import read_workflow

SH = "/bin/sh"


def processes(mark: str) -> list[int]:
    """The processes with ``mark`` in their command lines."""
    found = []
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdigit() and mark.encode() in Path(path, "cmdline").read_bytes() and int(path.name) != os.getpid():
                found.append(int(path.name))
        except OSError:
            continue
    return found


def wait_until(fact) -> None:
    limit = time.monotonic() + 60
    while not fact():
        assert time.monotonic() < limit, "it did not come true"
        time.sleep(0.02)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Folders below ``tmp_path``, which must be gone at the end."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    made = Folders()
    yield made
    made.close()
    assert list((tmp_path / "scratch").iterdir()) == []


def run(folders, *words, timeout=None, interrupts=None, env=None):
    """Run a command in a folder; give what it has printed."""
    with folders.new() as folder:
        (folder / "work").mkdir()
        run_command(shutil.which(words[0]), words, folder / "work", folder / "work" / "said", environment(env or {}, os.environ),
                    folders, interrupts or Interrupts(), timeout)
        return (folder / "work" / "said").read_text()


# One command

def test_no_shell_reads_the_arguments(folders):
    words = ["a b", "$HOME", "*", ";exit 3", "`id`", "", "'"]
    assert run(folders, "printf", "%s|", *words) == "|".join(words) + "|"


def test_it_runs_in_a_folder_of_its_own_with_no_input(folders):
    assert run(folders, "ls", "-A") == "said\n"
    assert run(folders, "cat") == ""


def test_a_failure_says_status_and_command_and_what_was_written(folders):
    with pytest.raises(OperationError) as caught:
        run(folders, "sh", "-c", "echo fine; echo trouble >&2; exit 7", "and more")
    text = str(caught.value)
    assert text.startswith("sh ended with status 7\ncommand: sh -c ")
    assert "stderr, last lines:\n  trouble" in text and "stdout, last lines:\n  fine" in text


def test_of_much_output_the_last_lines_are_shown(folders):
    with pytest.raises(OperationError) as caught:
        run(folders, "sh", "-c", "seq 100000 >&2; exit 1")
    lines = str(caught.value).splitlines()
    assert "  100000" in lines and "  99971" in lines and "  99970" not in lines


def test_a_signal_is_named(folders):
    with pytest.raises(OperationError, match=r"sh was killed by signal 9 \(SIGKILL\)"):
        run(folders, "sh", "-c", "kill -9 $$")


def test_what_it_leaves_running_is_killed_when_it_ends(folders):
    run(folders, "sh", "-c", "sleep 31.4151 & sleep 31.4151 & exit 0")
    wait_until(lambda: not processes("31.4151"))


def test_a_timeout_ends_the_whole_process_group_even_if_it_does_not_listen(folders):
    with pytest.raises(OperationError, match=r"took longer than 0\.5 s and was ended(.|\n)*before"):
        run(folders, "sh", "-c", "trap '' TERM; echo before >&2; (trap '' TERM; sleep 31.4152) & sleep 31.4152", timeout=0.5)
    wait_until(lambda: not processes("31.4152"))


def test_an_interruption_ends_the_whole_process_group(folders):
    interrupts = Interrupts()
    old = signal.signal(signal.SIGALRM, lambda number, frame: interrupts.strike())
    killer = threading.Thread(target=lambda: (wait_until(lambda: len(processes("31.4153")) >= 3),
                                              signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)))
    killer.start()
    try:
        with pytest.raises(Interrupted):
            run(folders, "sh", "-c", "sleep 31.4153 & sleep 31.4153", interrupts=interrupts)
    finally:
        signal.signal(signal.SIGALRM, old)
        killer.join()
    wait_until(lambda: not processes("31.4153"))


def test_an_interruption_that_comes_too_early_is_put_off_and_not_lost(folders):
    interrupts = Interrupts()
    interrupts.strike()
    interrupts.wanted = True
    with pytest.raises(Interrupted):
        run(folders, "sleep", "31.4154", interrupts=interrupts)
    wait_until(lambda: not processes("31.4154"))


def test_a_program_that_cannot_be_started_is_an_error(folders, tmp_path):
    with pytest.raises(MachineError, match="cannot start"), folders.new() as folder:
        run_command("/bin/true", ["true"], folder / "nowhere", None, {}, folders, Interrupts(), None)


def test_the_launcher_around_it_is_not_seen(folders):
    names = """PMI_RANK PMI_FD PMIX_RANK OMPI_COMM_WORLD_SIZE HYDI_CONTROL_FD HYDRA_X MPI_LOCALNRANKS PRTE_LAUNCHED OPAL_PREFIX
        SLURM_STEP_ID SLURM_STEPID SLURM_PROCID SLURM_LOCALID SLURM_SRUN_COMM_HOST SLURM_TASK_PID"""
    launcher = dict.fromkeys(names.split(), "1")
    own = {**launcher, "HOME": "/h", "SLURM_JOB_ID": "5", "LD_LIBRARY_PATH": "/x/lib:/y:/x/lib", "OMPI_LIBDIR_LOC": "/x/lib"}
    assert environment({"A": "b"}, own) == {"HOME": "/h", "SLURM_JOB_ID": "5", "LD_LIBRARY_PATH": "/y", "A": "b"}
    assert environment({"PMI_RANK": "3"}, own)["PMI_RANK"] == "3"


def test_a_program_is_known_by_what_it_is(tmp_path):
    (tmp_path / "prog").write_text("#!/bin/sh\n")
    with pytest.raises(ProgramError, match="chmod"):
        find_program("p()", "./prog", [], tmp_path)
    (tmp_path / "prog").chmod(0o755)
    one = find_program("p()", "./prog", [], tmp_path)
    (tmp_path / "other").mkdir()
    shutil.copy(tmp_path / "prog", tmp_path / "other")
    assert find_program("p()", "other/prog", [], tmp_path).code == one.code
    (tmp_path / "prog").write_text("#!/bin/sh\nexit 1\n")
    assert find_program("p()", "./prog", [], tmp_path).code != one.code
    with pytest.raises(ProgramError, match="along PATH"):
        find_program("p()", "no-such-program", [], tmp_path)


# Files

@pytest.mark.parametrize("value", [np.arange(5), np.array([0.1, 1e-300, -3]), np.arange(6.0).reshape(3, 2), np.float64(0.3),
                                   np.array([0.1, 2], np.float32)], ids=lambda value: f"{value.dtype}-{value.shape}")
@pytest.mark.parametrize("file", ["x.npy", "x.h5", "x.txt", "x.csv"])
def test_a_file_gives_back_the_numbers_that_were_written(tmp_path, file, value):
    write_file(tmp_path / file, "x", np.asarray(value), format_of(file, None))
    found = read_file(tmp_path / file, format_of(file, None), "/x")
    np.testing.assert_array_equal(found.astype(value.dtype), np.atleast_1d(value) if "x.t" in file or "x.c" in file else value)


def test_bytes_are_those_of_the_array(tmp_path):
    write_file(tmp_path / "x", "x", np.arange(3.0), "bytes")
    assert (tmp_path / "x").read_bytes() == np.arange(3.0).tobytes()
    assert read_file(tmp_path / "x", "bytes", "").tobytes() == np.arange(3.0).tobytes()


def test_a_table_is_text_with_columns_or_a_group(tmp_path):
    table = {"a": np.arange(3), "b": np.array([0.5, 1, 2])}
    write_file(tmp_path / "t.txt", "t", table, "text")
    assert (tmp_path / "t.txt").read_text() == "# a b\n0 0.5\n1 1\n2 2\n"
    write_file(tmp_path / "t.h5", "t", table, "hdf5")
    with h5py.File(tmp_path / "t.h5") as opened:
        assert list(opened["t"]) == ["a", "b"]


@pytest.mark.parametrize(("value", "format", "message"), [
    ({"a": np.arange(3)}, "npy", "is a table"), ({"a": np.arange(3)}, "bytes", "is a table"),
    (np.zeros((2, 2, 2)), "text", "is no text"), ({"a": np.arange(3), "b": np.arange(2)}, "text", "is no text"),
    (np.array(["x"]), "text", "dtype <U1")])
def test_a_value_without_such_a_form_is_an_error(tmp_path, value, format, message):
    with pytest.raises(OperationError, match=message):
        write_file(tmp_path / "x", "x", value, format)


@pytest.mark.parametrize("format", ["npy", "hdf5", "text"])
def test_a_file_that_is_something_else_is_an_error(tmp_path, format):
    (tmp_path / "x").write_text("no numbers\n")
    with pytest.raises(OperationError, match="cannot read 'x', which the program has left"):
        read_file(tmp_path / "x", format, "/x")
    with pytest.raises(OperationError, match=r"left no file 'y'; there are x"):
        read_file(tmp_path / "y", format, "/x")


def test_of_a_large_file_the_size_is_enough(tmp_path):
    (tmp_path / "x").write_text("12345")
    assert read_file(tmp_path / "x", "size", "") == 5


def test_a_file_of_python_objects_is_not_read(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(OperationError, match="cannot read"):
        read_file(tmp_path / "x.npy", "npy", "")


def test_a_file_that_cannot_be_kept_is_an_error(tmp_path):
    (tmp_path / "x").write_text("x")
    keep_file(tmp_path / "x", tmp_path / "a" / "y")
    assert (tmp_path / "a" / "y").read_text() == "x"
    with pytest.raises(MachineError, match="cannot write"):
        keep_file(tmp_path / "x", tmp_path / "x" / "y")


# Documents

HEAD = "mpiflow: 1\nname: p\ndatasets:\n  x: {arange: {stop: 3}}\n"
STEP = 'run: [cat, "{in.x}", $n], in: {x: x}, out: {y: text}, stdout: y.txt, env: {A: b}'


def graph(tmp_path, step=STEP, params="{n: 1}"):
    """The tasks of a document with one step."""
    (tmp_path / "w.yaml").write_text(f"{HEAD}steps:\n  s: {{{step}}}\nresults: {{s: s.h5}}\nparams: {params}\n")
    local = read(tmp_path / "w.yaml", {}, 0)
    assert local.complaints == []
    return lower(local.workflow, local.registry, local.sources, 1)


def the_id(*arguments, **options):
    (task,) = [task for task in graph(*arguments, **options).tasks if task.kind is Kind.APPLY and "(" in task.operation]
    return task.id


@pytest.mark.parametrize("changed", [STEP.replace("$n", "2"), STEP.replace("A: b", "A: c"), STEP.replace("cat", "tac"),
                                     STEP.replace("y.txt", "y.dat"), STEP.replace("in: {x: x}", "in: {x: {data: x, file: x.h5}}"),
                                     STEP.replace("in: {x: x}", "in: {x: x * 2}")])
def test_an_id_covers_program_arguments_environment_and_files(tmp_path, changed):
    assert the_id(tmp_path, changed) != the_id(tmp_path)


def test_an_id_does_not_depend_on_what_becomes_of_failures(tmp_path):
    assert the_id(tmp_path, STEP + ", retries: 3, timeout: 3, on-error: continue") == the_id(tmp_path)


def test_a_loop_makes_an_instance_for_each_item(tmp_path):
    tasks = graph(tmp_path, STEP + ", for: {n: [1, 2, 2.5]}", "{}").tasks
    assert [dict(task.parameters)["run"] for task in tasks if task.kind is Kind.APPLY] == [
        ["cat", "{in.x}", item] for item in (1, 2, 2.5)]


def test_a_program_is_expected_to_take_seconds(tmp_path):
    assert [round(task.seconds) for task in graph(tmp_path).tasks if task.kind is Kind.APPLY] == [1]


def test_policies_are_read():
    text = HEAD + "steps:\n  a: {run: sum(x), retries: 2, timeout: 10m, on-error: continue}\n  b: {run: sum(x), retries: 0}\n"
    assert read_workflow(text, "w.yaml").policies == {"a": Policy(2, 600.0, "continue")}


@pytest.mark.parametrize(("written", "seconds"), [(3, 3), (0.5, 0.5), ("90s", 90), ("10m", 600), ("1.5h", 5400), ("1 d", 86400)])
def test_times_are_read(written, seconds):
    assert parse_seconds(written) == seconds


@pytest.mark.parametrize("written", [0, -1, "", "m", "ten", "1e3", "1w", "-3s"])
def test_what_is_no_time_is_refused(written):
    with pytest.raises(ValueError, match="'timeout' must be a time above 0"):
        parse_seconds(written)


# Runs

WORKFLOW = """\
mpiflow: 1
name: programs
datasets:
  x: {arange: {stop: 3}}
  doc: {file: notes.txt, as: bytes}
steps:
  many:
    for: {i: [0, 1, 2, 3, 4, 5]}
    run: [sh, -c, 'test $2 != WRONG || { echo wrong at $2 >&2; SCRIPT; }; sleep LONG; echo $2 > $1', prog, "{out.value}", $i]
    in: {x: x}
    out: {value: text}
    retries: RETRIES
    on-error: HOW
  all: sum(many.value)
  other: {run: [wc, -l, "{in.doc}"], in: {doc: doc}, out: {said: {file: said.txt, format: bytes}}, stdout: said.txt}
results: {all: all.npy, other: other.h5}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for a workflow, with a folder for scratch in it."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "notes.txt").write_text("one\ntwo\n")
    return tmp_path


def many(folder, num_ranks, *arguments, **changes):
    """Run WORKFLOW with its words in capitals replaced."""
    changes = {"HOW": "stop", "RETRIES": "0", "WRONG": "none", "SCRIPT": "exit 1", "LONG": "0", **changes}
    text = WORKFLOW
    for word, value in changes.items():
        text = text.replace(word, value)
    (folder / "w.yaml").write_text(text)
    return mpiflow(num_ranks, "w.yaml", "--record", "run.json", *arguments, cwd=folder)


def nothing_is_left(folder):
    return not list((folder / "tmp").glob("mpiflow-*")) and not processes(str(folder / "tmp"))


def test_what_programs_give_is_the_same_on_any_number_of_ranks(folder):
    for num_ranks in (None, 4):
        ended = many(folder, num_ranks, "--no-save")
        assert ended.status == 0, ended.err
        assert np.load(folder / "all.npy") == 15
        with h5py.File(folder / "other.h5") as opened:
            assert opened["other/said"][()].tobytes().startswith(b"2 notes.txt")
        assert nothing_is_left(folder)


def test_a_program_that_is_killed_stops_the_run_and_its_siblings_and_its_words_are_in_the_report(folder):
    ended = many(folder, 4, WRONG="2", SCRIPT="kill -9 $$$$", LONG="31.4155")
    assert ended.status == 1
    assert "step 'many[i=2]' failed on rank" in ended.err and "operation sh(x)" in ended.err
    assert "sh was killed by signal 9 (SIGKILL)" in ended.err and "stderr, last lines:\n  wrong at 2" in ended.err
    assert not processes("31.4155") and nothing_is_left(folder)
    assert not (folder / "all.npy").exists()


def test_with_continue_its_siblings_go_on_and_only_what_depends_on_it_is_given_up(folder):
    ended = many(folder, 4, WRONG="2", SCRIPT="kill -9 $$$$", HOW="continue")
    assert ended.status == 1
    assert "sh was killed by signal 9 (SIGKILL)" in ended.err and "wrong at 2" in ended.err
    record = json.loads((folder / "run.json").read_text())
    states = [task["state"] for task in record["tasks"] if task["operation"] == "sh(x)"]
    assert sorted(states) == ["done"] * 5 + ["failed"]
    assert not (folder / "all.npy").exists() and (folder / "other.h5").exists()
    assert nothing_is_left(folder)


def test_what_fails_is_tried_again_as_often_as_the_step_says(folder):
    count = f"echo x >> {folder}/tries; test $(wc -l < {folder}/tries) = 3 || exit 5"
    assert many(folder, None, WRONG="2", SCRIPT=count, RETRIES="2").status == 0
    assert (folder / "tries").read_text() == "x\n" * 3
    ended = many(folder, None, "--no-save", WRONG="2", SCRIPT=count, RETRIES="1")
    assert ended.status == 1
    assert "sh ended with status 5" in ended.err and "(the last of 2 attempts)" in ended.err
    assert nothing_is_left(folder)


OPS = """
import os, time
from mpiflow import operation

@operation
def slow(x, seconds):
    with open("tries", "a") as opened:
        opened.write("x")
    time.sleep(seconds)
    return x

@operation
def once(x):
    with open("tries", "a") as opened:
        opened.write("y")
    if os.path.getsize("tries") < 3:
        raise ValueError("not yet")
    return x
"""


@pytest.mark.parametrize(("step", "status", "tries", "message"), [
    ("{run: 'slow(x, 30)', timeout: 0.3, retries: 1}", 1, "xx",
     "OperationError: it took longer than 0.3 s and was ended\n(the last of 2 attempts)"),
    ("{run: 'slow(x, 0)', timeout: 30s}", 0, "x", ""),
    ("{run: once(x), retries: 5}", 0, "yyy", ""),
    ("{run: once(x), retries: 1}", 1, "yy", "ValueError: not yet\n(the last of 2 attempts)"),
])
def test_retries_and_timeout_hold_for_operations_too(folder, step, status, tries, message):
    (folder / "ops.py").write_text(OPS)
    (folder / "w.yaml").write_text(f"{HEAD}operations: [ops.py]\nsteps:\n  s: {step}\nresults: {{s: s.npy}}\n")
    ended = mpiflow(None, "w.yaml", cwd=folder)
    assert ended.status == status, ended.err
    assert (folder / "tries").read_text() == tries and message in ended.err


def test_a_program_that_takes_too_long_is_ended_with_all_that_it_has_started(folder):
    step = "{run: [sh, -c, 'sleep 31.4156 & sleep 31.4156'], out: {y: text}, timeout: 0.5}"
    (folder / "w.yaml").write_text(f"{HEAD}steps:\n  s: {step}\n")
    ended = mpiflow(None, "w.yaml", cwd=folder)
    assert ended.status == 1
    assert "sh took longer than 0.5 s and was ended" in ended.err
    assert not processes("31.4156") and nothing_is_left(folder)


def test_a_program_sees_no_launcher_around_it(folder):
    step = "{run: [env], out: {y: {file: y.txt, format: bytes, keep: env-$i.txt}}, stdout: y.txt, for: {i: [0, 1, 2, 3]}}"
    (folder / "w.yaml").write_text(f"{HEAD}steps:\n  s: {step}\n")
    assert mpiflow(4, "w.yaml", cwd=folder, env={"MINE": "kept"}).status == 0
    for number in range(4):
        names = [line.partition("=")[0] for line in (folder / f"env-{number}.txt").read_text().splitlines()]
        assert "MINE" in names
        assert [name for name in names if name.startswith(("PMI", "HYD", "OMPI", "MPI_LOCAL", "SLURM"))] == []


LONG = "steps:\n  s: {for: {i: [0, 1]}, run: [sh, -c, 'sleep MARK & sleep MARK', $i], out: {y: text}}\n"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_rank_that_is_killed_or_stopped_leaves_no_program_and_no_file(folder, how):
    mark = f"31.42{int(how):02}"
    (folder / "w.yaml").write_text(HEAD + LONG.replace("MARK", mark))
    command = ["mpirun", "-n", "2", sys.executable, "-m", "mpiflow", "w.yaml", "--grace", "0.2"]
    with started(command, cwd=folder) as process:
        wait_until(lambda: len(processes(f"sleep {mark} &")) == 2 and len(processes(f"sleep\0{mark}")) == 4)
        rank = int(Path(f"/proc/{processes(f'sleep {mark} &')[0]}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(rank, how)
        process.wait(timeout=60)
        assert process.returncode == (75 if how == signal.SIGTERM else process.returncode) != 0
        wait_until(lambda: not processes(mark) and nothing_is_left(folder))


def test_a_run_goes_on_with_what_programs_have_made_unless_it_is_not_there_any_more(folder):
    (folder / "prog").write_text("#!/bin/sh\nsleep 0.05\necho 1 > y.txt\n")
    (folder / "prog").chmod(0o755)
    (folder / "w.yaml").write_text(
        HEAD + "steps:\n  s: {run: [./prog], out: {y: {file: y.txt, keep: kept.txt}}}\n  t: sum(s.y)\nresults: {t: t.npy}\n")
    assert mpiflow(None, "w.yaml", cwd=folder).status == 0
    assert "kept of earlier work: 4 of 4 tasks" in mpiflow(None, "w.yaml", "--resume", cwd=folder).out
    (folder / "kept.txt").unlink()
    assert "lost: s" in mpiflow(None, "w.yaml", "--resume", cwd=folder).out
    assert (folder / "kept.txt").exists()
    (folder / "prog").write_text("#!/bin/sh\nsleep 0.05\necho 2 > y.txt\n")
    assert "code changed: s" in mpiflow(None, "w.yaml", "--resume", cwd=folder).out
    assert np.load(folder / "t.npy") == 2


# The example

@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """The example, compiled."""
    folder = tmp_path_factory.mktemp("chain") / "chain"
    shutil.copytree(EXAMPLES / "chain", folder)
    subprocess.run(["make", "-B"], cwd=folder, check=True, capture_output=True, timeout=60)
    return folder


@pytest.fixture(scope="module")
def alone(chain):
    """Its results on one rank."""
    ended = mpiflow(1, "workflow.yaml", "--results", "1", "--set", "steps=2000", "--no-save", cwd=chain)
    assert ended.status == 0, ended.err
    return chain / "1" / "chain"


@pytest.mark.parametrize("num_ranks", [4, 8])
def test_the_chain_gives_the_same_on_any_number_of_ranks(chain, alone, num_ranks):
    ended = mpiflow(num_ranks, "workflow.yaml", "--results", num_ranks, "--set", "steps=2000", "--no-save", cwd=chain)
    assert ended.status == 0, ended.err
    names = sorted(file.name for file in alone.iterdir())
    assert len(names) == 14
    for name in names:
        if name != "curve.h5":
            assert (chain / str(num_ranks) / "chain" / name).read_bytes() == (alone / name).read_bytes()
    with h5py.File(alone / "curve.h5") as one, h5py.File(chain / str(num_ranks) / "chain" / "curve.h5") as other:
        np.testing.assert_array_equal(one["curve"][()], other["curve"][()])


def test_in_the_chain_a_failed_simulation_is_reported_with_its_words_and_the_others_go_on(chain, folder):
    (folder / "broken").write_text('#!/bin/sh\n[ "$2" = 0.3 ] && { echo out of luck >&2; kill -9 $$; }\nexec "$SIMULATE" "$@"\n')
    (folder / "broken").chmod(0o755)
    ended = mpiflow(4, chain / "workflow.yaml", "--results", folder / "r", "--set", "steps=2000", "--no-save",
                    "--set", f"simulate={folder}/broken", cwd=folder, env={"SIMULATE": str(chain / "simulate")})
    assert ended.status == 1
    assert "step 'simulate[T=0.3]' failed" in ended.err and "  out of luck" in ended.err
    assert "(the last of 2 attempts)" in ended.err
    assert len(list((folder / "r" / "chain").glob("log-*.txt"))) == 11
    assert nothing_is_left(folder)


# Programs that others have written

def test_lammps_and_hdf5_tools_do_their_part(folder):
    """LAMMPS uses an MPI of its own, and must not take itself for a rank of this one."""
    ended = mpiflow(2, EXAMPLES / "lammps" / "workflow.yaml", "--set", "cells=2", "--set", "steps=200", "--no-save", cwd=folder)
    assert ended.status == 0, ended.err
    with h5py.File(folder / "lammps" / "melt.h5") as opened, h5py.File(folder / "lammps" / "packed.h5") as packed:
        rows = opened["averages"][()]
        np.testing.assert_array_equal(packed["packed/packed"][()], rows)
    assert rows.shape == (24, 4) and list(rows[:2, 0]) == [100, 200]
    assert len(list((folder / "lammps").glob("log-*.lammps"))) == 12
    assert nothing_is_left(folder)


def test_hdf5_and_text_go_through_h5dump(folder):
    step = '{run: [h5dump, -d, /x, -y, -w, 1, -o, n.raw, "{in.x}"], in: {x: {data: x, file: x.h5}}, out: {numbers: n.raw}}'
    (folder / "w.yaml").write_text(f"{HEAD}steps:\n  s: {step}\n  t: s.numbers\nresults: {{t: t.txt}}\n")
    ended = mpiflow(None, "w.yaml", cwd=folder)
    assert ended.status == 0, ended.err
    assert [word.strip(",") for word in (folder / "t.txt").read_text().split()] == ["0", "1", "2"]

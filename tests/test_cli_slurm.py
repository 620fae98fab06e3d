"""``slurm``: a jobscript that fits a workflow, without MPI and without SLURM; tests/cluster runs what it writes."""

import argparse
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from launching import EXAMPLES, ROOT, mpiflow

from mpiflow.cli.slurm import _memory, _nbytes, _partition, _time
from mpiflow.planning.forecast import forecast
from mpiflow.planning.machine import Machine
from mpiflow.planning.tasks import Kind, Task, TaskGraph, recipe_id
from mpiflow.report.jobscript import LAUNCHERS, JobRequest, doubts, job_name, jobscript

SCENARIO = EXAMPLES / "scenarios" / "2-linear-two.yaml"
SCRIPTS = sorted((ROOT / "jobscripts").glob("*.sh"))
FOUR = ("--nodes", 2, "--ntasks-per-node", 2, "--time", "1:00:00")


def written(*arguments, workflow=SCENARIO):
    """The script, and what was said about it."""
    ended = mpiflow(None, "slurm", workflow, *arguments)
    assert ended.status == 0, ended.err
    return ended.out, ended.err


def refused(*arguments):
    ended = mpiflow(None, "slurm", *arguments)
    assert (ended.status, ended.out) == (2, "")
    return ended.err


def is_bash(text):
    return subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True).stderr == ""


def directives(text):
    return dict(line.removeprefix("#SBATCH --").partition("=")[::2] for line in text.splitlines() if line.startswith("#SBATCH"))


def planned(seconds, num=1, size=4):
    """A forecast for ``num`` tasks that need nothing."""
    tasks = [Task(recipe_id(number), Kind.APPLY, "s", "f", nbytes=8, seconds=seconds) for number in range(num)]
    return forecast(TaskGraph(tasks, {}), Machine((0,) * size), "t")


def request(**changed):
    return JobRequest(**{"workflow": "w.yaml", "num_nodes": 2, "per_node": 2, "time": "10", "seconds": 600, "launcher": "mpirun",
                         **changed})


# The scripts that come with mpiflow

@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_jobscript_is_bash_and_asks_to_be_warned_in_the_shell_alone(script):
    text = script.read_text()
    assert is_bash(text)
    assert directives(text)["signal"] == "B:USR1@120"
    assert "# module load" in text and "OMP_NUM_THREADS" in text


def test_all_jobscripts_are_explained():
    page = (ROOT / "jobscripts" / "README.md").read_text()
    assert [script.name for script in SCRIPTS if f"`{script.name}`" not in page] == []


# The verb

@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("requeue", [(), ("--requeue",)], ids=["once", "requeue"])
def test_a_script_is_bash_and_starts_the_ranks_as_asked(launcher, requeue):
    text, _ = written(*FOUR, "--launcher", launcher, *requeue)
    assert is_bash(text) and text.startswith("#!/bin/bash\n")
    assert f"{LAUNCHERS[launcher]} python -m mpiflow run {SCENARIO}" in text
    assert ("OPAL_PREFIX" in text) == (launcher == "srun-pmix")


def test_sbatch_is_told_what_the_user_asked_for():
    text, _ = written(*FOUR, "--partition", "short,long", "--mem", "64G")
    assert directives(text) == {
        "job-name": "scenario-2", "nodes": "2", "ntasks-per-node": "2", "time": "1:00:00", "partition": "short,long",
        "mem": "64G", "signal": "B:USR1@120", "output": "%x-%j.out"}


def test_a_chain_requeues_and_resumes():
    text, _ = written(*FOUR, "--requeue")
    assert {"requeue", "open-mode"} <= set(directives(text))
    assert "--resume" in text and "scontrol requeue" in text and 'kill -USR1 "$launcher"' in text


def test_without_it_a_run_is_not_resumed():
    text, _ = written(*FOUR)
    assert "--resume" not in text and "requeue" not in text and "\nexec mpirun" in text


def test_the_command_holds_from_any_directory_and_for_any_name(tmp_path):
    workflow = tmp_path / "it's a $(workflow).yaml"
    workflow.write_text(yaml.safe_dump({
        "mpiflow": 1, "name": "n", "params": {"n": 3}, "datasets": {"x": {"arange": {"stop": "$n"}}},
        "steps": {"s": "sum(x)"}, "results": {"s": "s.npy"}}))
    text, _ = written(*FOUR, "--set", "n=5", "--results", tmp_path / "out put", workflow=workflow)
    words = shlex.split(next(line for line in text.splitlines() if line.startswith("exec mpirun")))
    options = ["--set", "n=5", "--results", str(tmp_path / "out put"), "--store", str(Path.cwd() / ".mpiflow")]
    assert words[words.index("run") + 1:] == [str(workflow), *options]


def test_the_script_says_what_is_expected(tmp_path):
    text, err = written(*FOUR, "--store", tmp_path / "store")      # so that nobody knows how long it takes
    assert "# scenario-2: 6 tasks on 4 ranks" in text and "# predicted: 0.00" in text and "# writes results/scenario-2.h5" in text
    assert "never more than 2 ranks of 4 at work" in err


def test_a_script_goes_to_a_file(tmp_path):
    said, _ = written(*FOUR, "-o", tmp_path / "job.sh")
    assert "submit it with sbatch" in said and "of a time limit of 3600 s" in said
    assert (tmp_path / "job.sh").read_text().startswith("#!/bin/bash\n")


def test_the_document_is_checked_first(tmp_path):
    file = tmp_path / "w.yaml"
    file.write_text("mpiflow: 1\nname: n\nsteps: {s: sum(nothing)}\n")
    assert f"{file}:3:" in refused(file, *FOUR)


def test_memory_that_cannot_do_is_refused():
    assert "memory" in refused(SCENARIO, *FOUR, "--mem", "4M")


@pytest.mark.parametrize(("arguments", "message"), [
    (["--nodes", "0", "--ntasks-per-node", "1", "--time", "1"], "--nodes: '0' is no such number"),
    (["--nodes", "1", "--ntasks-per-node", "x", "--time", "1"], "--ntasks-per-node: 'x' is no such number"),
    (["--nodes", "1000000", "--ntasks-per-node", "2", "--time", "1"], "2000000 ranks are too many"),
    (["--nodes", "1", "--ntasks-per-node", "1", "--time", "1h"], "'1h' is no time limit; write minutes"),
    (["--nodes", "1", "--ntasks-per-node", "1", "--time", "0:00"], "must be above 0"),
    (["--nodes", "1", "--ntasks-per-node", "1"], "--time"),
    (["--nodes", "1", "--ntasks-per-node", "1", "--time", "1", "--mem", "much"], "'much' is no memory for sbatch"),
    (["--nodes", "1", "--ntasks-per-node", "1", "--time", "1", "--launcher", "ssh"], "invalid choice: 'ssh'"),
    (["--nodes", "1", "--ntasks-per-node", "1", "--time", "1", "--partition", "a b"], "'a b' is no name of a partition"),
], ids=str)
def test_wrong_arguments_are_refused_with_one_message(arguments, message):
    err = refused(SCENARIO, *arguments)
    assert err.count("mpiflow: error:") == 1 and message in err


@pytest.mark.parametrize(("word", "seconds"), [
    ("90", 5400), ("1:30", 90), ("1:00:00", 3600), ("2-12", 216000), ("1-0:30", 88200), ("1-00:00:01", 86401)])
def test_times_mean_what_they_mean_to_sbatch(word, seconds):
    assert _time(word) == (word, seconds)


@pytest.mark.parametrize("word", ["", "1:60", "1:00:60", "-5", "1-", "1:2:3:4", "UNLIMITED", "1.5", "0", "0-0", "١"])
def test_what_is_no_time_is_refused(word):
    with pytest.raises(argparse.ArgumentTypeError):
        _time(word)


def test_memory_is_counted_as_sbatch_does():
    assert [_nbytes(_memory(word)) for word in ("1", "2K", "1G", "1T")] == [1 << 20, 2 << 10, 1 << 30, 1 << 40]


@pytest.mark.parametrize("word", ["a\n#SBATCH --uid=0", "", "a,", "$x"])
def test_a_partition_cannot_bring_lines_of_its_own(word):
    with pytest.raises(argparse.ArgumentTypeError):
        _partition(word)


@pytest.mark.parametrize(("name", "expected"), [("adk", "adk"), ("two words\nrm -rf", "two-words-rm-rf"), ("μ", "mpiflow")])
def test_jobs_are_named_like_the_workflow_in_plain_characters(name, expected):
    assert job_name(name) == expected


def test_a_name_of_several_lines_stays_in_its_comment():
    text = jobscript(request(), planned(1.0), ["a\nrm b"])
    assert "# writes a?rm b" in text and "\nrm" not in text


# Doubts

def test_enough_work_in_enough_time_raises_no_doubt():
    assert doubts(request(), planned(1.0, num=8), learned=True) == []


def test_more_ranks_than_tasks_at_a_time_are_doubted():
    (line,) = doubts(request(), planned(1.0, num=3), learned=True)
    assert "never more than 3 ranks of 4 at work at the same time" in line


def test_a_plan_longer_than_the_time_limit_is_doubted():
    (line,) = doubts(request(), planned(900.0, num=4), learned=False)
    assert line.startswith("the plan takes 900 s (guessed: no earlier run is known), the time limit is 600 s: use --requeue")


def test_of_a_chain_the_rounds_are_said():
    (line,) = doubts(request(requeue=True), planned(2000.0, num=4), learned=True)
    assert line == "the plan takes 2000 s, the time limit is 600 s: about 4 rounds"

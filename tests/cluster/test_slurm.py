"""Jobscripts on a real SLURM of four nodes: what they run, how they end, what signals do."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import slurm
from chaos_workflow import numbers
from launching import EXAMPLES, ROOT, mpiflow
from noted import LONG, NUM_TASKS, PATIENCE, SITE, Rounds

SCRIPTS = ROOT / "jobscripts"
SCENARIO = EXAMPLES / "scenarios" / "2-linear-two.yaml"
ADK = EXAMPLES / "adk" / "workflow.yaml"
OPEN_MPI = {"MPI4PY_MPIABI": "openmpi"}     # Debian's, for the mpi4py that MPICH is used with otherwise


@pytest.fixture(scope="module")
def cluster():
    with slurm.slurm(num_nodes=4) as up:
        yield up


def submit(cluster, tmp_path, *words, **env):
    """Submit from an empty directory; every job writes its output there."""
    return cluster.submit("--output=%j.out", "--nodes=4", "--ntasks-per-node=2", *words, cwd=tmp_path, env={**SITE, **env})


def run(cluster, tmp_path, *words, **env):
    """Submit, wait for the end, and give the job and what it printed."""
    job = cluster.ended(submit(cluster, tmp_path, *words, **env))
    return job, (tmp_path / f"{job.number}.out").read_text()


def content(file):
    """All arrays of an HDF5 file, as bytes."""
    found = {}
    with h5py.File(file) as opened:
        opened.visititems(lambda name, item: found.update({name: item[()].tobytes()} if isinstance(item, h5py.Dataset) else {}))
    assert found
    return found


def ran(record):
    """Ids of what was made in a run, by its record."""
    return {task["id"] for task in json.loads(record.read_text())["tasks"] if task["kind"] not in ("kept", "restore")}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The results of both examples on one rank."""
    place = tmp_path_factory.mktemp("expected")
    for workflow in (SCENARIO, ADK):      # in one thread, as jobscripts do: the last bits of matrix products depend on it
        assert mpiflow(1, workflow, "--results", place, cwd=place, env={"OMP_NUM_THREADS": "1"}).status == 0
    return {name: content(place / "results" / name) for name in ("scenario-2.h5", "adk.h5")}


# Runs

@pytest.mark.parametrize("script", ["srun-pmi2.sh", "mpirun.sh"])
@pytest.mark.parametrize(("workflow", "result"), [(SCENARIO, "scenario-2.h5"), (ADK, "adk.h5")], ids=["scenario-2", "adk"])
def test_examples_finish_on_four_nodes_with_the_bits_of_one_rank(cluster, tmp_path, expected, script, workflow, result):
    job, out = run(cluster, tmp_path, SCRIPTS / script, workflow)
    assert (job.state, job.status) == ("COMPLETED", 0), out
    assert "on 8 ranks, 4 nodes" in out
    assert content(tmp_path / "results" / result) == expected[result]


def test_open_mpi_runs_by_srun_with_the_bits_of_mpich(cluster, tmp_path, expected):
    job, out = run(cluster, tmp_path, SCRIPTS / "srun-pmix.sh", SCENARIO, **OPEN_MPI)
    assert (job.state, job.status) == ("COMPLETED", 0), out
    assert "on 8 ranks, 4 nodes" in out and content(tmp_path / "results" / "scenario-2.h5") == expected["scenario-2.h5"]


def test_mpirun_runs_on_one_node_too(cluster, tmp_path):
    job, out = run(cluster, tmp_path, "--nodes=1", "--ntasks-per-node=4", SCRIPTS / "mpirun.sh", SCENARIO)
    assert job.status == 0 and "on 4 ranks, 1 node" in out


def test_inputs_go_to_local_disks_and_results_come_back_and_the_next_job_goes_on(cluster, tmp_path, expected):
    data, local, made = EXAMPLES / "adk" / "adk.h5md", cluster.scratch, set()
    tmp_path.chmod(0o750)
    for options in ((), ("--", "--resume", "--record", "again.json")):
        job, out = run(cluster, tmp_path, SCRIPTS / "scratch.sh", ADK, f"data={data}", *options, SCRATCH=str(local))
        assert (job.state, job.status) == ("COMPLETED", 0), out
        assert content(tmp_path / "results" / "adk.h5") == expected["adk.h5"]
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o750
        (tmp_path / "results" / "adk.h5").unlink()
        left = cluster.command("srun", "--nodes=4", "--ntasks=4", "find", local, "-name", "mpiflow-*")
        assert left == ""
        made = made or Rounds(tmp_path).made
    files = {task["id"] for task in json.loads((tmp_path / "again.json").read_text())["tasks"] if task["kind"] == "write"}
    assert "kept of earlier work:" in out and made - files and not (made - files) & ran(tmp_path / "again.json")


def test_an_array_runs_one_line_each(cluster, tmp_path):
    (tmp_path / "runs.txt").write_text(f"{SCENARIO} --set n=1000\n'{SCENARIO}' --set n=2000 --set r1=0\n")
    first = cluster.submit("--array=1-2", "--output=%a.out", "--ntasks-per-node=4", SCRIPTS / "array.sh", "runs.txt",
                           cwd=tmp_path, env=SITE)
    for number in (1, 2):
        assert cluster.ended(f"{first}_{number}").status == 0, (tmp_path / f"{number}.out").read_text()
    answers = [content(tmp_path / f"results-{number}" / "results" / "scenario-2.h5")["answer"] for number in (1, 2)]
    # Of 1,000 groups with 2 numbers, and with 4, the most that can round to one.
    assert [np.frombuffer(answer, np.int64).max() for answer in answers] == [2, 4]


def test_ranks_that_do_not_find_each_other_are_refused(cluster, tmp_path):
    (tmp_path / "runs.txt").write_text(f"{SCENARIO}\n")
    job, out = run(cluster, tmp_path, "--array=1", "--output=%A.out", SCRIPTS / "array.sh", "runs.txt", LAUNCH="srun --mpi=none")
    assert (job.state, job.status) == ("FAILED", 2)
    assert out.count("mpiflow: error:") == 1 and "srun needs the --mpi option that fits this MPI" in out
    assert not (tmp_path / "results-1").exists()


def test_an_mpi_that_does_not_start_is_no_success(cluster, tmp_path):
    job, out = run(cluster, tmp_path, SCRIPTS / "srun-pmix.sh", SCENARIO)      # but this is MPICH
    assert job.state == "FAILED" and job.status != 0
    told = re.findall(r"mpiflow: error: rank (\d): MPICH .*? does not start, and has ended the process: srun needs the --mpi "
                      r"option that fits this MPI: 'srun --mpi=pmi2' for MPICH", out)
    assert told and len(told) == len(set(told)) and "an operation" not in out, out
    assert not (tmp_path / "results").exists()


# What the verb writes

@pytest.mark.parametrize(("launcher", "env"), [("mpirun", {}), ("srun-pmi2", {}), ("srun-pmix", OPEN_MPI)],
                         ids=["mpirun", "srun-pmi2", "srun-pmix"])
def test_the_script_of_the_verb_is_accepted_and_runs(cluster, tmp_path, expected, launcher, env):
    wrote = mpiflow(None, "slurm", SCENARIO, "--nodes", 4, "--ntasks-per-node", 2, "--time", 5, "--mem", "400M", "--partition",
                    "test", "--launcher", launcher, "--results", "there", "-o", "job.sh", cwd=tmp_path)
    assert wrote.status == 0, wrote.err
    job = cluster.ended(cluster.submit("job.sh", cwd=tmp_path, env={**SITE, **env}))
    assert job.state == "COMPLETED" and "on 8 ranks, 4 nodes" in (tmp_path / f"scenario-2-{job.number}.out").read_text()
    assert content(tmp_path / "there" / "results" / "scenario-2.h5") == expected["scenario-2.h5"]


# Signals and rounds

@pytest.fixture
def rounds(tmp_path):
    return Rounds(tmp_path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The results of the long workflow on one rank."""
    place = tmp_path_factory.mktemp("undisturbed")
    ended = mpiflow(1, LONG, cwd=place, env={"OMP_NUM_THREADS": "1"})
    assert ended.status == 0, ended.err
    return numbers(place / "results")


def warn(cluster, job):
    """What ``--signal=B:USR1@120`` does two minutes before the time limit."""
    cluster.command("scancel", "--batch", "--signal=USR1", job)


def go_on(cluster, rounds, job, num):
    """Warn a job in so many rounds, each when some of its tasks are done, and wait for its end."""
    before = 0
    for number in range(1, num + 1):
        rounds.underway(number, before)
        warn(cluster, job)
        slurm.until(lambda number=number: int(cluster.fields(job)["Restarts"]) == number, f"round {number} to end", PATIENCE)
        before = len(rounds.made)
    return cluster.ended(job, PATIENCE)


@pytest.mark.parametrize("launch", ["srun --mpi=pmi2", "mpirun"])
def test_a_chain_goes_on_in_rounds_until_it_is_done(cluster, rounds, undisturbed, launch):
    job = submit(cluster, rounds.folder, SCRIPTS / "chain.sh", LONG, LAUNCH=launch, HELD="2")
    ended = go_on(cluster, rounds, job, 2)
    out = (rounds.folder / f"{job}.out").read_text()
    assert (ended.state, ended.status, ended.restarts) == ("COMPLETED", 0, 2), out
    assert out.count("stopped before the end; requeued") == out.count("rounds: STOPPED in") == 2, out
    assert "chain: ends in round 3 with status 0" in out and out.count("on 8 ranks, 4 nodes") == 3, out
    assert {note[0] for note in rounds.notes} == {1, 2, 3} and rounds.results == undisturbed
    rounds.check_tasks()


def test_the_chain_of_the_verb_goes_on_until_it_is_done(cluster, rounds, undisturbed):
    wrote = mpiflow(None, "slurm", LONG, "--nodes", 2, "--ntasks-per-node", 1, "--time", 5, "--requeue", "-o",
                    "job.sh", cwd=rounds.folder)
    assert wrote.status == 0, wrote.err
    job = cluster.submit("job.sh", cwd=rounds.folder, env={**SITE, "HELD": "1"})
    ended = go_on(cluster, rounds, job, 1)
    assert (ended.state, ended.status, ended.restarts) == ("COMPLETED", 0, 1)
    assert rounds.results == undisturbed
    rounds.check_tasks()


def test_a_chain_has_an_end(cluster, rounds):
    job = submit(cluster, rounds.folder, SCRIPTS / "chain.sh", LONG, ROUNDS="1", HELD="1")
    rounds.underway(1)
    warn(cluster, job)
    ended = cluster.ended(job)
    assert (ended.state, ended.status, ended.restarts) == ("FAILED", 75, 0)
    assert "chain: ends in round 1 with status 75" in (rounds.folder / f"{job}.out").read_text()


def test_a_chain_ends_with_the_status_of_a_failure(cluster, tmp_path):
    job, out = run(cluster, tmp_path, SCRIPTS / "chain.sh", LONG.with_name("fails.yaml"))
    assert (job.state, job.status, job.restarts) == ("FAILED", 1, 0)
    assert "chain: ends in round 1 with status 1" in out and "this step fails in every round" in out


def processes(word):
    """The processes of this machine, whatever namespace they are in, that have ``word`` in their command line."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [file.parent.name] if os.fsencode(str(word)) in file.read_bytes() else []
        except (FileNotFoundError, ProcessLookupError):     # it has just ended
            continue
    return found


@pytest.mark.parametrize("script", ["srun-pmi2.sh", "mpirun.sh", "chain.sh"])
def test_scancel_ends_everything_and_what_is_saved_is_not_run_again(cluster, rounds, undisturbed, script):
    record = rounds.folder / "resumed.json"
    job = submit(cluster, rounds.folder, SCRIPTS / script, LONG, "--store", rounds.folder / ".mpiflow", HELD="1")
    rounds.underway(1)
    assert len(processes(rounds.folder)) >= 8
    cluster.command("scancel", job)
    assert cluster.ended(job).state == "CANCELLED"
    slurm.until(lambda: not processes(rounds.folder), "every process to end", 20)
    assert not (rounds.folder / "results").exists()
    made = rounds.made
    resumed = mpiflow(3, LONG, "--resume", "--record", record, cwd=rounds.folder, env={"OMP_NUM_THREADS": "1"})
    assert resumed.status == 0 and "kept of earlier work:" in resumed.out, resumed.err
    assert rounds.results == undisturbed and made and not made & ran(record)
    assert len({note[2] for note in rounds.notes}) == NUM_TASKS


# What mpiflow cannot be made to do, with something in its place

@pytest.fixture
def place(tmp_path):
    """A directory in which ``python -m mpiflow`` is the stand-in."""
    (tmp_path / "mpiflow").mkdir()
    (tmp_path / "mpiflow" / "__init__.py").touch()
    shutil.copy(Path(__file__).with_name("stand_in.py"), tmp_path / "mpiflow" / "__main__.py")
    return tmp_path


def running(place):
    """Wait until the ranks of the stand-in run, and give their number."""
    file = place / "ready.1"
    slurm.until(lambda: file.exists() and file.read_text().endswith("\n"), "ranks to run", PATIENCE)
    return int(file.read_text())


@pytest.mark.parametrize(("script", "env"), [
    ("srun-pmi2.sh", {}), ("mpirun.sh", {}), ("srun-pmix.sh", OPEN_MPI)], ids=["srun-pmi2", "mpirun", "srun-pmix"])
def test_the_warning_reaches_every_rank_once_and_their_status_is_that_of_the_job(cluster, place, script, env):
    job = submit(cluster, place, SCRIPTS / script, "counts", **env)
    assert running(place) == 8
    warn(cluster, job)
    ended = cluster.ended(job)
    assert (ended.state, ended.status) == ("FAILED", 75)
    assert [(place / f"told.{rank}").read_text() for rank in range(8)] == ["1\n"] * 8


def test_a_chain_does_not_believe_a_success_without_a_record(cluster, place):
    job = cluster.ended(submit(cluster, place, SCRIPTS / "chain.sh", "loses"))
    assert (job.state, job.status, job.restarts) == ("COMPLETED", 0, 1)


# The cluster itself

def test_clusters_come_and_go_and_leave_nothing(tmp_path):
    for _ in range(2):
        with slurm.slurm(num_nodes=1) as cluster:
            assert cluster.command("srun", "hostname") == "node1"
            assert processes(cluster.directory)
        assert not cluster.directory.exists() and not processes(cluster.directory)


def test_a_cluster_goes_with_the_process_that_asked_for_it(tmp_path):
    code = "import os, slurm\nwith slurm.slurm(1) as up: print(up.directory, flush=True); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=60)
    directory = Path(done.stdout.strip())
    assert done.returncode == -9 and directory.name.startswith("slurm.")
    slurm.until(lambda: not processes(directory) and not directory.exists(), "daemons and directory to go", 20)


def test_a_missing_slurm_is_an_error_that_names_the_packages(monkeypatch):
    monkeypatch.setattr(slurm, "PROGRAMS", ("slurmd", "no-such-daemon"))
    with pytest.raises(slurm.SlurmMissing, match=r"no-such-daemon not found[^$]*apt-get install .* munge slurmctld slurmd"):
        slurm.check_parts()

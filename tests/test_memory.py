"""Runs whose blocks take more memory than they may: the same bits, and the memory of each rank stays bounded."""

import json
import subprocess
import sys

import h5py
import numpy as np
import pytest
from launching import EXAMPLES, mpiflow

from mpiflow.peer.memory import available_memory

ROWS, WIDTH, BLOCKS = 400_000, 25, 40           # 80 MB
OPERATIONS = """\
import resource

import numpy as np

from mpiflow import operation


@operation(elementwise=True)
def bent(x):
    return np.sqrt(x + 1)


@operation
def peak(*others):
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
"""
DOCUMENT = """\
mpiflow: 1
name: large
operations: [ops.py]
datasets:
  x: {file: x.h5, path: x, blocks: 40}
  g: {random: {shape: [400000, 25], seed: 1}, blocks: 40}
steps:
  m: mean(x, axis=0)
  s: std(x - mean(x, axis=0), axis=0)
  y: bent(x)
  d: std(y - mean(y))
  z: std(g - mean(g))
  whole: y + g
results: {m: out.h5, s: out.h5, d: out.h5, z: out.h5, whole: whole.h5}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    with h5py.File(folder / "x.h5", "w") as opened:
        opened["x"] = np.random.default_rng(1).random((ROWS, WIDTH))
    (folder / "ops.py").write_text(OPERATIONS)
    (folder / "large.yaml").write_text(DOCUMENT)
    return folder


def run(folder, *options, num_ranks=2, document="large.yaml"):
    ended = mpiflow(num_ranks, folder / document, "--no-save", "--record", folder / "record.json", *options, cwd=folder)
    assert ended.status == 0, ended.err
    return ended.out, json.loads((folder / "record.json").read_text())


def arrays(folder):
    found = {}
    for file in ("out.h5", "whole.h5"):
        with h5py.File(folder / file) as opened:
            found |= {name: array[()] for name, array in opened.items()}
        (folder / file).unlink()
    return found


def test_little_memory_gives_the_same_bits_and_what_went_to_disk_is_told(folder):
    run(folder)
    expected = arrays(folder)
    scratch = folder / "scratch"
    for memory, num_ranks in (("20MB", 2), ("30MB", 1), ("15MB", 3)):
        out, record = run(folder, "--memory", memory, "--scratch", scratch, num_ranks=num_ranks)
        found = arrays(folder)
        assert found.keys() == expected.keys() and all(np.array_equal(found[name], expected[name]) for name in expected)
        assert record["spilled"] > 0 and record["read_again"] > 0
        assert len(record["scratch"]) == num_ranks and 0 < sum(record["scratch"]) <= record["spilled"]
        assert f"{record['spilled']} bytes" in out and "went to scratch files" in out
        assert not list(scratch.iterdir()), "scratch files are left"


def test_the_example_comes_to_its_end_although_blocks_have_no_room(folder):
    out, record = run(folder, "--set", "rows=100_000", "--memory", "8MB", document=EXAMPLES / "memory" / "workflow.yaml")
    with h5py.File(folder / "memory.h5") as opened:
        assert np.abs(opened["check"][()]).max() < 1e-12 and opened["counts/counts"][()].sum() > 2_000_000
    assert record["spilled"] > 0 and "went to scratch files" in out


def test_the_memory_of_a_rank_stays_bounded(folder):
    peaks, head = {}, DOCUMENT.split("steps:")[0]
    steps = {"none": "p: peak(count(x))", "all": "y: bent(x)\n  p: peak(std(x - mean(x)), std(y - mean(y)))"}
    for name, text in steps.items():
        (folder / f"{name}.yaml").write_text(f"{head}steps:\n  {text}\nresults: {{p: p.npy}}\n")
        run(folder, "--memory", "16MB", document=f"{name}.yaml")
        peaks[name] = int(np.load(folder / "p.npy"))
    assert peaks["all"] < peaks["none"] + 20e6, peaks


def test_a_task_whose_input_is_read_once_more_can_still_be_interrupted(tmp_path):
    (tmp_path / "ops.py").write_text(
        "import time\nfrom mpiflow import operation\n@operation\ndef slow(x, by):\n    time.sleep(60)\n    return x.sum() + by\n")
    (tmp_path / "late.yaml").write_text(
        "mpiflow: 1\nname: late\noperations: [ops.py]\n"
        "datasets: {a: {random: {shape: [750_000], seed: 1}}, c: {random: {shape: [750_000], seed: 2}}}\n"
        "steps: {m: mean(a), t: sum(sqrt(c + m)), s: {run: 'slow(a, t)', timeout: 1}}\nresults: {s: s.npy}\n")
    ended = mpiflow(1, tmp_path / "late.yaml", "--memory", "14MB", "--no-save", "--record", tmp_path / "record.json",
                    cwd=tmp_path, timeout=50)
    assert ended.status == 1 and "it took longer than 1 s" in ended.err
    assert json.loads((tmp_path / "record.json").read_text())["read_again"] > 0


def test_a_task_that_cannot_fit_is_refused_before_anything_runs(folder):
    ended = mpiflow(2, folder / "large.yaml", "--memory", "1MB", "--no-save", cwd=folder)
    assert ended.status == 2 and "use more memory or more blocks" in ended.err and ended.err.count("a task needs") == 1


# Memory of a node

def node(folder, groups, **limits):
    """Give the arguments for a node with 1000 KiB available whose process is in ``groups``."""
    proc, cgroups = folder / "proc", folder / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 5000 kB\nMemAvailable: 1000 kB\n")
    (proc / "self" / "cgroup").write_text(groups)
    for path, number in limits.items():
        file = cgroups / path.replace("__", "/").replace("DOT", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{number}\n")
    return proc, cgroups


def test_ranks_share_what_a_node_has(tmp_path):
    where = node(tmp_path, "0::/\n")
    assert available_memory(1, {}, *where) == 1000 << 10 and available_memory(4, {}, *where) == 250 << 10


@pytest.mark.parametrize("groups, limits", [
    ("0::/a/b\n", {"a__b__memoryDOTmax": "max", "a__memoryDOTmax": 9000, "a__memoryDOTcurrent": 1000}),
    ("4:cpu,memory:/a\n0::/\n", {"memory__a__memoryDOTlimit_in_bytes": 9000, "memory__a__memoryDOTusage_in_bytes": 1000})])
def test_the_limit_of_a_job_counts(tmp_path, groups, limits):
    assert available_memory(1, {}, *node(tmp_path, groups, **limits)) == 8000


@pytest.mark.parametrize("environment", [
    {"SLURM_MEM_PER_NODE": "4"}, {"SLURM_MEM_PER_CPU": "2", "SLURM_CPUS_ON_NODE": "2"},
    {"SLURM_MEM_PER_NODE": "4", "SLURM_MEM_PER_CPU": "", "SLURM_CPUS_ON_NODE": "1"}])
def test_what_slurm_grants_counts(tmp_path, environment):
    proc, cgroups = node(tmp_path, "0::/\n")
    (proc / "meminfo").write_text("MemAvailable: 9999999 kB\n")
    assert available_memory(2, environment, proc, cgroups) == 2 << 20


def test_a_system_that_does_not_say_gives_nothing(tmp_path):
    assert available_memory(1, {}, tmp_path, tmp_path) == 0
    assert available_memory(1) > 0, "this one does"


ALLOCATING = """\
import os
from pathlib import Path

import numpy as np

from mpiflow.peer.memory import return_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

return_memory(dict())
before = resident()
for _ in range(3):
    large = [np.ones(10_000_000, np.uint8) for _ in range(12)]
    between = [np.ones(50_000, np.uint8) for _ in range(40)]        # on the heap: what is below stays
    del large
print(resident() - before)
"""


def test_large_arrays_go_back_to_the_system():
    grown = subprocess.run([sys.executable, "-c", ALLOCATING], capture_output=True, text=True, check=True).stdout
    assert int(grown) < 30_000_000, "of 120 MB that are free"

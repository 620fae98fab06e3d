"""``run --report``, ``--trace``, ``--record``, and the verb ``report``: with real ranks, while a run goes on, and after it."""

import json
import sys
import time

import pytest
from launching import EXAMPLES, mpiflow, started
from test_html import embedded

SCENARIO = EXAMPLES / "scenarios" / "2-linear-two.yaml"
DOCUMENT = """\
mpiflow: 1
name: slow
operations: [ops.py]
datasets: {x: {random: {shape: [1000], seed: 1}, blocks: 2}}
steps:
  m: mean(x)
  late: waiting(m)
  after: late + 1
results: {m: m.npy, after: after.npy}
"""
OPERATIONS = """\
import time
from pathlib import Path

from mpiflow import operation


@operation
def waiting(x):
    while not Path("go").exists():
        time.sleep(0.01)
    raise ValueError("<b>no</b>")
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run that went well, and all that it left."""
    folder = tmp_path_factory.mktemp("done")
    ended = mpiflow(3, SCENARIO, "--record", "run.json", "--report", "out/run.html", "--trace", "run.trace.json", cwd=folder)
    assert (ended.status, ended.err) == (0, "")
    return folder


def read(file):
    return embedded(file.read_text())


def test_a_run_notes_when_blocks_moved_and_what_memory_ranks_had(done):
    record = json.loads((done / "run.json").read_text())
    ((block, source, rank, left, came),) = record["transfers"]
    assert [source, rank] == record["moved"][0][:2]
    made = record["tasks"][block]
    assert made["rank"] == source and 0 < made["start"] + made["seconds"] <= left <= came < record["seconds"] + 1
    assert [len(samples) > 0 and samples[-1][1] > 1 << 20 for samples in record["samples"]] == [True] * 3


def test_a_run_says_where_its_results_come_from(done):
    record = json.loads((done / "run.json").read_text())
    assert record["documents"] == {str(SCENARIO): SCENARIO.read_text()}
    assert {"mpiflow", "Python", "numpy", "h5py", "MPI"} <= set(record["versions"])
    assert set(record["operations"]) == {"real2bin"} and record["command"][0] == str(SCENARIO)


def test_a_run_leaves_a_report_with_its_results_and_a_trace(done):
    data = read(done / "out" / "run.html")
    assert (data["status"], data["name"], len(data["transfers"])) == (0, "scenario-2", 1)
    (file,) = data["results"]
    assert [(one["name"], one["kind"], one["shape"]) for one in file["previews"]] == [("answer", "line", [1000])]
    phases = [event["ph"] for event in json.loads((done / "run.trace.json").read_text())["traceEvents"]]
    assert (phases.count("X"), phases.count("b"), phases.count("s"), phases.count("f")) == (6, 1, 1, 1)


def test_the_verb_gives_the_same_from_the_store_or_a_record(done):
    ended = mpiflow(None, "report", "-o", "newest.html", "--trace", "newest.json", cwd=done)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.splitlines() == ["newest.json: trace of scenario-2, 6 tasks", "newest.html: report of scenario-2, 6 tasks"]
    assert mpiflow(None, "report", "run.json", cwd=done).status == 0
    (folder,) = done.glob(".mpiflow/runs/*")
    ended = mpiflow(None, "report", folder, "--trace", "newest.json", cwd=done)
    assert ended.out == "newest.json: trace of scenario-2, 6 tasks\n"
    first, again = read(done / "newest.html"), read(done / "report.html")
    assert first["tasks"] == again["tasks"] == read(done / "out" / "run.html")["tasks"]


@pytest.mark.parametrize(("arguments", "message"), [
    (["nothing"], ".mpiflow knows of no run nothing"),
    (["--store", "nowhere"], "nowhere knows of no run"),
    (["run.trace.json"], "run.trace.json: not the record of a run: Object missing required field `name`"),
    (["--every", "0"], "argument --every: '0' is no time in seconds of at least 0.1"),
    (["-o", "run.json/x.html"], "cannot write run.json/x.html: "),
])
def test_a_wrong_command_line_is_one_message(done, arguments, message):
    ended = mpiflow(None, "report", *arguments, cwd=done)
    assert ended.status == 2 and ended.err.count("mpiflow: error:") == 1 and message in ended.err


def test_it_shows_a_run_that_goes_on_and_one_that_has_failed(tmp_path):
    (tmp_path / "slow.yaml").write_text(DOCUMENT)
    (tmp_path / "ops.py").write_text(OPERATIONS)
    with started(["mpirun", "-n", "2", "python", "-m", "mpiflow", "slow.yaml", "--report", "end.html"], tmp_path) as run:
        while not list(tmp_path.glob(".mpiflow/runs/*/p*.json")):       # the first sign is there after about a second
            assert run.poll() is None, run.communicate()
            time.sleep(0.05)
        watching = [sys.executable, "-m", "mpiflow", "report", "--watch", "--every", "0.2", "-o", "now.html"]
        with started(watching, tmp_path) as watch:
            while not (tmp_path / "now.html").exists():
                assert watch.poll() is None, watch.communicate()
                time.sleep(0.05)
            now = read(tmp_path / "now.html")
            assert (now["status"], now["condition"], now["refresh"]) == (None, "running", 0.2)
            (tmp_path / "go").touch()
            run.communicate(timeout=60)
            out, _ = watch.communicate(timeout=60)              # it sees the end, and ends
            assert watch.returncode == 0 and out.count("now.html: report of slow") == 1
    end, now = read(tmp_path / "end.html"), read(tmp_path / "now.html")
    assert (now["status"], now["refresh"]) == (1, 0) and now["tasks"]["error"] == end["tasks"]["error"]
    assert end["status"] == run.returncode == 1
    assert any(error.startswith("Traceback") and "ValueError: <b>no</b>" in error for error in end["tasks"]["error"])
    assert {file["file"]: file["written"] for file in end["results"]}[str(tmp_path / "after.npy")] is False

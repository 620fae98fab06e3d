"""``plan``: what would run where, on any number of ranks, without MPI."""

import json
import subprocess
import sys

import pytest
import yaml
from launching import EXAMPLES, ROOT, mpiflow

from mpiflow.cli.arguments import nbytes as read_size
from mpiflow.planning.forecast import forecast
from mpiflow.planning.machine import Machine
from mpiflow.planning.tasks import Input, Kind, Task, TaskGraph, recipe_id
from mpiflow.report.planned import as_json, explanation, text

SCENARIO = EXAMPLES / "scenarios" / "7-mixed.yaml"
DOCUMENT = {
    "mpiflow": 1, "name": "t",
    "datasets": {"big": {"random": {"shape": [100_000]}, "rank": 1}, "cut": {"random": {"shape": [80_000]}, "blocks": 8}},
    "steps": {"m": "mean(cut)", "s": "sort(big) * m"}, "results": {"s": "s.npy"},
}


@pytest.fixture
def workflow(tmp_path):
    file = tmp_path / "w.yaml"
    file.write_text(yaml.safe_dump(DOCUMENT))
    return file


def found(*arguments):
    ended = mpiflow(None, "plan", *arguments, "--store", "none")       # no history: what was learned before must not count
    assert (ended.status, ended.err) == (0, "")
    return ended.out


def test_a_plan_says_what_runs_where_why_what_moves_and_how_long_it_takes():
    out = found(SCENARIO, "-n", "4")
    assert "scenario-7: plan " in out and "for 4 ranks on 1 node; 11 tasks" in out
    assert "the only rank that may" in out and "moves between ranks: 2 blocks, 16000 bytes" in out
    assert "predicted makespan: 0.012 s; lower bound: 0.012 s (gap" in out
    assert "critical path" in out and "memory for blocks, at most:" in out


def test_all_of_it_is_there_as_json(workflow):
    plan = json.loads(found(workflow, "-n", "3", "--ranks-per-node", "2", "--json"))
    assert plan["nodes"] == [0, 0, 1] and len(plan["memory"]) == 3 and len(plan["digest"]) == 32
    assert plan["makespan"] >= plan["bounds"]["seconds"] >= plan["bounds"]["critical_path"] > 0
    assert [task["number"] for task in plan["tasks"]] == list(range(len(plan["tasks"])))
    assert {task["rank"] for task in plan["tasks"] if task["step"] == "big"} == {1}
    assert sum(nbytes for *_, nbytes in plan["links"]) == plan["nbytes"]
    assert {"id", "step", "kind", "rank", "start", "seconds", "nbytes"} <= set(plan["tasks"][0])


def test_the_ranks_weighed_for_a_step_are_explained(workflow):
    out = found(workflow, "-n", "3", "--explain", "m")
    assert out.startswith("m: ") and "to move [bytes]" in out and "chosen" in out


def test_an_explanation_comes_as_json_too(workflow):
    explained = json.loads(found(workflow, "-n", "3", "--explain", "s", "--json"))["explain"]
    assert all(choice["rank"] in [item["rank"] for item in choice["weighed"]] for choice in explained)


def test_a_file_that_is_here_is_everywhere():
    out = found(EXAMPLES / "adk" / "workflow.yaml", "-n", "8", "--ranks-per-node", "4")
    assert "for 8 ranks on 2 nodes" in out


def test_parameters_can_be_set():
    few, many = (json.loads(found(SCENARIO, "-n", "2", "--set", f"n={n}", "--json")) for n in (1000, 100_000))
    assert few["makespan"] < many["makespan"]


def test_a_machine_can_be_given(workflow, tmp_path):
    file = tmp_path / "machine.json"
    file.write_text('{"latency": [1, 2], "bandwidth": [1e3, 1e2]}')
    plan = json.loads(found(workflow, "-n", "3", "--machine", file, "--json"))
    assert plan["latency"] == [1.0, 2.0] and plan["bandwidth"] == [1000.0, 100.0]


@pytest.mark.parametrize(("arguments", "message"), [
    (["-n", "0"], "'0' is no number of ranks"),
    (["-n", "two"], "'two' is no number of ranks"),
    (["--ranks-per-node", "-1"], "'-1' is no number of ranks"),
    (["--explain", "mm"], "--explain mm: the workflow has no such step; did you mean 'm'?"),
    (["--explain", "zzz"], "the workflow has no such step (steps: big, cut, m, s"),
    (["--memory", "4 parsecs"], "'4 parsecs' is no size; write for example 4GB"),
    (["--memory", "0"], "'0' is no size"),
    (["--memory", "1kB"], "a task needs 800000 bytes for its inputs and result"),
    (["--machine", "nowhere.json"], "--machine nowhere.json: cannot read it: No such file or directory"),
    (["--set", "x=1"], "the document has no parameter 'x'"),
])
def test_a_wrong_question_is_one_message_and_status_2(workflow, arguments, message):
    ended = mpiflow(None, "plan", workflow, *arguments)
    assert ended.status == 2 and ended.out == ""
    assert ended.err.count("mpiflow: error:") == 1 and message in ended.err


@pytest.mark.parametrize("content", [
    "[", "[]", '{"latency": [1]}', '{"bandwidth": [0, 1]}', '{"speed": 3}', '{"latency": [-1, 1]}'])
def test_a_wrong_machine_file_is_one_message_and_status_2(workflow, tmp_path, content):
    file = tmp_path / "machine.json"
    file.write_text(content)
    ended = mpiflow(None, "plan", workflow, "--machine", file)
    assert ended.status == 2 and ended.err.count("mpiflow: error:") == 1 and "--machine" in ended.err


def test_it_works_where_no_mpi_is_installed(workflow):
    program = "import sys; sys.modules['mpi4py'] = None; from mpiflow.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "plan", str(workflow), "-n", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("word", "nbytes"), [
    ("100", 100), ("4GB", 4 * 10**9), ("4G", 4 * 2**30), ("512MiB", 512 * 2**20), ("1.5 kB", 1500), ("2tb", 2 * 10**12),
    ("7B", 7)])
def test_sizes_are_understood(word, nbytes):
    assert read_size(word) == nbytes


# Text

def task(number, *needs, step="s", ranks=None, nbytes=1000):
    inputs = tuple(Input("", (needed,)) for needed in needs)
    return Task(recipe_id(number), Kind.APPLY, step, "f", inputs, nbytes=nbytes, seconds=0.01, ranks=ranks)


def test_thousands_of_tasks_in_hundreds_of_steps_on_hundreds_of_ranks_fit_the_screen():
    names = [f"a_step_with_quite_a_long_name_number_{n}" for n in range(300)]
    tasks = [task(n, *([n - 1000] if n >= 1000 else []), step=names[n % 300]) for n in range(4000)]
    lines = text(forecast(TaskGraph(tasks), Machine(tuple(rank // 16 for rank in range(256))), "many")).splitlines()
    assert len(lines) < 80 and max(map(len, lines)) <= 100
    assert any("and 260 more" in line for line in lines)


def test_on_few_ranks_all_that_may_run_a_task_are_weighed():
    tasks = [task(0, ranks=(2,), nbytes=10**9), task(1, 0), task(2, 0, ranks=(0, 3))]
    choices = json.loads(as_json(forecast(TaskGraph(tasks), Machine((0,) * 4), "w"), "s"))["explain"]
    assert [sorted(item["rank"] for item in choice["weighed"]) for choice in choices] == [[2], [0, 1, 2, 3], [0, 3]]
    assert [item["nbytes"] for item in choices[1]["weighed"]] == [0, 10**9, 10**9, 10**9]


def test_an_explanation_of_many_tasks_shows_the_first_and_counts_the_rest():
    out = explanation(forecast(TaskGraph([task(n) for n in range(50)]), Machine((0, 0)), "many"), "s")
    assert out.count("task ") == 20 and out.endswith("and 30 more tasks (all of them: --json)")


def test_reasons_are_those_of_the_placement():
    tasks = [task(0, ranks=(1,), nbytes=10**9), task(1, 0), task(2), task(3, 0, 2)]
    content = json.loads(as_json(forecast(TaskGraph(tasks), Machine((0, 0)), "w")))
    reasons = [item["reason"] for item in content["tasks"]]
    assert reasons[:3] == ["the only rank that may", "inputs made there", "free first"]
    assert reasons[3] in ("most bytes there", "inputs made there")


def test_the_gap_of_a_plan_that_is_as_short_as_can_be_is_zero():
    assert forecast(TaskGraph([task(n) for n in range(8)]), Machine((0, 0)), "w").gap == pytest.approx(0.0)
    assert forecast(TaskGraph([]), Machine((0, 0)), "w").gap == 0.0

"""Each benchmark runs in a tiny setting, prints its table and writes its figures. Nothing depends on how fast anything is."""

from __future__ import annotations

import importlib.util
import json
import sys

import numpy as np
import pytest
from launching import ROOT, launch

BENCHMARKS = ROOT / "benchmarks"
sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS / "sides")]

import chains  # noqa: E402
import grid  # noqa: E402
import measuring  # noqa: E402
import recorded  # noqa: E402
import taskbench  # noqa: E402

WITH_DASK = importlib.util.find_spec("distributed") is not None


def diamond(folder):
    """A recorded workflow: one task, two that need it, one that needs both."""
    parents = {"split": [], "left": ["split"], "right": ["split"], "join": ["left", "right"]}
    outputs = {"split": ["a", "b"], "left": ["c"], "right": ["d"], "join": ["e"]}
    inputs = {"split": [], "left": ["a"], "right": ["b"], "join": ["c", "d"]}
    tasks = [{"name": name, "id": name, "parents": above, "children": [child for child in parents if name in parents[child]],
              "inputFiles": inputs[name], "outputFiles": outputs[name]} for name, above in parents.items()]
    seconds = {"split": 1.0, "left": 2.0, "right": 5.0, "join": 1.0}
    execution = {"makespanInSeconds": 7.0, "executedAt": "2026-11-24T00:00:00+00:00",
                 "tasks": [{"id": name, "runtimeInSeconds": seconds[name], "coreCount": 1} for name in parents]}
    files = [{"id": name, "sizeInBytes": 1000 * number} for number, name in enumerate("abcde", 1)]
    file = folder / "diamond.json"
    file.write_text(json.dumps({
        "name": "diamond", "schemaVersion": "1.5",
        "workflow": {"specification": {"tasks": tasks, "files": files}, "execution": execution}}))
    return file


def benchmark(folder, name, *arguments):
    """Run a benchmark as a user does; give its output and its figures."""
    file = folder / "figures.json"
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *map(str, arguments), "--quick", "--json", str(file)]
    ended = launch(command, cwd=ROOT, timeout=300)
    assert ended.status == 0, ended.err
    return ended.out, json.loads(file.read_text())


@pytest.mark.parametrize(("name", "column", "num_rows"), [
    ("noop", "tasks/s, run", 5 + 2 * WITH_DASK),
    ("sweep", "run / no-op", 4),
    ("taskbench", "METG(50 %) [us]", 3 + WITH_DASK),
    ("transfers", "mpiflow / raw", 4),
    ("scenario2", "/ by hand on 2 ranks", 1),
    ("recorded", "run / bound", 1),
    ("epochs", "epoch / raw", 6),
    ("learning", "no learning / learning", 2),
    ("planning", "us / edge", 4),
    ("saving", "each [us]", 8),
    ("progress", "observed / unobserved", 3),
    ("streaming", "peak of a rank [MB]", 6),
    ("approaches", "MB on the busiest link", 12),
])
def test_a_benchmark_prints_a_table_and_writes_its_figures(tmp_path, name, column, num_rows):
    arguments = [diamond(tmp_path)] if name == "recorded" else []
    if name in ("noop", "taskbench") and not WITH_DASK:
        arguments.append("--without-dask")
    out, document = benchmark(tmp_path, name, *arguments)
    table = [line for line in out.splitlines() if line.startswith("|")]
    assert column in table[0] and len(table) == 2 + num_rows
    assert "these figures mean nothing" in out
    assert document["benchmark"] == name and document["settings"]["quick"] and document["figures"]
    assert document["machine"]["cores"] >= 1 and document["machine"]["mpi"] and "mpi4py" in document["machine"]["versions"]


# What is measured

def test_a_stencil_needs_the_neighbours():
    assert [grid.needed("stencil_1d", 1, column, 4) for column in range(4)] == [[0, 1], [0, 1, 2], [1, 2, 3], [2, 3]]


def test_a_butterfly_doubles_its_distance_and_starts_again():
    assert [grid.needed("fft", step, 0, 8) for step in range(1, 5)] == [[0, 1], [0, 2], [0, 4], [0, 1]]


def test_the_first_row_and_a_trivial_grid_need_nothing():
    assert grid.needed("stencil_1d", 0, 1, 4) == grid.needed("trivial", 3, 1, 4) == []


def test_a_kernel_refuses_what_another_row_made():
    assert list(grid.kernel(3, 2, 1, [grid.kernel(0, 1, 0, [])])) == [2, 1]
    with pytest.raises(ValueError, match="row 2 got a block of row 0"):
        grid.kernel(0, 2, 1, [grid.kernel(0, 0, 0, [])])


@pytest.mark.parametrize("pattern", grid.PATTERNS)
@pytest.mark.parametrize(("width", "num_ranks"), [(2, 2), (4, 2), (5, 3)])
def test_the_grid_by_hand_gets_every_block_to_where_it_is_needed(pattern, width, num_ranks):
    found = measuring.side("grid_raw.py", pattern, width, 9, 1, num_ranks=num_ranks, timeout=60)
    assert found["seconds"] > 0


@pytest.mark.parametrize("way", ["loop", "messages"])
def test_the_tasks_by_hand_come_to_an_end_for_any_number(way):
    assert measuring.side("noop_raw.py", way, 7, num_ranks=3, timeout=60)["seconds"] > 0


@pytest.mark.parametrize("workflow", chains.WORKFLOWS)
def test_a_chain_has_each_task_behind_those_that_it_needs(workflow):
    known = {"D1", "D2", "D3"}
    for task in chains.chain(workflow, 3, 2000):
        assert known.issuperset(task.needs)
        known.add(task.name)
    assert "answer" in known


def test_the_chains_compute_what_the_scenarios_do():
    one, two, three = (chains.dataset(number, 2000).reshape(1000, 2) for number in (1, 2, 3))
    assert np.array_equal(chains.answer("linear", 2, 2000), ((one >= 0.5) * 1 + (two >= 0.5)).sum(axis=1))
    assert np.allclose(chains.answer("nonlinear", 3, 2000), np.median(one + two + three, axis=1))
    assert np.allclose(chains.answer("mixed", 3, 2000), (one + two / 2 + three / 2).sum(axis=1))


# Figures

def sweep_from(start, **lengths):
    """A sweep over 10 tasks on one rank whose kernel takes 1 s an iteration, with seconds of overhead a task for each length."""
    sweep = taskbench.Sweep("x", "trivial", num_tasks=10, measure=lambda iterations: 0.0, start=start, ranks=1)
    for name, overhead in lengths.items():
        length = int(name[1:])
        sweep.add(length, [(10 * (length + overhead), 1.0)])
    return sweep


def test_metg_lies_where_efficiency_crosses_one_half():
    assert sweep_from(4, k4=8, k8=8).metg("median", 1.0) == pytest.approx(16)
    assert sweep_from(4, k4=12, k8=4).metg("best", 0.5) == pytest.approx(4 ** 0.4 * 8 ** 0.6)
    assert sweep_from(4, k4=8).metg("median", 1.0) is None


def test_metg_does_not_depend_on_how_fast_the_machine_was():
    fast, slow = sweep_from(4, k4=12, k8=4), sweep_from(4)
    for length, overhead in ((4, 12), (8, 4)):
        slow.add(length, [(10 * 3 * (length + overhead), 3.0)])
    assert fast.metg("median", 1.0) == pytest.approx(slow.metg("median", 1.0))


def test_a_sweep_doubles_or_halves_until_the_crossing_is_enclosed():
    assert sweep_from(64).following() == 64
    assert sweep_from(64, k64=100).following() == 128
    assert sweep_from(64, k64=30).following() == 32
    assert sweep_from(64, k64=30, k32=40).following() is None
    assert sweep_from(1, k1=0).following() is None


def test_the_critical_path_of_a_recorded_workflow_is_its_longest_chain(tmp_path):
    graph, nbytes = recorded.read(diamond(tmp_path))
    assert (recorded.critical_path(graph), nbytes) == (7.0, 15_000)


def test_in_turn_a_block_moves_once_to_each_rank_that_needs_it():
    tasks = [{"needs": needs, "nbytes": 10} for needs in ([], [0], [0], [0], [1, 2])]
    assert recorded.round_robin(tasks, 1) == 0
    assert recorded.round_robin(tasks, 2) == 20         # task 0 to rank 1 once, task 1 to rank 0


def test_ratios_compare_best_with_best_and_median_with_median():
    ours, other = measuring.summary([2.0, 6.0, 4.0]), measuring.summary([1.0, 2.0, 9.0])
    assert measuring.ratio(ours, other) == {"best": 2.0, "median": 2.0}


def test_things_are_measured_in_turn():
    seen = []
    measuring.in_turn({"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}, 2)
    assert seen == ["a", "b", "a", "b"]


def test_a_command_that_fails_or_hangs_ends_the_benchmark():
    with pytest.raises(SystemExit, match="status 4"):
        measuring.start([sys.executable, "-c", "raise SystemExit(4)"], 60)
    with pytest.raises(SystemExit, match="given up"):
        measuring.start([sys.executable, "-c", "import threading; threading.Event().wait()"], 0.5)

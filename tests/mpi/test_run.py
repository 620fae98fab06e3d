"""Whole runs on real ranks, many in one launch: right values wherever the data lies, the same bits everywhere."""

import os
import random
from pathlib import Path

import h5py
import numpy as np
import pytest

from mpiflow.errors import DocumentError, LaunchError
from mpiflow.peer.run import Request, run
from mpiflow.storage.generate import generate
from mpiflow.workflow.model import Random

SCENARIOS = Path(__file__).parents[2] / "examples" / "scenarios"


def numbers(seed, n=1_000_000):
    return generate(Random(shape=[n], seed=seed), 0, n)


def real2bin(x):
    return (x >= 0.5).reshape(1000, -1).sum(axis=1)


A, B, C = numbers(1), numbers(2), numbers(3)
EXPECTED = {
    "1-linear-one": lambda: real2bin(A),
    "2-linear-two": lambda: real2bin(A) + real2bin(B),
    "3-linear-three": lambda: real2bin(A) + real2bin(B) + real2bin(C),
    "4-nonlinear-one": lambda: np.median(A.reshape(1000, -1), axis=1),
    "5-nonlinear-two": lambda: np.median((A + B).reshape(1000, -1), axis=1),
    "6-nonlinear-three": lambda: np.median((A + B + C).reshape(1000, -1), axis=1),
    "7-mixed": lambda: (A + (B + C) / 2).reshape(1000, -1).sum(axis=1),
}
DATASETS = {name: name.count("one") or (2 if "two" in name else 3) for name in EXPECTED}


def run_here(comm, request):
    """Run and give the outcome, or the error's text."""
    try:
        return run(comm, request, lambda outcome: None)
    except (DocumentError, LaunchError) as error:
        return str(error)


def answer(folder, name):
    with h5py.File(folder / "results" / f"scenario-{name[0]}.h5") as file:
        return file["answer"][...]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_scenario_is_right_wherever_its_datasets_lie(comm, together, shared_tmp, name):
    chance = random.Random(name)
    expected, seen = EXPECTED[name](), set()
    for draw in range(5):
        ranks = {f"r{i + 1}": str(chance.randrange(8)) for i in range(DATASETS[name])}
        folder = shared_tmp / str(draw)
        outcome = run_here(comm, Request(SCENARIOS / f"{name}.yaml", ranks, folder))
        together(outcome.status)
        result = answer(folder, name)
        seen.add(result.tobytes())
        assert outcome.status == 0 and np.allclose(result, expected, rtol=1e-12)
    assert len(seen) == 1


def test_the_asking_rank_carries_no_dataset_and_one_partial_result_moves(comm, together, shared_tmp):
    outcome = run_here(comm, Request(SCENARIOS / "2-linear-two.yaml", {"r1": "1", "r2": "2"}, shared_tmp))
    moved = [(source, rank, blocks, nbytes) for source, traffic in enumerate(outcome.catalog.traffic)
             for rank, blocks, nbytes in traffic.sent]
    same = together(moved)
    apart = len({1 % comm.size, 2 % comm.size}) > 1
    assert same == [str(moved)] * comm.size
    assert [(blocks, nbytes) for _, _, blocks, nbytes in moved] == ([(1, 8000)] if apart else [])
    if comm.size > 2:
        assert all(0 not in (source, rank) for source, rank, *_ in moved)


def test_a_linear_operation_on_one_dataset_moves_nothing(comm, together, shared_tmp):
    outcome = run_here(comm, Request(SCENARIOS / "1-linear-one.yaml", {}, shared_tmp))
    assert together(sum(traffic.num_sent for traffic in outcome.catalog.traffic)) == ["0"] * comm.size


def test_ten_copies_of_scenario_2_all_finish(comm, together, shared_tmp):
    outcome = run_here(comm, Request(SCENARIOS / "ten.yaml", {}, shared_tmp))
    together(outcome.status)
    right = 0
    for i in range(10):
        with h5py.File(shared_tmp / "results" / "ten" / f"answer{i}.h5") as file:
            right += bool((file[f"answer{i}"][...] == real2bin(numbers(10 + i)) + real2bin(numbers(20 + i))).all())
    assert together(right) == ["10"] * comm.size


def write(shared_tmp, comm, together, text, name="workflow.yaml"):
    file = shared_tmp / name
    if comm.rank == 0:
        file.write_text(text)
    together("written")
    return file


CROSSWISE = """
mpiflow: 1
name: crosswise
operations: [ops.py]
datasets:
  x: {full: {shape: [12_500_000], value: 1}, rank: 0}
  y: {full: {shape: [12_500_001], value: 2}, rank: 1}
  above: {full: {shape: [12_600_000], value: 3}, rank: 0}
  below: {full: {shape: [12_600_000], value: 4}, rank: 1}
steps:
  there: ends(x, below)
  here: ends(y, above)
results: {here: here.npy, there: there.npy}
"""
OPS = """
from mpiflow import operation

@operation
def ends(x, y):
    return [x.size, x[0], x[-1], y[0], y[-1]]
"""


def test_two_ranks_that_send_100_megabytes_to_each_other_do_not_lock_up(comm, together, shared_tmp):
    write(shared_tmp, comm, together, OPS, "ops.py")
    file = write(shared_tmp, comm, together, CROSSWISE)
    outcome = run_here(comm, Request(file, {}, shared_tmp, store=shared_tmp / "none", replan=False))     # what moves is asserted
    together(outcome.status)
    sent = [traffic.sent for traffic in outcome.catalog.traffic]
    assert np.load(shared_tmp / "there.npy").tolist() == [12_500_000, 1, 1, 4, 4]
    assert np.load(shared_tmp / "here.npy").tolist() == [12_500_001, 2, 2, 3, 3]
    if comm.size > 1:
        assert [(rank, blocks) for (rank, blocks, _), in sent[:2]] == [(1, 1), (0, 1)]
        assert all(nbytes >= 100_000_000 for (_, _, nbytes), in sent[:2])


MANY_BLOCKS = """
mpiflow: 1
name: many-blocks
params: {blocks: 13}
datasets:
  x: {normal: {shape: [1000, 5], seed: 3, dtype: float32}, blocks: $blocks}
  y: {random: {shape: [1000, 5], seed: 4}, blocks: $blocks}
steps:
  spread: moments(x, axis=0)
  both: mean(x * 2 + y)
  scaled: (x - mean(x)) / std(x)
  flat: std(scaled)
  middle: median(concatenate(x, y))
  counts: histogram(x, range=[-3, 3], bins=17)
  high: max(x) + sum(x > 0)
results: {spread: r.h5, both: r.h5, flat: r.h5, middle: r.h5, counts: r.h5, high: r.h5, scaled: scaled.npy}
"""


def test_blocks_give_the_same_bits_on_any_number_of_ranks(comm, together, shared_tmp):
    file = write(shared_tmp, comm, together, MANY_BLOCKS)
    outcome = run_here(comm, Request(file, {}, shared_tmp))
    together(outcome.status)
    alone = comm.Split(comm.rank)
    own = shared_tmp / f"alone-{comm.rank}"
    run_here(alone, Request(file, {}, own))
    alone.Free()
    with h5py.File(shared_tmp / "r.h5") as many, h5py.File(own / "r.h5") as one:
        names = []
        many.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        same = all(many[name][...].tobytes() == one[name][...].tobytes() for name in names)
    scaled = np.load(shared_tmp / "scaled.npy").tobytes() == np.load(own / "scaled.npy").tobytes()
    x = generate(outcome.workflow.document.datasets["x"].normal, 0, 1000)
    right = np.allclose(np.load(own / "scaled.npy"), (x - x.mean(dtype="f8")) / x.std(dtype="f8"), atol=1e-6)
    assert together((len(names), same, scaled, right)) == ["(10, True, True, True)"] * comm.size


FILES = """
mpiflow: 1
name: node-local
params: {shared: shared.h5}
datasets:
  parts: {file: "part-*.npy", blocks: 2, unit: nm}
  shared: {file: $shared, path: /group/x, blocks: 3}
steps:
  total: sum(parts)
  rows: count(shared)
results: {total: total.npy, rows: rows.npy}
"""


def test_files_that_only_one_rank_sees_are_used_where_they_are(comm, together, shared_tmp):
    file = write(shared_tmp, comm, together, FILES)
    shared_file = shared_tmp / "shared.h5"
    own = shared_tmp / f"rank-{comm.rank}"
    own.mkdir()
    (own / "workflow.yaml").write_text(file.read_text())
    np.save(own / f"part-{comm.rank}.npy", np.full((10, 2), comm.rank, np.int32))
    if comm.rank == 0:
        with h5py.File(shared_file, "w") as opened:
            opened.create_dataset("group/x", data=np.arange(7), chunks=(2,), compression="gzip")
    together("written")
    os.chdir(own)           # each rank sees a directory of its own, as on node-local disks
    outcome = run_here(comm, Request(Path("workflow.yaml"), {"shared": str(shared_file)}, shared_tmp))
    together(getattr(outcome, "status", outcome))
    loads = {(task.block.file, outcome.catalog.tasks[number].rank)
             for number, task in enumerate(outcome.plan.graph.tasks) if task.block and task.step == "parts"}
    assert together(int(np.load(shared_tmp / "total.npy"))) == [str(20 * sum(range(comm.size)))] * comm.size
    assert loads == {(str(shared_tmp / f"rank-{rank}" / f"part-{rank}.npy"), rank) for rank in range(comm.size)}
    assert np.load(shared_tmp / "rows.npy") == 7


def test_a_file_that_no_rank_sees_is_one_problem_on_all(comm, together, shared_tmp):
    file = write(shared_tmp, comm, together, FILES)
    error = run_here(comm, Request(file, {}, shared_tmp))
    assert together(error) == [error] * comm.size
    assert "workflow.yaml:6:17: no rank sees a file that matches 'part-*.npy'" in error
    assert "workflow.yaml:7:18: no rank sees the file 'shared.h5'" in error


def test_ranks_that_see_different_documents_all_refuse(comm, together, shared_tmp):
    file = shared_tmp / f"workflow-{comm.rank == comm.size - 1}.yaml"
    write(shared_tmp, comm, together, MANY_BLOCKS, "workflow-False.yaml")
    write(shared_tmp, comm, together, MANY_BLOCKS + "\n# another\n", "workflow-True.yaml")
    outcome = run_here(comm, Request(file, {}, shared_tmp))
    if comm.size == 1:
        assert outcome.status == 0
    else:
        assert "ranks see different contents of" in outcome
        assert f"ranks {comm.size - 1} on" in outcome


def test_a_document_that_one_rank_cannot_read_is_an_error_that_names_the_rank(comm, together, shared_tmp):
    file = write(shared_tmp, comm, together, MANY_BLOCKS)
    last = comm.rank == comm.size - 1
    error = run_here(comm, Request(shared_tmp if last else file, {}, shared_tmp))
    assert together(error) == [error] * comm.size
    assert "cannot read the workflow: Is a directory" in error
    if comm.size > 1:
        assert f"(on rank {comm.size - 1}, " in error


def test_a_document_that_is_not_there_comes_from_a_rank_that_has_it(comm, together, shared_tmp):
    file = write(shared_tmp, comm, together, MANY_BLOCKS)
    last = comm.rank == comm.size - 1
    outcome = run_here(comm, Request(shared_tmp / "nowhere.yaml" if last else file, {}, shared_tmp))
    states = together(outcome if comm.size == 1 else outcome.status)
    assert all("cannot read the workflow: No such file" in s for s in states) if comm.size == 1 else states == ["0"] * comm.size


def test_an_operation_module_that_differs_on_one_rank_is_refused(comm, together, shared_tmp):
    own = shared_tmp / f"rank-{comm.rank}"
    own.mkdir()
    (own / "workflow.yaml").write_text(CROSSWISE)
    (own / "ops.py").write_text(OPS + ("# another\n" if comm.rank == comm.size - 1 else ""))
    os.chdir(own)
    outcome = run_here(comm, Request(Path("workflow.yaml"), {}, shared_tmp))
    states = together(outcome if comm.size > 1 else outcome.status)
    assert states == ["0"] if comm.size == 1 else all("different contents of the operation modules" in s for s in states)


REPLICATED = """
mpiflow: 1
name: replicated
datasets:
  x: {random: {shape: [50_000], seed: 1}, blocks: 4, replicas: 2}
  y: {random: {shape: [20_000], seed: 2}, rank: 1}
steps:
  scaled: {run: x - mean(y), replicas: 3}
  total: sum(scaled)
results: {total: total.npy, scaled: scaled.npy}
"""


def test_replicas_change_no_bit_and_move_exactly_what_the_plan_says(comm, together, shared_tmp):
    values = []
    for name, text in (("with", REPLICATED), ("without", REPLICATED.replace(", replicas: 2", "").replace(", replicas: 3", ""))):
        file = write(shared_tmp, comm, together, text, f"{name}.yaml")
        outcome = run_here(comm, Request(file, {}, shared_tmp / name, store=shared_tmp / name, replan=False))
        together(outcome.status)
        moved = {(source, rank): (blocks, nbytes) for source, traffic in enumerate(outcome.catalog.traffic)
                 for rank, blocks, nbytes in traffic.sent}
        assert moved == outcome.plan.links and (comm.size == 1 or bool(outcome.plan.holders) == (name == "with"))
        values.append([np.load(shared_tmp / name / file).tobytes() for file in ("total.npy", "scaled.npy")])
        holders = outcome.plan.holders.values()
        assert sorted(map(len, holders)) == ([2] * 4 + [min(3, comm.size)] * 4 if comm.size > 1 and name == "with" else [])
    assert values[0] == values[1]


FAILING = """
mpiflow: 1
name: failing
datasets:
  x: {arange: {stop: 10}, rank: 0}
  y: {arange: {stop: 10}, rank: 1}
steps:
  wrong: compare(x, median(y))
  after: sum(wrong.rms)
  apart: median(y) * 2
results: {after: after.npy, apart: apart.npy}
"""


@pytest.mark.parametrize("keep_going", [False, True])
def test_a_failing_step_is_reported_alike_on_all_ranks(comm, together, shared_tmp, keep_going):
    file = write(shared_tmp, comm, together, FAILING)
    outcome = run_here(comm, Request(file, {}, shared_tmp, keep_going))
    failed = [outcome.plan.graph.tasks[number].step for number in outcome.catalog.failed]
    states = together((outcome.status, failed, f"{outcome.catalog.digest:x}", (shared_tmp / "after.npy").exists()))
    assert states == [f"(1, ['wrong'], '{outcome.catalog.digest:x}', False)"] * comm.size
    assert "cannot be compared" in outcome.catalog.tasks[outcome.catalog.failed[0]].error
    if keep_going:
        assert np.load(shared_tmp / "apart.npy").item() == 9

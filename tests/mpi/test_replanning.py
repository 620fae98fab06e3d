"""New plans in the middle of real runs: the same bits, and less time lost."""

import random

import numpy as np
import pytest
import yaml

from mpiflow.peer import drift
from mpiflow.peer.run import Request, run
from mpiflow.planning import learning

OPERATIONS = """
import time
import numpy as np
from mpiflow import operation

@operation(nbytes=80)
def wait(*xs, i, seconds):
    time.sleep(seconds)
    return np.random.default_rng(i).random(10) + sum(x["x"].sum() if isinstance(x, dict) else x.sum() for x in xs)

@operation(nbytes=800_000)
def heavy(*xs, i, rows, seconds):
    time.sleep(seconds)
    block = np.random.default_rng(i).random(rows) + sum(x["x"].sum() if isinstance(x, dict) else x.sum() for x in xs)
    return {"x": block, "y": 1} if rows == 99_999 else block

@operation(linear=True, nbytes=80)
def gather(x):
    return x
"""


def written(folder, steps, results, comm, together):
    """Write a workflow on one rank; give its file on all."""
    file = folder / "workflow.yaml"
    if comm.rank == 0:
        folder.mkdir(exist_ok=True)
        (folder / "ops.py").write_text(OPERATIONS)
        file.write_text(yaml.safe_dump({"mpiflow": 1, "name": "w", "operations": ["ops.py"], "steps": steps, "results": results}))
    together("written")
    return file


@pytest.mark.parametrize("seed", range(4))
def test_values_are_the_same_bits_however_often_tasks_are_placed_anew(comm, together, shared_tmp, monkeypatch, seed):
    chance, steps = random.Random(seed), {}
    for i in range(40):
        needs = ", ".join(chance.sample(sorted(steps), min(len(steps), chance.choice([0, 1, 2]))))
        how = f"i={i}, seconds={chance.choice([0.0, 0.001, 0.02])}"
        rows = chance.choice([100_000] * 6 + [100_001, 99_999, 10])      # as expected, or not
        steps[f"s{i}"] = f"heavy({needs + ', ' if needs else ''}rows={rows}, {how})"
    steps["all"] = f"wait({', '.join(sorted(steps))}, i=40, seconds=0.0)"
    file = written(shared_tmp, steps, {"all": "all.npy"}, comm, together)
    values, plans = set(), []
    for name, eager in (("kept", False), ("moved", True)):
        if eager:
            for module, figure in ((learning, "LEAST_GAIN"), (learning, "LEAST_SHARE"), (learning, "SECONDS_PER_TASK"),
                                   (drift, "LEAST_GAIN")):
                monkeypatch.setattr(module, figure, 0.0)
        outcome = run(comm, Request(file, results=shared_tmp / name, store=shared_tmp / name, replan=eager), lambda done: None)
        together(outcome.status)
        values.add(np.load(shared_tmp / name / "all.npy").tobytes())
        plans.append(outcome.num_plans)
    counts = together(plans)
    assert len(values) == 1 and counts == [str(plans)] * comm.size
    assert plans[0] == 1 and (plans[1] > 1 or comm.size == 1)


def test_ranks_that_drift_apart_share_what_is_left(comm, together, shared_tmp):
    """The plan knows nothing of it, but one half of the tasks, which it has put together, takes ten times longer."""
    num = 20 * comm.size
    steps = {f"s{i}": f"wait(i={i}, seconds=0.0)" for i in range(num)}
    file = written(shared_tmp, steps, {}, comm, together)
    plan = run(comm, Request(file, store=shared_tmp / "none"), lambda done: None).plan
    slow = {i for i, task in enumerate(plan.graph.tasks) if plan.ranks[i] == 0}
    steps = {task.step: f"wait(i={task.step[1:]}, seconds={0.05 if number in slow else 0.005})"
             for number, task in enumerate(plan.graph.tasks)}
    file = written(shared_tmp / "again", steps, {}, comm, together)
    outcome = run(comm, Request(file, store=shared_tmp / "none"), lambda done: None)
    moved = sum(entry.rank != outcome.plan.ranks[number] for number, entry in enumerate(outcome.catalog.tasks))
    seen = together((outcome.num_plans, moved, outcome.status))
    assert len(set(seen)) == 1 and outcome.status == 0
    assert comm.size == 1 or moved > 0 or len({outcome.plan.ranks[i] for i in slow}) > 1

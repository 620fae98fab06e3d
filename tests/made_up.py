"""The record of a run that never was, as large as wanted, for tests and pictures of the report.

``python tests/made_up.py FILE`` writes one.
"""

import json
import math
import random
import sys
from hashlib import blake2b

TRACEBACK = """\
Traceback (most recent call last):
  File "/work/project/ops.py", line 41, in fit
    solution = np.linalg.solve(normal, right)
  File "/work/venv/lib/python3.11/site-packages/numpy/linalg/_linalg.py", line 413, in solve
    r = gufunc(a, b, signature=signature)
numpy.linalg.LinAlgError: Singular matrix"""
SECONDS = {"load": 0.03, "apply": 0.4, "combine": 0.02, "finish": 0.05, "write": 0.08}


class Making:
    """Tasks one after the other, each on the rank where it can end first among a few."""

    def __init__(self, size, seed):
        self.chance, self.size = random.Random(seed), size
        self.tasks, self.transfers, self.datasets = [], [], {}
        self.free, self.planned_free, self.here = [0.0] * size, [0.0] * size, {}

    def add(self, step, kind, operation="", needs=(), nbytes=1 << 20, seconds=1.0, instance="", rank=None, **parameters):
        number, chance = len(self.tasks), self.chance
        holders = [self.tasks[need]["rank"] for need in needs[:4]]
        rank = rank if rank is not None else min({*holders, *chance.sample(range(self.size), min(4, self.size))},
                                                 key=lambda one: (self.free[one], one))
        planned = SECONDS[kind] * seconds
        took, start = planned * chance.lognormvariate(0, 0.25), self.free[rank]
        for need in needs:
            source = self.tasks[need]
            end = source["start"] + source["seconds"]
            if source["rank"] != rank and (need, rank) not in self.here:
                self.here[need, rank] = end + 1e-4 + source["nbytes"] / 2e8
                self.transfers.append([need, source["rank"], rank, end + 2e-5, self.here[need, rank]])
            start = max(start, self.here.get((need, rank), end))
        self.free[rank] = start + took
        made = [self.tasks[need] for need in needs]
        before = max([self.planned_free[rank], *(one["planned_start"] + one["planned_seconds"] for one in made)])
        self.planned_free[rank] = before + planned
        self.tasks.append({
            "task": number, "id": blake2b(f"{step} {number}".encode(), digest_size=16).hexdigest(), "kind": kind,
            "step": step, "instance": instance, "operation": operation, "needs": list(needs),
            "planned_rank": rank, "rank": rank, "state": "done",
            "planned_start": before, "planned_seconds": planned, "planned_nbytes": nbytes, "start": start, "seconds": took,
            "nbytes": int(nbytes * chance.uniform(0.95, 1.05)), "error": "", "parameters": parameters, "columns": {"": nbytes}})
        return number

    def name(self, step, tasks, unit="", tags=()):
        self.datasets[step] = {"id": self.tasks[tasks[-1]]["id"], "tasks": list(tasks), "unit": unit, "tags": list(tags)}
        return tasks

    def merged(self, step, operation, parts):
        while len(parts) > 1:
            parts = [self.add(step, "combine", operation, parts[at:at + 2], 1 << 16) for at in range(0, len(parts), 2)]
        return parts[0]


def made_up(size=64, blocks=208, temperatures=16, seeds=33, failing=2, seed=1):
    """A record like those of ``mpiflow.report.record``; as it is, of about 2,000 tasks."""
    making = Making(size, seed)
    loads = [making.add("trajectory", "load", nbytes=24 << 20, rank=at * size // blocks) for at in range(blocks)]
    traj = making.name("trajectory", loads, "angstrom", ["md"])
    moved = [making.add("aligned", "apply", "superpose", [one], 24 << 20) for one in traj]
    aligned = making.name("aligned", moved, "angstrom", ["md"])
    for step, operation, weight in (("gyration", "gyration", 0.4), ("contacts", "contacts", 1.6)):
        making.name(step, [making.add(step, "apply", operation, [one], 1 << 14, weight) for one in aligned], tags=["result"])
    parts = [making.add("covariance", "apply", "outer", [one], 4 << 20, 0.7) for one in aligned]
    covariance = making.name("covariance", [making.merged("covariance", "outer", parts)])
    modes = making.name("modes", [making.add("modes", "finish", "eigh", covariance, 4 << 20, 40)], tags=["result"])
    projection = [making.add("projection", "apply", "project", [one, *modes], 1 << 16, 0.2) for one in aligned]
    making.name("projection", projection)
    sweep = []
    for warmth in range(250, 250 + 10 * temperatures, 10):
        for number in range(seeds):
            sweep.append(making.add("sweep", "apply", "langevin", [projection[len(sweep) % blocks]], 6 << 20, 2.2,
                                    f"T={warmth},seed={number}", T=warmth, seed=number))
    making.name("sweep", sweep, "kJ/mol")
    fits = [making.add("fit", "apply", "fit", sweep[at * seeds:(at + 1) * seeds], 1 << 14, 3, f"T={250 + 10 * at}")
            for at in range(temperatures)]
    making.name("fit", fits)
    for at in range(1, 1 + failing):
        making.tasks[fits[at]].update(state="failed", error=TRACEBACK, nbytes=0)
    good = [one for at, one in enumerate(fits) if not 1 <= at < 1 + failing]
    summary = making.name("summary", [making.add("summary", "apply", "table", good, 1 << 12)], tags=["result"])
    if failing:
        making.tasks[summary[0]].update(state="cancelled", rank=-1, start=0.0, seconds=0.0, nbytes=0)
    making.add("results/modes.h5", "write", "", [modes[0]], 4 << 20, rank=0, file="results/modes.h5")
    return _record(making, failing)


def _record(making, failing):
    end = max(task["start"] + task["seconds"] for task in making.tasks)
    moved, hosts = {}, [f"node{rank // 16 + 1:02}" for rank in range(making.size)]
    for block, source, rank, _, _ in making.transfers:
        blocks, nbytes = moved.get((source, rank), (0, 0))
        moved[source, rank] = blocks + 1, nbytes + making.tasks[block]["nbytes"]
    links = [[*link, *carried] for link, carried in sorted(moved.items())]
    return {
        "name": "adk-landscape", "run": "20261126-120000-adk", "started": "2026-11-26T12:00:00+00:00",
        "status": 1 if failing else 0, "hosts": hosts, "seconds": end + 0.01, "preparation": 0.8, "warnings": [],
        "rounds": ["2026-11-26T12:00:00+00:00"], "predicted_bytes": sum(nbytes for *_, nbytes in links),
        "predicted_seconds": max(task["planned_start"] + task["planned_seconds"] for task in making.tasks),
        "plan": "3f1c9a5b" * 4, "num_plans": 2, "spilled": 0, "read_again": 0,
        "peak_memory": [int(4e8 + 3e6 * (rank % 7)) for rank in range(making.size)], "catalog": "00c0ffee00c0ffee", "epochs": 412,
        "machine": {"latency": [1e-6, 2e-5], "bandwidth": [8e9, 1.2e9]}, "stopped_by": [], "reasons": {}, "tasks": making.tasks,
        "moved": links, "planned_moved": links, "datasets": making.datasets,
        "transfers": sorted(making.transfers, key=lambda one: one[-1]), "samples": _samples(making.size, end),
        "versions": {"mpiflow": "0.1.0", "Python": "3.11.2", "numpy": "2.3.5", "h5py": "3.15.1", "MPI": "MPICH 5.0.2"},
        "operations": dict.fromkeys(["fit", "gyration", "langevin", "project", "superpose"], "9b1f" * 8),
        "document": "landscape.yaml", "results": "results", "digest": "5e" * 16,
        "overrides": {"frames": "20000"},
        "command": ["landscape.yaml", "--set", "frames=20000", "--report", "report.html"],
        "documents": {"landscape.yaml": "mpiflow: 1\nname: adk-landscape\nsteps:\n  aligned: superpose(trajectory, first)\n"}}


def _samples(size, end, num=200):
    """Memory that grows and shrinks again, on some ranks more than on others."""
    return [[[end * at / num, int(1.2e8 + 2.6e8 * math.sin(math.pi * at / num) ** 2 * (0.6 + rank % 9 / 20))]
             for at in range(num + 1)] for rank in range(size)]


if __name__ == "__main__":
    with open(sys.argv[1], "w") as opened:
        json.dump(made_up(), opened)

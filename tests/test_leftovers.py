"""``gc``: what no workflow's last run refers to goes; what a run that goes on uses stays, and so does what nobody can judge."""

import json
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from msgspec.structs import replace
from storing import made

from mpiflow.operations.values import as_value
from mpiflow.planning.tasks import recipe_id
from mpiflow.storage.leftovers import YOUNG, delete, leftovers, past_runs
from mpiflow.storage.shelf import Shelf, block_file
from mpiflow.storage.store import read_store

LARGE = as_value(np.zeros(1000))
OLD = time.time() - 100 * 86400


def age(folder):
    """Make all files of a store old, but for their order."""
    for number, file in enumerate(sorted(folder.rglob("*"))):
        os.utime(file, (OLD + number, OLD + number))


def save(store, run, numbers, workflow="w", end=True, value=LARGE, inline=100):
    shelf = Shelf(store, run, 0, inline)
    for number in numbers:
        shelf.add(replace(made(number, value), workflow=workflow), value)
    shelf.commit()
    shelf.end() if end else shelf.close()


def run_folder(store, run, numbers, workflow="w", status=0, **rank):
    folder = store / "runs" / run
    folder.mkdir(parents=True)
    said = {"name": workflow, "status": status, "tasks": [{"id": recipe_id(number), "step": "s"} for number in numbers]}
    (folder / ("plan.json" if status is None else "record.json")).write_text(json.dumps(said))
    if rank:
        (folder / "rank-0.json").write_text(json.dumps({"host": socket.gethostname(), "time": time.time()} | rank))
    os.utime(folder, (time.time(), time.time()))        # files have the time of the last tick, journals say it themselves


def left(store, **options):
    """What is there after a collection: numbers of blocks that can be loaded, names of journals and of runs."""
    delete(leftovers(store, past_runs(store, options.pop("dead", ()), options.pop("also", ())), **options))
    blocks = sorted(number for number in range(20) if block_file(store, recipe_id(number)).exists())
    return blocks, [file.name[0] for file in sorted(store.glob("journals/*"))], sorted(f.name for f in store.glob("runs/*"))


def test_what_only_earlier_runs_refer_to_goes(tmp_path):
    save(tmp_path, "a", [0, 1])
    save(tmp_path, "b", [2])
    run_folder(tmp_path, "a", [0, 1])
    run_folder(tmp_path, "b", [1, 2])           # it took 1 from the run before
    assert left(tmp_path) == ([1, 2], ["a", "b"], ["b"])        # 1 is told of by the journal of a


def test_a_journal_goes_with_the_last_block_that_somebody_needs(tmp_path):
    save(tmp_path, "a", [0, 1])
    save(tmp_path, "b", [2])
    run_folder(tmp_path, "a", [0, 1])
    run_folder(tmp_path, "b", [2])
    assert left(tmp_path) == ([2], ["b"], ["b"])
    assert list(read_store(tmp_path).made) == [recipe_id(2)] and not list((tmp_path / "blocks").glob("*/.*"))


def test_each_workflow_has_a_last_run_and_more_can_be_kept(tmp_path):
    for number, (run, workflow) in enumerate([("a", "v"), ("b", "w"), ("c", "w"), ("d", "w")]):
        save(tmp_path, run, [number], workflow)
        run_folder(tmp_path, run, [number], workflow)
    assert left(tmp_path, keep=2) == ([0, 2, 3], ["a", "c", "d"], ["a", "c", "d"])
    assert left(tmp_path) == ([0, 3], ["a", "d"], ["a", "d"])


def test_what_is_younger_than_asked_for_stays(tmp_path):
    save(tmp_path, "a", [0])
    run_folder(tmp_path, "a", [0])
    age(tmp_path)
    save(tmp_path, "b", [1])
    save(tmp_path, "c", [2])
    run_folder(tmp_path, "b", [1])
    run_folder(tmp_path, "c", [2])
    assert left(tmp_path, older=86400.0) == ([1, 2], ["b", "c"], ["b", "c"])


def test_without_a_folder_nobody_knows_what_a_run_took_from_those_before_it(tmp_path):
    save(tmp_path, "a", [0])
    save(tmp_path, "b", [1])
    assert left(tmp_path) == ([0, 1], ["a", "b"], [])
    save(tmp_path, "c", [2])
    run_folder(tmp_path, "c", [1, 2])
    assert left(tmp_path) == ([1, 2], ["b", "c"], ["c"])


def test_small_blocks_stay_in_a_journal_that_has_others(tmp_path):
    save(tmp_path, "a", [0, 1], value=as_value(1.5), inline=1000)
    run_folder(tmp_path, "b", [0])
    found = leftovers(tmp_path, past_runs(tmp_path))
    assert not found.nbytes and found.bound == 8


@pytest.fixture
def sleeper():
    """A process that is alive."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()
    process.stdin.close()


def test_what_a_run_that_goes_on_uses_stays(tmp_path, sleeper):
    save(tmp_path, "a", [0, 1])
    run_folder(tmp_path, "a", [0, 1])
    run_folder(tmp_path, "b", [0], status=None, pid=sleeper.pid)
    run_folder(tmp_path, "c", [5])
    assert left(tmp_path) == ([0], ["a"], ["b", "c"])
    sleeper.kill()
    sleeper.wait()
    assert left(tmp_path) == ([], [], ["c"])


def test_nothing_goes_while_a_run_may_go_on_of_which_nothing_else_is_known(tmp_path, command):
    save(tmp_path, "a", [0])
    run_folder(tmp_path, "a", [1])
    save(tmp_path, "b", [1], end=False)         # by this process, which is alive
    ended = command("gc", "--store", tmp_path)
    assert ended.status == 1 and f"process {os.getpid()} on this node" in ended.err and "--dead b" in ended.err
    assert block_file(tmp_path, recipe_id(0)).exists()
    assert command("gc", "--store", tmp_path, "--dead", "b").status == 0
    assert block_file(tmp_path, recipe_id(1)).exists()


def test_a_rank_of_another_node_counts_as_alive_as_long_as_it_is_heard(tmp_path):
    save(tmp_path, "a", [0])
    run_folder(tmp_path, "a", [0], status=None, pid=1, host="elsewhere")
    run_folder(tmp_path, "b", [5])
    assert left(tmp_path)[0] == [0]
    (tmp_path / "runs/a/rank-0.json").write_text(json.dumps({"host": "elsewhere", "pid": 1, "time": OLD}))
    assert left(tmp_path)[0] == []


def test_a_block_whose_record_may_come_yet_stays(tmp_path):
    save(tmp_path, "a", [0])
    run_folder(tmp_path, "b", [5])
    (tmp_path / "journals/a-0.journal").unlink()
    assert left(tmp_path)[0] == [0]
    os.utime(block_file(tmp_path, recipe_id(0)), (time.time() - 2 * YOUNG,) * 2)
    assert left(tmp_path)[0] == []


def test_a_cache_is_judged_by_the_runs_of_the_stores_that_use_it(tmp_path):
    cache, store = tmp_path / "cache", tmp_path / "store"
    save(cache, "a", [0])
    save(cache, "b", [1])
    run_folder(store, "a", [0])
    run_folder(store, "b", [1])
    assert left(cache)[0] == [0, 1]
    assert left(cache, also=[store])[0] == [1] and sorted(f.name for f in store.glob("runs/*")) == ["a", "b"]


def test_gc_says_what_it_would_delete_and_then_does(tmp_path, command):
    save(tmp_path, "a", [0, 1])
    save(tmp_path, "b", [2])
    run_folder(tmp_path, "a", [0, 1])
    run_folder(tmp_path, "b", [2])
    said = json.loads(command("gc", "--store", tmp_path, "--dry-run", "--json").out)
    assert len(said["blocks"]) == 2 and said["kept"] == ["b"]
    assert said["nbytes"] == leftovers(tmp_path, past_runs(tmp_path)).nbytes
    ended = command("gc", "--store", tmp_path)
    assert ended.out.startswith("kept: run b of w\ndeleted: 2 blocks, 1 journal, 1 folder of a run: ")
    assert "0 blocks, 0 journals" in command("gc", "--store", tmp_path).out


@pytest.mark.parametrize("words", [["--older-than", "soon"], ["--keep-last", "0"], ["--store", "nowhere"]])
def test_a_wrong_command_is_one_message(command, words, tmp_path):
    ended = command("gc", *words, cwd=tmp_path)
    assert ended.status == 2 and ended.err.startswith("mpiflow: error: ")

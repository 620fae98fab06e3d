"""Going on after a crash, a stop or a change: the same bits, nothing twice that was saved, true reasons; as a user runs it."""

import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
from launching import launch, mpiflow, started

from mpiflow.storage.store import read_store

OPS = '''
import os, signal, time
import numpy as np
from mpiflow import operation

def called(*words):
    with open(os.environ["CALLS"], "a") as opened:
        opened.write(" ".join(map(str, (os.getpid(), *words))) + "\\n")

@operation
def first(x, i, by):
    called("first", i)
    time.sleep(0.02)                    # long enough to be worth saving
    return x * by + i

@operation(linear=True)
def second(x):
    called("second", int(x.min()))
    while not os.path.exists(os.environ["GATE"]):
        if "POLITE" in os.environ and signal.getsignal(signal.SIGUSR1).__self__.asked:
            break                       # it comes to its end in time
        time.sleep(0.01)
    time.sleep(0.02)
    return x.reshape(1000, -1).sum(axis=1)
'''
WORKFLOW = """
mpiflow: 1
name: long
params: {by: 0.5, num: 8}
operations: [ops.py]
datasets:
  x: {random: {shape: [20_000], seed: 1}, blocks: 4}
steps:
  first: {for: {i: range($num)}, run: first, in: {x: x}, with: {i: $i, by: $by}}
  total: second(first)
results: {total: total.npy, first: first.h5}
"""
OTHER = WORKFLOW.replace("name: long", "name: other").replace("total: second(first)", "most: max(first)").replace(
    "{total: total.npy, first: first.h5}", "{most: most.npy}")


class Place:
    """A folder with the workflow, what its operations have noted, and the gate at which they wait."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, folder / ".mpiflow"
        self.env = {"CALLS": str(folder / "calls"), "GATE": str(folder / "gate")}

    def write(self) -> None:
        (self.folder / "ops.py").write_text(OPS)
        (self.folder / "workflow.yaml").write_text(WORKFLOW)
        (self.folder / "other.yaml").write_text(OTHER)

    def open(self) -> None:
        """Operations do not wait any more."""
        (self.folder / "gate").touch()

    def run(self, num_ranks, *options, file="workflow.yaml", env=None):
        return mpiflow(num_ranks, file, "--record", "run.json", *options, cwd=self.folder, env=self.env | (env or {}))

    @property
    def record(self):
        return json.loads((self.folder / "run.json").read_text())

    @property
    def reasons(self):
        """Why steps ran; those that were kept are left out."""
        return {step: reason for step, reason in self.record["reasons"].items() if reason != "kept"}

    @property
    def calls(self):
        """How often each operation was called for each of its blocks."""
        file = self.folder / "calls"
        return Counter(line.partition(" ")[2] for line in file.read_text().splitlines()) if file.exists() else Counter()

    def fresh_calls(self):
        """Forget the calls so far."""
        (self.folder / "calls").unlink(missing_ok=True)

    @property
    def results(self):
        with h5py.File(self.folder / "first.h5") as opened:
            return np.load(self.folder / "total.npy").tobytes(), opened["first"][...].tobytes()

    @property
    def stamps(self):
        return [os.stat(self.folder / name).st_mtime_ns for name in ("total.npy", "first.h5")]

    @property
    def blocks(self):
        """The block files of ``first``."""
        return sorted(file for file in (self.store / "blocks").glob("*/*") if file.stat().st_size > 100_000)

    def wait_for_the_middle(self, process, num_ranks) -> list[int]:
        """Wait until ``first`` is saved and all ranks wait at the gate; give the processes."""
        limit = time.monotonic() + 90
        while time.monotonic() < limit and process.poll() is None:
            saved = sum(made.step == "first" for made in read_store(self.store).made.values())
            lines = (self.folder / "calls").read_text().splitlines() if saved else []
            waiting = {int(line.split()[0]) for line in lines if "second" in line}
            if saved == 8 and len(waiting) == num_ranks:
                return sorted(waiting)
            time.sleep(0.02)
        raise AssertionError("the run did not come to its middle")


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    made.write()
    return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that went through on two ranks."""
    made = Place(tmp_path_factory.mktemp("whole"))
    made.write()
    made.open()
    ended = made.run(2)
    assert (ended.status, ended.err) == (0, "")
    return made


@pytest.fixture
def after(whole, tmp_path):
    """A folder as that run left it, with no calls yet."""
    shutil.copytree(whole.folder, tmp_path / "after")
    made = Place(tmp_path / "after")
    made.fresh_calls()
    return made


def command(num_ranks, *options):
    return ["mpirun", "-n", str(num_ranks), sys.executable, "-m", "mpiflow", "workflow.yaml", *options]


# Ends before the end

@pytest.mark.parametrize("num_ranks", [1, 3])
def test_after_a_rank_was_killed_another_number_of_ranks_goes_on(place, whole, num_ranks):
    with started(command(2), place.folder, place.env) as process:
        os.kill(place.wait_for_the_middle(process, 2)[1], signal.SIGKILL)
        assert process.wait(timeout=60) != 0
    place.open()
    ended = place.run(num_ranks, "--resume")
    assert (ended.status, ended.err) == (0, "")
    assert place.results == whole.results
    assert all(times == 1 for call, times in place.calls.items() if call.startswith("first")), "what was saved is not run again"
    assert "kept of earlier work:" in ended.out and "never ran: " in ended.out
    assert place.reasons["total"] == "never ran" and "first" not in place.reasons


@pytest.mark.parametrize(("number", "num_ranks"), [(signal.SIGUSR1, 3), (signal.SIGTERM, 1), (signal.SIGINT, 4)])
def test_a_signal_stops_a_run_with_status_75_and_it_goes_on_on_another_number_of_ranks(place, whole, number, num_ranks):
    with started(command(2, "--grace", "0.1"), place.folder, place.env) as process:
        place.wait_for_the_middle(process, 2)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (75, "")
    assert "long: STOPPED in" in out and "the same command with --resume goes on" in out
    assert "not run" in out and "cancelled" not in out
    place.open()
    ended = place.run(num_ranks, "--resume")
    assert (ended.status, ended.err) == (0, "")
    assert place.results == whole.results
    calls = place.calls
    assert all(times == 1 for call, times in calls.items() if call.startswith("first"))
    assert sum(calls.values()) <= 16 + 2, "at most what ran on each rank runs twice"


def test_what_comes_to_its_end_in_the_grace_period_is_kept(place, whole):
    with started(command(2), place.folder, place.env | {"POLITE": ""}) as process:
        place.wait_for_the_middle(process, 2)
        process.send_signal(signal.SIGUSR1)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (75, "")
    place.open()
    ended = place.run(3, "--resume")
    assert (ended.status, place.results) == (0, whole.results)
    assert place.calls == dict.fromkeys(place.calls, 1) and len(place.calls) == 16, "nothing runs twice"


def test_a_stopped_run_without_saving_does_not_promise_to_go_on(place):
    with started([sys.executable, "-m", "mpiflow", "workflow.yaml", "--grace", "0", "--no-save"], place.folder,
                 place.env) as process:
        while not place.calls and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "--resume" not in out and "nothing was saved (--no-save)" in out


def test_a_signal_that_comes_before_the_first_task_stops_the_run_as_well(place):
    ops = place.folder / "ops.py"
    ops.write_text(OPS + "import signal\nif 'EARLY' in os.environ:\n    os.kill(os.getpid(), signal.SIGUSR1)\n")
    assert place.run(2, "--grace", "0", env={"EARLY": ""}).status == 75
    place.open()
    assert place.run(1, "--resume").status == 0


# Reasons

def test_when_nothing_has_changed_nothing_runs_and_results_are_not_touched(after):
    before = after.stamps
    ended = after.run(3, "--resume")
    assert (ended.status, ended.err) == (0, "")
    num = len(after.record["tasks"])
    assert f"kept of earlier work: {num} of {num} tasks\n" in ended.out
    assert "result: total.npy, kept" in ended.out and "result: first.h5, kept" in ended.out
    assert not after.calls and after.stamps == before
    assert set(after.record["reasons"].values()) == {"kept"} and "x" not in after.record["reasons"]


def test_without_resume_everything_runs_again(after):
    assert after.run(None).status == 0
    assert len(after.calls) == 16 and not after.record["reasons"]


def test_another_parameter_is_a_changed_input(after, whole):
    assert after.run(None, "--resume", "--set", "by=0.25").status == 0
    assert after.reasons == dict.fromkeys(["first", "total", "total.npy", "first.h5"], "input changed")
    assert len(after.calls) == 16 and after.results != whole.results


def test_both_of_two_parameters_stay_in_the_store(after, whole):
    assert after.run(None, "--resume", "--set", "by=0.25").status == 0
    after.fresh_calls()
    assert after.run(None, "--resume").status == 0
    assert not after.calls and after.results == whole.results
    assert after.reasons == {"total": "not saved", "total.npy": "lost", "first.h5": "lost"}, "results were written over"


def test_another_text_of_the_module_is_changed_code(after, whole):
    (after.folder / "ops.py").write_text(OPS + "# changed\n")
    assert after.run(None, "--resume").status == 0
    assert after.reasons == {"first": "code changed", "total": "code changed", "total.npy": "input changed",
                             "first.h5": "input changed"}
    assert len(after.calls) == 16 and after.results == whole.results


def test_a_block_that_was_deleted_is_made_again_when_it_is_needed(after, whole):
    after.blocks[0].unlink()
    assert after.run(2, "--resume").status == 0
    assert not after.calls, "nobody needs it"
    (after.folder / "first.h5").unlink()
    assert after.run(2, "--resume").status == 0
    assert after.reasons == {"first": "lost", "first.h5": "lost"}
    assert sum(after.calls.values()) == 1 and after.results == whole.results


def test_a_block_that_is_damaged_is_made_again_and_the_summary_says_what_was_wrong(after, whole):
    file = after.blocks[0]
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    (after.folder / "first.h5").unlink()
    ended = after.run(2, "--resume")
    assert (ended.status, ended.err) == (0, "")
    assert after.reasons == {"first": "lost", "first.h5": "lost"} and after.results == whole.results
    assert f"damaged: {file}: the checksum of bytes" in ended.out
    assert sum(after.calls.values()) == 1
    after.fresh_calls()
    (after.folder / "first.h5").unlink()
    assert after.run(None, "--resume").status == 0
    assert not after.calls and after.results == whole.results, "the damaged file was replaced"


def test_a_forced_step_runs_again_with_what_depends_on_it(after, whole):
    assert after.run(2, "--resume", "--force", "total").status == 0
    assert after.reasons == {"total": "forced", "total.npy": "forced"}
    assert set(after.calls) == {f"second {i}" for i in range(8)} and after.results == whole.results


def test_a_step_that_has_grown_runs_only_what_is_new(after):
    assert after.run(2, "--resume", "--set", "num=9").status == 0
    assert after.calls == Counter(["first 8", "second 8"])
    assert after.reasons["first"] == after.reasons["total"] == "never ran"


@pytest.mark.parametrize("spoil", [Path.unlink, lambda file: file.write_bytes(b"spoiled")], ids=["deleted", "changed"])
def test_a_file_of_results_that_is_not_as_it_was_is_written_again_once(after, whole, spoil):
    before = after.stamps
    spoil(after.folder / "total.npy")
    assert after.run(None, "--resume").status == 0
    assert after.reasons == {"total": "not saved", "total.npy": "lost"} and not after.calls, "combining is too short to save"
    assert after.results == whole.results and after.stamps[1] == before[1]
    again = after.stamps
    assert after.run(None, "--resume").status == 0
    assert after.stamps == again and not after.reasons


def test_results_in_another_folder_are_written_there(after):
    (after.folder / "there").mkdir()
    assert after.run(None, "--resume", "--results", "there").status == 0
    assert not after.calls and (after.folder / "there" / "total.npy").exists()


# Stores

def test_workflows_share_what_they_have_in_common_in_a_cache(place):
    place.open()
    assert place.run(2, "--cache", "cache").status == 0
    place.fresh_calls()
    ended = place.run(3, "--cache", "cache", file="other.yaml")
    assert (ended.status, ended.err) == (0, "")
    assert not place.calls and place.record["reasons"] == {"first": "kept", "most": "never ran", "most.npy": "never ran"}
    assert np.load(place.folder / "most.npy") > 7
    assert not (place.store / "journals").exists()


def test_a_cache_can_be_read_only_by_choice(place):
    place.open()
    assert place.run(2, "--cache", "cache").status == 0
    before = sorted((place.folder / "cache").rglob("*"))
    place.fresh_calls()
    assert place.run(2, "--cache", "cache", "--no-save", "--force", "total").status == 0
    assert len(place.calls) == 8
    assert sorted((place.folder / "cache").rglob("*")) == before


def test_without_saving_no_blocks_are_left(place):
    place.open()
    assert place.run(2, "--no-save").status == 0
    assert sorted(file.name for file in place.store.iterdir()) == ["history.json", "runs"]


def test_each_rank_may_have_a_store_of_its_own(place, whole):
    place.open()

    def ranks(*stores):
        own = [["-n", "1", *command(1)[3:], "--resume", "--record", "run.json", "--store", store] for store in stores]
        words = [word for rank in own for word in (":", *rank)][1:]
        return launch(["mpirun", *words], cwd=place.folder, env=place.env).status

    assert ranks("one", "two") == 0
    assert all((place.folder / store / "journals").exists() for store in ("one", "two"))
    place.fresh_calls()
    assert ranks("two", "none", "one") == 0
    assert not place.calls and not place.reasons
    for name in ("total.npy", "first.h5"):
        (place.folder / name).unlink()
    assert ranks("two", "none") == 0
    assert place.calls and place.results == whole.results
    assert len(place.calls) < 16, "what the second rank had saved is kept"


@pytest.mark.parametrize(("options", "warning"), [
    ("size=16k", "cannot save blocks in {store}: No space left on device"),
    ("ro", "cannot save blocks in {store}: Read-only file system"),
    ("size=170k", "did not save all blocks: the disk of {store} is nearly full")])
def test_a_store_that_takes_nothing_is_a_warning_and_no_more(place, whole, mounted, options, warning):
    store = mounted(options)
    place.open()
    ended = place.run(2, "--store", store)
    assert ended.status == 0 and place.results == whole.results
    assert warning.format(store=store) in ended.err
    assert all(line.startswith("mpiflow: warning: ") for line in ended.err.splitlines())
    assert place.run(1, "--store", store, "--resume").status == 0
    assert place.results == whole.results


def test_a_full_disk_for_results_is_a_failed_step(place, mounted):
    results = mounted("size=64k")
    place.open()
    ended = place.run(2, "--results", results)
    assert ended.status == 1
    assert "step 'first.h5' failed" in ended.err and f"cannot write {results}/first.h5: " in ended.err
    assert "No space left on device" in ended.err
    assert not (results / "first.h5").exists()
    place.fresh_calls()
    ended = place.run(2, "--resume")
    assert ended.status == 0 and not [call for call in place.calls if call.startswith("first")]


# Damage

# Whatever one byte says in whatever file of the store, and wherever a file is cut.
DRIVER = """
import contextlib, io, os, random, shutil, sys
from pathlib import Path
from mpiflow.cli.main import main

for seed in range(int(sys.argv[1])):
    chance, case = random.Random(seed), Path("case")
    shutil.rmtree(case, ignore_errors=True)
    shutil.copytree(".mpiflow", case / "store")
    files = sorted(file for file in (case / "store").rglob("*") if file.is_file())
    kinds = sorted({file.suffix for file in files})
    kind = chance.choice(kinds)
    file = chance.choice([file for file in files if file.suffix == kind])
    data = bytearray(file.read_bytes())
    where = chance.randrange(len(data))
    if chance.random() < 0.7:
        how, data[where] = "flipped", data[where] ^ (1 << chance.randrange(8))
    else:
        how, data = "cut", data[:where]
    file.write_bytes(data)
    said = io.TextIOWrapper(io.BytesIO(), write_through=True)
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = main(["workflow.yaml", "--resume", "--store", str(case / "store"), "--results", str(case / "results")])
    same = status == 0 and all(
        (case / "results" / name).read_bytes() == Path(name).read_bytes() for name in ("total.npy", "first.h5"))
    print(seed, how, kind or "block", where, status, same)
    if not same:
        print(said.buffer.getvalue().decode(), file=sys.stderr)
"""


def test_whatever_is_damaged_in_a_store_the_result_is_right(after):
    num = 200
    (after.folder / "driver.py").write_text(DRIVER)
    ended = launch([sys.executable, "driver.py", str(num)], cwd=after.folder, env=after.env, timeout=280)
    assert ended.status == 0, ended.err
    cases = [line.split() for line in ended.out.splitlines()]
    assert len(cases) == num
    assert {(how, kind) for _, how, kind, *_ in cases} == {(how, kind) for how in ("flipped", "cut")
                                                           for kind in ("block", ".journal", ".json")}
    assert [case for case in cases if case[-2:] != ["0", "True"]] == [], ended.err
    assert sum(after.calls.values()) < num * 4, "damage costs no more than what it hits"

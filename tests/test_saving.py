"""Saving while a run goes on: what was flushed is there whatever ends the process; a disk that fails ends no run."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from storing import assert_same, made, spans

from mpiflow.operations.values import as_value, nbytes
from mpiflow.planning.tasks import recipe_id
from mpiflow.storage.records import Saved
from mpiflow.storage.saving import INLINE, WINDOW, Writer
from mpiflow.storage.shelf import block_file
from mpiflow.storage.store import load, read_store

HERE = Path(__file__).parent
SMALL, LARGE = as_value(np.arange(10)), as_value(np.arange(INLINE))


@pytest.fixture
def writer(tmp_path):
    writer = Writer(tmp_path / "store", "run", 0)
    yield writer
    writer.close(60)


class Held(dict):
    """A table that keeps who wants its columns waiting."""

    def __init__(self, **arrays):
        super().__init__(arrays)
        self.asked, self.free = threading.Event(), threading.Event()

    def items(self):
        self.asked.set()
        assert self.free.wait(60)
        return super().items()


@pytest.fixture
def held(writer):
    """A block in the middle of which the thread of ``writer`` is."""
    value = Held(a=SMALL)
    assert writer.save(made("held", value), value)
    assert value.asked.wait(60)
    yield value
    value.free.set()


def files(store):
    return sorted(str(path.relative_to(store)) for path in store.rglob("*") if path.is_file())


def test_nothing_is_on_the_disk_and_no_thread_runs_before_the_first_block(tmp_path):
    before = threading.active_count()
    writer = Writer(tmp_path / "store", "run", 0)
    assert writer.flush(60) and writer.close(60)
    assert threading.active_count() == before and not os.listdir(tmp_path)


def test_a_thread_that_was_started_beforehand_leaves_nothing_either(tmp_path):
    before = threading.active_count()
    writer = Writer(tmp_path / "store", "run", 0)
    writer.start()
    assert threading.active_count() == before + 1
    assert writer.close(60) and threading.active_count() == before and not os.listdir(tmp_path)


def test_a_block_counts_as_saved_only_when_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("mpiflow.storage.saving._COMMIT", 100)
    committed, release = threading.Event(), threading.Event()
    writer = Writer(tmp_path / "store", "run", 0)

    def complete(made, value):
        committed.set()                         # the first one is on the disk, and this one is taken
        assert release.wait(60)
        return made

    assert writer.save(made(0, SMALL), SMALL) and writer.save(made(1, SMALL), SMALL, complete)
    assert not writer.flush(0.5 + WINDOW) and committed.is_set() and writer.num_saved == 1
    assert not writer.close(0.1)
    release.set()
    assert writer.close(60) and writer.num_saved == 2


def test_what_takes_longer_to_say_of_a_block_is_found_out_by_the_thread(tmp_path, writer):
    def complete(made, value):
        return replace(made, host=threading.current_thread().name, instance=str(value.sum()))

    assert writer.save(made(0, SMALL), SMALL, complete) and writer.flush(60)
    known, = read_store(tmp_path / "store").made.values()
    assert (known.host, known.instance) == ("mpiflow-saving", "45")


def test_what_is_flushed_is_found_while_the_run_goes_on(tmp_path, writer):
    for number, value in enumerate([SMALL, LARGE]):
        assert writer.save(made(number, value), value)
    assert writer.flush(60)
    found = read_store(tmp_path / "store")
    assert [load(place).shape for place in found.places.values()] == [SMALL.shape, LARGE.shape]
    assert found.unfinished and not found.damages
    assert (writer.num_saved, writer.nbytes_saved, writer.num_unsaved) == (2, nbytes(SMALL) + nbytes(LARGE), 0)


def test_without_a_flush_it_is_there_soon(tmp_path, writer):
    writer.save(made(0, SMALL), SMALL)
    with writer._progress:
        assert writer._progress.wait_for(lambda: writer.num_saved == 1, 60)
    assert len(read_store(tmp_path / "store").made) == 1


def test_a_closed_writer_has_finished_its_journal_and_takes_nothing(tmp_path, writer):
    writer.save(made(0, SMALL), SMALL)
    assert writer.close(60) and not writer.save(made(1, SMALL), SMALL)
    found = read_store(tmp_path / "store")
    assert len(found.made) == 1 and not found.unfinished
    assert writer.close(60) and writer.flush(60)


def test_small_blocks_are_in_the_journal_and_large_ones_in_files(tmp_path, writer):
    values = [as_value(np.zeros(size, np.uint8)) for size in (0, INLINE, INLINE + 1)]
    for number, value in enumerate(values):
        writer.save(made(number, value), value)
    assert writer.flush(60)
    large = str(block_file(Path(), recipe_id(2)))
    assert files(tmp_path / "store") == [large, "journals/run-0.journal"]


def test_large_blocks_are_refused_while_too_many_wait_but_small_ones_are_not(tmp_path):
    writer = Writer(tmp_path, "run", 0, pending=2 * nbytes(LARGE))
    value = Held(a=SMALL)
    writer.save(made("held", value), value)
    taken = [writer.save(made(number, LARGE), LARGE) for number in range(5)]
    assert taken == [True, True, False, False, False]
    assert writer.save(made("small", SMALL), SMALL)
    value.free.set()
    assert writer.flush(60) and writer.num_unsaved == 3
    assert writer.save(made("again", LARGE), LARGE)
    assert writer.close(60) and len(read_store(tmp_path).made) == 5


def test_small_blocks_are_bounded_too(tmp_path):
    writer = Writer(tmp_path, "run", 0, pending=10_000)
    value = Held(a=SMALL)
    writer.save(made("held", value), value)
    assert not all([writer.save(made(number, SMALL), SMALL) for number in range(20)])
    value.free.set()
    assert writer.close(60)


def test_a_flush_gives_up_in_time_and_can_be_repeated(writer, held):
    assert not writer.flush(0.01)
    held.free.set()
    assert writer.flush(60)


def test_a_close_that_is_too_short_leaves_the_thread_to_end_by_itself(tmp_path, writer, held):
    assert not writer.close(0.01)
    held.free.set()
    writer._thread.join(60)
    assert not read_store(tmp_path / "store").unfinished


def test_a_process_that_was_forked_off_does_not_wait_for_a_thread_that_it_has_not(writer, held):
    child = os.fork()
    if not child:
        os._exit(int(writer.flush(60) or writer.close(60)))
    assert os.waitpid(child, 0)[1] == 0


def test_the_thread_does_nothing_while_nothing_is_saved(writer):
    writer.save(made(0, SMALL), SMALL)
    writer.flush(60)
    status = Path(f"/proc/self/task/{writer._thread.native_id}/status")

    def asleep():
        return "S (sleeping)" in status.read_text() and not writer._awake.is_set()

    began = time.perf_counter()
    while not asleep():
        assert time.perf_counter() < began + 60
    before, began = status.read_text().split("voluntary")[1:], time.perf_counter()
    while time.perf_counter() < began + 4 * WINDOW:
        np.arange(1000).sum()
    assert status.read_text().split("voluntary")[1:] == before


def test_what_cannot_be_written_as_bytes_is_left_out_and_the_rest_is_saved(tmp_path, writer):
    overlapping = np.zeros(3, np.dtype({"names": ["a", "b"], "formats": ["f8", "f8"], "offsets": [0, 4]}))
    large = np.zeros(INLINE, overlapping.dtype)
    for number, value in enumerate([overlapping, SMALL, large, LARGE]):
        assert writer.save(made(number, value), value)
    assert writer.flush(60) and (writer.num_saved, writer.num_unsaved) == (2, 2)
    assert list(read_store(tmp_path / "store").made) == [recipe_id(1), recipe_id(3)]


def test_a_record_comes_after_the_file_that_it_tells_of_and_both_are_flushed(tmp_path, writer, monkeypatch):
    steps = []

    def noted(name, call):
        def noting(*args, **settings):
            named = os.readlink(f"/proc/self/fd/{args[0]}") if isinstance(args[0], int) else str(args[0])
            steps.append((name, Path(named).suffix or Path(named).name))
            return call(*args, **settings)
        return noting

    writer.save(made("before", SMALL), SMALL)
    block_file(tmp_path / "store", recipe_id(0)).parent.mkdir(parents=True)
    assert writer.flush(60)
    for name in ("fsync", "rename", "write"):
        monkeypatch.setattr(os, name, noted(name, getattr(os, name)))
    writer.save(made(0, LARGE), LARGE)
    assert writer.flush(60)
    assert steps == [("fsync", ".part"), ("rename", ".part"), ("fsync", recipe_id(0)[:2]),
                     ("write", ".journal"), ("fsync", ".journal")]


# Crashes

CRASH = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
from test_saving import LARGE, SMALL, Path, Writer, made
store, limit = Path(sys.argv[1]), int(sys.argv[2])
writer = Writer(store, "run", 0)
for number in range(20):
    writer.save(made(number, SMALL), SMALL)
assert writer.flush(60)
journal, number = store / "journals/run-0.journal", 20
while journal.stat().st_size < limit:
    value = SMALL if number % 10 else LARGE
    number += writer.save(made(number, value), value)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("limit", [0, 4000, 8000, 20_000, 100_000])
def test_a_killed_process_leaves_a_beginning_of_what_it_saved_with_all_that_it_flushed(tmp_path, limit):
    done = subprocess.run([sys.executable, "-c", CRASH, tmp_path, str(limit), HERE], capture_output=True, text=True, timeout=120)
    assert done.returncode == -9, done.stderr
    found = read_store(tmp_path)
    assert len(found.made) >= 20 and list(found.made) == [recipe_id(number) for number in range(len(found.made))]
    for number, place in enumerate(found.places.values()):
        assert_same(load(place), SMALL if number % 10 or number < 20 else LARGE)
    assert found.unfinished and all("normal after a crash" in damage for damage in found.damages)


SHARED = """
import sys
sys.path.insert(0, sys.argv[3])
from test_saving import Path, Writer, as_value, made, np
rank = int(sys.argv[2])
writer = Writer(Path(sys.argv[1]), "run", rank)
for number in range(30):
    value = as_value(np.full(20_000, number))
    assert writer.save(made(number, value), value)
    value = as_value(np.full(3, rank))
    assert writer.save(made((rank, number), value), value)
assert writer.close(60), writer.error
"""


def test_ranks_save_into_one_store_at_a_time_even_the_same_blocks(tmp_path):
    ranks = [subprocess.Popen([sys.executable, "-c", SHARED, tmp_path, str(rank), HERE]) for rank in range(4)]
    assert [process.wait(120) for process in ranks] == [0, 0, 0, 0]
    found = read_store(tmp_path)
    assert len(found.made) == 30 + 4 * 30 and not found.damages and not found.unfinished
    for number in range(30):
        assert_same(load(found.places[recipe_id(number)]), np.full(20_000, number))
        assert_same(load(found.places[recipe_id((3, number))]), np.full(3, 3))
    assert not [name for name in files(tmp_path) if name.endswith(".part")]


# Disks that fail

@pytest.mark.parametrize("value", [SMALL, LARGE, as_value(np.zeros(300_000))], ids=["records", "files", "one file"])
def test_a_full_disk_is_reported_once_and_what_was_saved_before_is_good(mounted, value):
    store = mounted("size=2m")
    writer = Writer(store, "run", 0)
    number = 0
    while writer.error is None:
        number += writer.save(made(number, value), value)
        if number % 100 == 0:
            writer.flush(60)
    assert writer.error == (f"cannot save blocks in {store}: No space left on device; "
                            "the run goes on, but cannot be resumed past this point")
    assert not writer.save(made(number, value), value) and not writer.flush(60)
    assert not writer.close(60) and not writer._thread.is_alive()
    found = read_store(store)
    assert len(found.made) == writer.num_saved and writer.num_saved + writer.num_unsaved >= number
    assert not found.damages and not [name for name in files(store) if name.endswith(".part")]
    for place in found.places.values():
        assert_same(load(place), value)


def test_a_record_that_the_disk_took_in_part_is_taken_back(mounted):
    store = mounted("size=256k")
    writer = Writer(store, "run", 0)
    value = as_value(np.zeros(50_000, np.uint8))
    for number in range(3):
        writer.save(made(number, value), value)
        assert writer.flush(60)
    for number in range(3, 9):
        writer.save(made(number, value), value)
    assert not writer.close(60)
    found = read_store(store)
    assert not found.damages and len(found.made) == 3
    assert [type(head) is Saved for _, _, head in spans(store / "journals/run-0.journal")] == [False, True, True, True]


def test_a_file_system_that_cannot_be_written_is_reported(mounted):
    store = mounted("ro")
    writer = Writer(store, "run", 0)
    writer.save(made(0, SMALL), SMALL)
    assert not writer.flush(60) and f"cannot save blocks in {store}: Read-only file system" in writer.error
    assert not writer.close(60)


def test_a_folder_that_belongs_to_others_is_reported(tmp_path):
    store = tmp_path / "store"
    store.mkdir(mode=0o500)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)               # root may write anywhere
    try:
        writer = Writer(store, "run", 0)
        writer.save(made(0, LARGE), LARGE)
        assert not writer.close(60)
    finally:
        os.seteuid(user)
    assert "Permission denied" in writer.error and writer.num_unsaved == 1 and not os.listdir(store)


def test_a_store_that_is_a_file_is_reported(tmp_path):
    (tmp_path / "store").write_text("a file")
    writer = Writer(tmp_path / "store", "run", 0)
    writer.save(made(0, SMALL), SMALL)
    assert not writer.close(60) and "cannot save blocks" in writer.error


def test_a_journal_of_that_name_is_not_touched(tmp_path):
    first, second = (Writer(tmp_path, "run", 0) for _ in range(2))
    first.save(made(0, SMALL), SMALL)
    assert first.close(60)
    second.save(made(1, SMALL), SMALL)
    assert not second.close(60) and "File exists" in second.error and "run-0.journal" in second.error
    assert list(read_store(tmp_path).made) == [recipe_id(0)]


def test_a_mistake_of_our_own_is_an_error_and_not_a_thread_that_is_gone(tmp_path):
    writer = Writer(tmp_path, "run", 0)
    writer.save(made(0, SMALL), "no value")
    assert not writer.flush(60) and "AttributeError" in writer.error and not writer.close(60)

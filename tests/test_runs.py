"""The folder of a run: what is written can be read, whatever state it is in."""

import os

import msgspec
import pytest

from mpiflow.cli.runs import chosen_run
from mpiflow.errors import DamagedError, LaunchError, MachineError
from mpiflow.storage.accounts import Line, RankState, Record, TaskRecord
from mpiflow.storage.lines import Lines
from mpiflow.storage.runs import (
    PLAN,
    PROGRESS,
    RECORD,
    birth,
    read_lines,
    read_record,
    read_states,
    run_folder,
    runs,
    state_file,
    write_whole,
)

TASKS = (TaskRecord(0, "a" * 32, "load", "x"),
         TaskRecord(1, "b" * 32, step="y", instance="T=300", needs=(0,), parameters={"T": 300}))


def record(**given):
    return Record("w", "2026-11-26T04:00:00+00:00", ("n0", "n1"), TASKS, **given)


def test_a_record_is_read_as_it_was_written(tmp_path):
    write_whole(tmp_path / "runs" / "r", RECORD, record(status=0, moved=((0, 1, 2, 3),), reasons={"y": "kept"}))
    assert read_record(tmp_path / "runs" / "r") == record(status=0, moved=((0, 1, 2, 3),), reasons={"y": "kept"})


def test_the_newest_that_is_known_counts(tmp_path):
    assert read_record(tmp_path) is None
    for file, status in ((PLAN, None), (PROGRESS, None), (RECORD, 0)):
        write_whole(tmp_path, file, record(status=status, catalog=file))
        assert read_record(tmp_path).catalog == file


def test_what_other_versions_add_is_no_harm(tmp_path):
    (tmp_path / RECORD).write_bytes(msgspec.json.encode(msgspec.to_builtins(record()) | {"feelings": [1, 2, 3]}))
    assert read_record(tmp_path) == record()


def test_a_file_that_is_none_of_ours_is_named(tmp_path):
    (tmp_path / PLAN).write_text('{"name": 3}')
    with pytest.raises(DamagedError, match=r"plan\.json: Expected `str`"):
        read_record(tmp_path)


def test_nothing_is_left_beside_what_was_written_whole(tmp_path):
    write_whole(tmp_path, PLAN, record())
    write_whole(tmp_path, PLAN, record(status=1))
    assert os.listdir(tmp_path) == [PLAN]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / RECORD).mkdir()                # so that nothing can be put in its place
    with pytest.raises(OSError):
        write_whole(tmp_path / "full", RECORD, record())
    assert os.listdir(tmp_path / "full") == [RECORD]


def test_states_are_read_by_the_names_of_their_ranks(tmp_path):
    states = {name: RankState("r", name, name, "n0", 1, 2, 3.0, running=1, doing="y[T=300]") for name in (10, 2)}
    for name, state in states.items():
        write_whole(tmp_path, state_file(name), state)
    (tmp_path / ".rank-3.json.aside").write_text("{")   # one that was being written when its rank was killed
    assert read_states(tmp_path) == states and list(read_states(tmp_path)) == [2, 10]
    assert read_states(tmp_path / "none") == {}


def test_runs_are_named_in_order_of_time(tmp_path):
    assert runs(tmp_path) == []
    for run in ("20261126-040000-b", "20261125-230000-c"):
        run_folder(tmp_path, run).mkdir(parents=True)
    (tmp_path / "runs" / "notes.txt").write_text("no run")
    assert runs(tmp_path) == ["20261125-230000-c", "20261126-040000-b"]


def test_the_beginning_of_a_name_is_enough_and_the_whole_name_always_is(tmp_path):
    for run in ("20", "20-1", "20-2", "21"):
        write_whole(run_folder(tmp_path, run), RECORD if run < "20-2" else PLAN, record())
    assert [chosen_run(tmp_path, word) for word in (None, "20", "20-2", "21")] == ["21", "20", "20-2", "21"]
    assert [chosen_run(tmp_path, word, over=True) for word in (None, "20-")] == ["20-1", "20-1"]
    with pytest.raises(LaunchError, match=r"several runs begin with 20-; .*20-1, 20-2"):
        chosen_run(tmp_path, "20-")
    with pytest.raises(LaunchError, match=r"knows of no run 21 that is over; .*20, 20-1"):
        chosen_run(tmp_path, "21", over=True)


def test_a_store_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(MachineError, match="cannot read the store"):
        runs(tmp_path)


def test_a_process_is_known_by_its_start():
    assert birth(os.getpid()) == birth(os.getpid()) > 0
    assert birth(2 ** 22 + 1) == 0


# Lines

def test_lines_are_there_at_once(tmp_path):
    lines = Lines(tmp_path / "r", 3)
    assert not (tmp_path / "r").exists()
    lines.append(7, "y[T=300]", "out", ["one", "two \N{GREEK SMALL LETTER ALPHA}", "\udcff"])
    lines.append(8, "z", "err", [""])           # what waits goes with an error
    found = list(read_lines(tmp_path / "r"))
    assert [(rank, line.task, line.name, line.stream, line.text) for rank, line in found] == [
        (3, 7, "y[T=300]", "out", "one"), (3, 7, "y[T=300]", "out", "two \N{GREEK SMALL LETTER ALPHA}"),
        (3, 7, "y[T=300]", "out", "\\udcff"), (3, 8, "z", "err", "")]


def test_a_line_that_is_cut_off_is_left_out(tmp_path):
    lines = Lines(tmp_path, 0)
    lines.append(1, "y", "out", ["whole"])
    with open(tmp_path / "rank-0.lines", "ab") as opened:
        opened.write(b'{"time":1.0,"task":1,"na')
    assert [line.text for _, line in read_lines(tmp_path)] == ["whole"]


def test_who_prints_without_end_fills_no_disk(tmp_path):
    lines = Lines(tmp_path, 0, most=500)
    for _ in range(100):
        lines.append(1, "y", "out", ["x" * 50])
    lines.close()
    texts = [line.text for _, line in read_lines(tmp_path)]
    assert 2 <= len(texts) < 10 and texts[-1] == "mpiflow: tasks on this rank print too much; no more of it is kept"


def test_a_disk_that_takes_no_lines_is_no_failure(tmp_path):
    (tmp_path / "r").write_text("in the way")
    lines = Lines(tmp_path / "r", 0)
    lines.append(1, "y", "out", ["lost"])
    assert lines.error == "File exists" or lines.error == "Not a directory"
    lines.append(1, "y", "out", ["lost"])


def test_lines_in_quick_succession_share_a_write(tmp_path):
    lines = Lines(tmp_path, 0)
    for number in range(20_000):
        lines.append(1, "y", "out", [str(number)])
    seen = [line.text for _, line in read_lines(tmp_path)]
    assert 0 < len(seen) <= 20_000
    lines.flush()
    assert [line.text for _, line in read_lines(tmp_path)] == list(map(str, range(20_000)))


def test_a_child_does_not_write_what_waits_once_more(tmp_path):
    lines = Lines(tmp_path, 0)
    lines.append(1, "y", "out", ["first"])
    lines.append(1, "y", "out", ["waits"])
    child = os.fork()
    if not child:
        lines.append(1, "y", "err", ["child"])
        os._exit(0)
    os.waitpid(child, 0)
    lines.close()
    assert [line.text for _, line in read_lines(tmp_path)] == ["first", "waits", "child"]


def test_a_line_has_its_time(tmp_path):
    Lines(tmp_path, 0).append(1, "y", "out", ["now"])
    (_, line), = read_lines(tmp_path)
    assert isinstance(line, Line) and abs(line.time - os.stat(tmp_path / "rank-0.lines").st_mtime) < 5

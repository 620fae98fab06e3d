"""What tasks print: it goes where it would go anyway, and each line is kept with its task."""

import contextlib
import io
import sys
import threading

from mpiflow.operations.printed import LONGEST, Printed

NAMES = {1: "a", 2: "b", 3: "fit", 4: "sweep[T=300]", 5: "run"}


class Kept:
    """Streams of this process, what came through, and the lines that were kept."""

    def __init__(self, before=None):
        self.lines, self.task = [], None
        self.out, self.err = io.StringIO(), io.StringIO()
        self.printed = Printed(before or {})
        self.printed.doing = lambda: self.task and self.task[0]
        self.printed.name_of = lambda task: NAMES[task]
        self.printed.keep = lambda task, name, stream, lines: self.lines.extend((task, name, stream, line) for line in lines)

    @contextlib.contextmanager
    def listening(self):
        old = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = self.out, self.err
        try:
            self.printed.listen()
            yield
            self.printed.close()
            assert (sys.stdout, sys.stderr) == (self.out, self.err)
        finally:
            sys.stdout, sys.stderr = old

    @property
    def texts(self):
        return [line for *_, line in self.lines]


def test_lines_are_kept_with_the_task_that_prints_them():
    kept = Kept()
    with kept.listening():
        print("before any task")
        kept.task = 3, "fit"
        print("one", 2)
        print("oops", file=sys.stderr)
        kept.task = 4, "sweep[T=300]"
        print("two\nthree")
        kept.task = None
        print("after all tasks")
    assert kept.lines == [(3, "fit", "out", "one 2"), (3, "fit", "err", "oops"), (4, "sweep[T=300]", "out", "two"),
                          (4, "sweep[T=300]", "out", "three")]
    assert kept.out.getvalue() == "before any task\none 2\ntwo\nthree\nafter all tasks\n" and kept.err.getvalue() == "oops\n"


def test_a_line_that_was_not_ended_stays_with_its_task():
    kept = Kept()
    with kept.listening():
        kept.task = 1, "a"
        print("be", end="")
        print("gun", end="")
        kept.task = 2, "b"
        print("next")
        print("last", end="")
    assert kept.lines == [(1, "a", "out", "begun"), (2, "b", "out", "next"), (2, "b", "out", "last")]


def test_threads_of_a_task_do_not_mix_their_lines():
    kept = Kept()
    with kept.listening():
        kept.task = 1, "a"
        print("main ", end="")
        thread = threading.Thread(target=print, args=("other",))
        thread.start()
        thread.join()
        print("thread")
    assert kept.texts == ["other", "main thread"]


def test_of_a_progress_bar_the_last_state_is_kept():
    kept = Kept()
    with kept.listening():
        kept.task = 1, "a"
        for share in range(0, 101, 10):
            print(f"\r{share} %", end="", file=sys.stderr)
        print(file=sys.stderr)
    assert kept.texts == ["100 %"]


def test_an_endless_line_is_kept_in_pieces():
    kept = Kept()
    with kept.listening():
        kept.task = 1, "a"
        for _ in range(3):
            sys.stdout.write("x" * LONGEST)
    assert "".join(kept.texts) == "x" * (3 * LONGEST) and max(map(len, kept.texts)) == LONGEST


def test_the_streams_can_do_what_they_could():
    kept = Kept()
    with kept.listening():
        assert sys.stdout.write("abc") == 3 and not sys.stdout.closed and not sys.stdout.isatty()
        sys.stdout.writelines(["d\n", "e\n"])
        sys.stdout.flush()
    assert kept.out.getvalue() == "abcd\ne\n"


def test_what_user_code_has_put_in_place_of_a_stream_stays():
    kept, own = Kept(), io.StringIO()
    old = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = kept.out, kept.err
    try:
        kept.printed.listen()
        sys.stdout = own
        kept.printed.close()
        assert sys.stdout is own
    finally:
        sys.stdout, sys.stderr = old


def test_a_line_on_a_terminal_takes_the_place_of_that_of_progress():
    kept = Kept({"out": "<clear>"})
    with kept.listening():
        kept.task = 1, "a"
        print("one")
        print("two ", end="")
        print("halves")
        print("plain", file=sys.stderr)
    assert kept.out.getvalue() == "<clear>one\n<clear>two halves\n" and kept.err.getvalue() == "plain\n"
    assert kept.texts == ["one", "two halves", "plain"]


def test_what_a_program_writes_is_kept_while_it_runs_and_at_its_end(tmp_path):
    kept, file = Kept(), tmp_path / "stdout"
    kept.task = 5, "run"
    with kept.printed.following({"out": file, "err": tmp_path / "none"}):
        kept.printed.catch_up()
        file.write_bytes(b"one\ntw")
        kept.printed.catch_up()
        assert kept.lines == [(5, "run", "out", "one")]
        with open(file, "ab") as opened:
            opened.write(b"o\n\xff\0 end")
    assert kept.texts == ["one", "two", "\\xff\\0 end"]
    kept.printed.catch_up()
    assert len(kept.lines) == 3

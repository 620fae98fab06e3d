"""Tables and lines fit into the width of a terminal, and nothing of them is lost that matters."""

import fcntl
import os
import pty
import struct
import sys
import termios

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpiflow.report.fitting import LEAST, folded, table

ROWS = [["rank", "node", "tasks", "what"],
        ["0", "n1", "31/120", "waits for sweep[T=300] from rank 1 (running) and 3 more"],
        ["1", "a-node-with-a-very-long-name.cluster.example.org", "30/120", "idle"]]


def test_a_table_has_columns_of_one_width():
    lines = table(ROWS)
    assert [line.find("what") if number == 0 else line.find(ROWS[number][3]) for number, line in enumerate(lines)] == [66] * 3
    assert table(ROWS, 200) == lines


def test_where_it_is_too_wide_names_are_shortened_and_the_last_column_goes_on_below():
    assert table(ROWS, 60) == [
        "  rank  node                   tasks   what",
        "  0     n1                     31/120  waits for",
        "                                       sweep[T=300] from",
        "                                       rank 1 (running) and",
        "                                       3 more",
        "  1     a-node-with-a-very-l…  30/120  idle"]
    assert table([], 60) == []


@given(st.lists(st.lists(st.text("ab c", max_size=40), min_size=3, max_size=3), min_size=1, max_size=4), st.integers(40, 120))
def test_it_always_fits(rows, width):
    assert max(map(len, table(rows, width))) <= max(width, 3 * (LEAST + 2))


def test_long_lines_are_broken_at_blanks():
    assert folded("  run it       with all that it needs", 24) == [
        "  run it       with all", "               that it", "               needs"]
    assert folded("  one two three four", 14) == ["  one two", "    three four"]
    assert folded("/a/path/that/nobody/should/break", 10) == ["/a/path/that/nobody/should/break"]


@pytest.mark.parametrize("words", [
    ["ls"], ["ls", "--operations"], ["show", "sweep"], ["status"], ["why", "st"], ["plan", "w.yaml", "-n", "40"]], ids=" ".join)
def test_on_a_terminal_of_60_columns_lines_have_60_characters(ran, words):
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
        os.chdir(ran)
        own = {name: value for name, value in os.environ.items() if name != "COLUMNS"}      # which readline sets by itself
        os.execve(sys.executable, [sys.executable, "-m", "mpiflow", *words], own)
    written = b""
    while data := _read(terminal):
        written += data
    os.close(terminal)
    assert os.waitpid(pid, 0)[1] == 0
    lines = written.decode().splitlines()
    assert lines and max(map(len, lines)) <= 60


def _read(terminal):
    try:
        return os.read(terminal, 1 << 16)
    except OSError:             # the other side has been closed
        return b""

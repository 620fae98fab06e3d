"""``run --log-level``: what Python's logging is given on a rank is kept with the task that runs, as lines that it prints are."""

import logging
import sys

from launching import mpiflow
from test_printed import Kept

from mpiflow.operations.logged import Logged

OPS = """
import logging
from mpiflow import operation

log = logging.getLogger(__name__)

@operation(linear=True)
def total(x):
    log.debug("not this")
    log.info("%d numbers", x.size)
    log.warning("beware")
    return x.sum()
"""
WORKFLOW = """
mpiflow: 1
name: logged
operations: [ops.py]
datasets: {a: {arange: {stop: 3}, rank: 0}, b: {arange: {stop: 5}, rank: 1}}
steps: {s: total(a + b)}
results: {s: s.npy}
"""


def test_what_tasks_and_mpiflow_log_is_kept(tmp_path):
    (tmp_path / "ops.py").write_text(OPS)
    (tmp_path / "w.yaml").write_text(WORKFLOW)
    ended = mpiflow(2, "w.yaml", "--log-level", "info", cwd=tmp_path)
    assert ended.status == 0 and ended.err.splitlines() == ["WARNING ops: beware"] * 2
    said = mpiflow(None, "log", "s", cwd=tmp_path)
    assert [line for line in said.out.splitlines() if not line.startswith("--")] in (
        [["INFO ops: 3 numbers", "WARNING ops: beware", "INFO ops: 5 numbers", "WARNING ops: beware"],
         ["INFO ops: 5 numbers", "WARNING ops: beware", "INFO ops: 3 numbers", "WARNING ops: beware"]])
    first, *others = mpiflow(None, "log", "--rank", "1", cwd=tmp_path).out.splitlines()
    assert " -: INFO mpiflow.peer.run: w.yaml: rank 1 of 2 on " in first
    assert [line.split(" ", 1)[1] for line in others if " s: " in line] == ["s: INFO ops: 5 numbers", "s: WARNING ops: beware"]
    assert mpiflow(None, "log", cwd=tmp_path).err == "mpiflow: error: log takes a step, or --rank N for all of one rank\n"


def test_one_line_for_each_line_of_a_record_and_nothing_below_the_level():
    kept, root = Kept(), logging.getLogger()
    before = root.level, list(root.handlers)
    kept.task = 3, "fit"
    logged = Logged("info", kept.printed)
    with kept.listening():
        logged.listen()
        logging.getLogger("numbers").debug("no")
        logging.getLogger("numbers").info("one\ntwo")
        logging.getLogger("mpiflow.peer").info("ours")
        try:
            raise ValueError("what")
        except ValueError:
            logging.getLogger("_mpiflow_ops_12").exception("it %s", "failed")
        logged.close()
    assert kept.lines[:3] == [(3, "fit", "log", "INFO numbers: one"), (3, "fit", "log", "two"),
                              (-1, "", "log", "INFO mpiflow.peer: ours")]
    assert kept.lines[3] == (3, "fit", "err", "ERROR test_logged: it failed") and kept.lines[-1][3] == "ValueError: what"
    assert (root.level, root.handlers) == before


def test_a_record_that_cannot_be_written_ends_nothing(monkeypatch):
    kept = Kept()
    logged = Logged("info", kept.printed)
    monkeypatch.setattr(logging, "raiseExceptions", False)
    with kept.listening():
        logged.listen()
        logging.getLogger("numbers").info("%d", "x")
        logged.close()
    assert kept.lines == [] and sys.exc_info() == (None, None, None)

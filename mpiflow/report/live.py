"""What people have of a run while it goes on: the files in its folder, and lines on a terminal or in a log."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mpiflow.report.console import CLEAR, note, show, speaks, warn
from mpiflow.report.progress import Gauge, display, line, next_line
from mpiflow.report.record import known
from mpiflow.report.terminal import terminal, width
from mpiflow.storage.runs import PLAN, PROGRESS, RECORD, run_folder, state_file, write_whole

if TYPE_CHECKING:
    from mpiflow.peer.outcome import Outcome
    from mpiflow.peer.telling import View

MODES = ("auto", "live", "lines", "off")
_OFTEN = 2.0            # seconds between two files of progress, at least,
_SHARE = 300            # and so many times what one takes of the processor
_EACH = 3e-4            # seconds for each task before the plan is written: a hundred times what that takes
_TURN = 3.0             # seconds that other nodes leave to that of the lowest rank: they may see the same disk


class Live:
    """Keeps the folder of a run, and shows how far it has come. Local; ``peer.run`` calls it about once a second.

    Attributes:
        error: Why the folder cannot be written, for people; empty as long as all is well.
        screen: The terminal on which a line takes the place of another; empty if there is none.
    """

    def __init__(self, store: Path, mode: str = "auto") -> None:
        """Prepare; nothing is written yet.

        Args:
            store: Where the run has its folder.
            mode: One of MODES: where progress is shown.
        """
        self.error = ""
        self._store, self._mode = store, mode
        self.screen = (terminal() if mode in ("auto", "live") else "") or ("live" if mode == "live" else "")
        self._gauge = Gauge()
        self._next_line = next_line(0.0)
        self._next_state = self._next_progress = 0.0
        self._planned = ""                      # digest of the plan that is written, or seen,
        self._writes = False                    # and whether it was this rank that has
        self._epochs = 0

    def __call__(self, view: View) -> None:
        """Look at a run that goes on."""
        if not self.error:
            try:
                self._keep(view)
            except OSError as error:            # a full disk, or one that may not be written: the run goes on without
                self.error = os.strerror(error.errno) if error.errno else str(error)
        if speaks(view.own.rank) and not view.own.ended:
            self._show(view)

    @property
    def before(self) -> dict[str, str]:
        """What lines of tasks are to be preceded by, on standard output ("out") and error, so that they do not run into ours."""
        return {"err": CLEAR, "out": CLEAR if terminal(1) else ""} if self.screen else {}

    def wipe(self, rank: int) -> None:
        """Leave the terminal to others."""
        if self.screen and speaks(rank):
            show("")

    def finish(self, outcome: Outcome) -> None:
        """Write what came of the run, on the rank that speaks, and on others whose disk it does not see."""
        if not self.error and (speaks(outcome.rank) or self._writes):
            try:
                folder = run_folder(self._store, outcome.run)
                write_whole(folder, RECORD, known(outcome))
                (folder / PROGRESS).unlink(missing_ok=True)
            except OSError as error:
                self.error = os.strerror(error.errno) if error.errno else str(error)
        if self.error and speaks(outcome.rank):
            warn(f"cannot write {run_folder(self._store, outcome.run)}: {self.error}; status, why, log and report do not "
                 "know all of this run")

    # Files

    def _keep(self, view: View) -> None:
        own = view.own
        folder = run_folder(self._store, own.run)
        if own.time >= self._next_state or own.ended:
            self._next_state = own.time + own.period * 0.9
            write_whole(folder, state_file(own.name), own)
        if own.ended or own.rank != view.hosts.index(own.host):
            return
        plan = view.so_far().plan.digest        # that of this round, whatever plans have followed it
        if self._planned != plan:
            first = speaks(own.rank)
            if view.seconds > _EACH * own.all_tasks + _TURN * (not first):
                self._planned = plan
                self._writes = self._writes or first or not (folder / PLAN).exists()    # another node may see the same disk
                if self._writes:
                    self._keep_known(view, folder, PLAN)
        elif self._writes and own.time >= self._next_progress and own.epochs != self._epochs:
            self._keep_known(view, folder, PROGRESS)

    def _keep_known(self, view: View, folder: Path, file: str) -> None:
        began = time.thread_time()
        self._epochs = view.own.epochs
        write_whole(folder, file, known(view.so_far(), over=False))
        self._next_progress = view.own.time + max(_OFTEN, _SHARE * (time.thread_time() - began))

    # Lines

    def _show(self, view: View) -> None:
        if self._mode == "off" or (not self.screen and view.seconds < self._next_line):
            return
        found = self._gauge.measure(view.own.workflow, view.state, view.seconds)
        if self.screen:
            show(display(found, width(self.screen)))
        else:
            self._next_line = next_line(view.seconds)
            note(line(found))

"""Chaos: runs of a workflow in which ranks are killed at random moments, and what must come of them.

    python tests/cluster/chaos.py --runs 200 --seed 1 --mpi ulfm

Each run has one to three kills. With an MPI that survives dead ranks (ulfm) it must finish, or stop with status 75 if a rank was
told to; with one that does not (mpich) it must end by itself, soon. What did not finish is resumed on another number of ranks and
must then finish, and make nothing again that a journal holds. Results must have the bits that one rank alone gives, and
nothing may hang or be left behind. The same seed makes the same workflow and the same kills; moments are the machine's.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from chaos_launch import STACKS, Launch, Stack, check_stack, launched
from chaos_workflow import make_workflow, numbers

from mpiflow.peer.outcome import STOPPED
from mpiflow.storage.store import read_store

LIMIT = 60.0            # seconds after the last kill, and as often as it takes an undisturbed run: what goes on then hangs
SPANS = 4
PROMPT = 15.0           # seconds after the last kill in which a run that cannot go on must have ended, if times count
STARTED = 200.0         # seconds that ranks may take to find each other
RECOVERED = 1.0         # seconds from a kill until the others work again, at the median
FINISHED = 0.99         # share of the runs that must finish with an MPI that survives dead ranks
NO_RECORD = 255         # stands for the status of a launcher that says 0 although the run came to no end
_SIGNALS = {"KILL": signal.SIGKILL, "STOP": signal.SIGSTOP, "TERM": signal.SIGTERM}


@dataclass(frozen=True)
class Kill:
    """How one rank ends; its moment is a share of the time that an undisturbed run takes, and a STOP is followed by a KILL."""

    moment: float
    rank: int
    kind: str
    pause: float        # seconds between STOP and KILL

    def __str__(self) -> str:
        return f"{self.kind} {self.rank} at {self.moment:.2f}"


@dataclass
class Verdict:
    """What became of one run."""

    seed: int
    kills: list[Kill]
    status: int | None = None
    resumed: int | None = None          # status of the run that went on
    seconds: float = 0.0                # from the last kill to the end
    deaths: list[float] = field(default_factory=list)           # times of day
    recoveries: list[float] = field(default_factory=list)       # seconds from a death to work again
    num_again: int = 0                  # tasks that ran again though a journal had their blocks
    crashed: bool = False               # the launcher itself
    lost: bool = False                  # all ranks have died inside MPI, and the launcher says that all is well
    num_hit: int = 0                    # kills that came before the end
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"seed {self.seed} ({'; '.join(map(str, self.kills))}), status {self.status}: {'; '.join(self.problems)}"


def draw(seed: int, num_ranks: int) -> list[Kill]:
    """Choose who is killed when, and how."""
    chance = random.Random(seed)
    ranks = chance.sample(range(num_ranks), min(chance.randint(1, 3), num_ranks - 1))
    return sorted((Kill(chance.random(), rank, chance.choice([*_SIGNALS]), chance.uniform(0.1, 1)) for rank in ranks),
                  key=lambda kill: kill.moment)


class Chaos:
    """Runs of one workflow on one MPI."""

    def __init__(self, stack: Stack, num_ranks: int, seed: int, folder: Path, timed: bool = False) -> None:
        """Make the workflow, and its results on one rank and on all, undisturbed; ``timed`` says whether to judge times."""
        self._stack, self._num_ranks, self._folder, self._timed = stack, num_ranks, folder, timed
        self._workflow = make_workflow(seed, folder)
        self._results = {}
        self.span = 0.0                 # seconds from the moment when the ranks are there to the end of an undisturbed run
        for number in (1, num_ranks):
            verdict = Verdict(seed, [])
            status = self._run(folder / f"reference-{number}", number, verdict)
            found = numbers(folder / f"reference-{number}" / "results") if status == 0 else {}
            self._results = self._results or found
            if not found or found != self._results or verdict.problems:
                raise SystemExit(f"an undisturbed run on {number} ranks ends with {status}, {verdict.problems}: see {folder}")
            self.span = verdict.seconds

    def trial(self, seed: int) -> Verdict:
        """Do one run with kills, and another one to go on if need be."""
        verdict = Verdict(seed, draw(seed, self._num_ranks))
        folder = self._folder / f"run-{seed}"
        verdict.status = self._run(folder, self._num_ranks, verdict, verdict.kills)
        if verdict.problems:
            return verdict
        if verdict.status < 0 and (folder / "run.json").exists():       # the launcher crashed, the run did not
            verdict.crashed, verdict.status = True, json.loads((folder / "run.json").read_text())["status"]
        survives = self._stack.name == "ulfm"
        if survives and verdict.status == 0 and not (folder / "run.json").exists():     # what docs/faults.md calls the proof
            verdict.lost, verdict.status = True, NO_RECORD
        if survives and not verdict.lost and verdict.status not in (0, STOPPED):
            verdict.problems.append(f"ended with status {verdict.status} though others were alive")
        if self._timed and not survives and verdict.seconds > PROMPT:
            verdict.problems.append(f"ended {verdict.seconds:.1f} s after the last kill")
        if verdict.status != 0:
            made = read_store(folder / "store").made.keys()
            num_ranks = random.Random(seed).randint(1, self._num_ranks)
            verdict.resumed = self._run(folder, num_ranks, verdict, resume=True)
            if verdict.resumed == 0:
                verdict.num_again = sum(id in made for id in _ran(folder / "resumed.json"))
            else:
                verdict.problems.append(f"--resume on {num_ranks} ranks ended with status {verdict.resumed}")
            if verdict.num_again:
                verdict.problems.append(f"{verdict.num_again} tasks whose blocks a journal has ran again")
        self._check_results(folder, verdict)
        if not verdict.problems:
            shutil.rmtree(folder)
        return verdict

    def _check_results(self, folder: Path, verdict: Verdict) -> None:
        if 0 not in (verdict.status, verdict.resumed):
            return
        found = numbers(folder / "results") if (folder / "results").exists() else {}
        wrong = sorted(name for name in self._results.keys() | found.keys() if found.get(name) != self._results.get(name))
        if wrong:
            verdict.problems.append(f"wrong: {', '.join(wrong)}")
        record = folder / ("run.json" if verdict.resumed is None else "resumed.json")
        said = json.loads(record.read_text())["status"] if record.exists() else None
        if said != 0:
            verdict.problems.append(f"status 0, but that of the record is {said}")

    def _run(self, folder: Path, num_ranks: int, verdict: Verdict, kills: Sequence[Kill] = (),
             resume: bool = False) -> int | None:
        """Run mpiflow once; give its status, None if it had to be ended."""
        name = "resumed" if resume else "run"
        folder.mkdir(exist_ok=True)
        arguments = [str(self._workflow), "--results", "results", "--store", "store", "--record", f"{name}.json"]
        with launched(self._stack, num_ranks, [*arguments, *["--resume"] * resume], folder, f"{name}.log") as launch:
            ranks, last = _ranks(launch, num_ranks), time.time()
            if not ranks:
                verdict.problems.append("the ranks do not start")
            for kill, moment in [(kill, last + kill.moment * self.span) for kill in kills if ranks]:
                if when := _kill(launch, ranks[kill.rank], kill, moment):
                    last, verdict.num_hit = when, verdict.num_hit + 1
                    verdict.deaths += [when] * (kill.kind != "TERM")
            if not _ended(launch, time.time() + LIMIT + SPANS * self.span):
                launch.dump()
                verdict.problems.append("hung")
                return None
            verdict.seconds = verdict.seconds if resume else time.time() - last
            if launch.end():
                verdict.problems.append("left processes behind")
        if kills and (folder / f"{name}.json").exists():
            verdict.recoveries = _recoveries(folder / f"{name}.json", verdict.deaths)
        return launch.process.returncode


def _ranks(launch: Launch, num_ranks: int) -> dict[int, int]:
    """Wait until all ranks have found each other, and give their pids: Open MPI survives no death before."""
    until = time.time() + STARTED
    while not (ranks := launch.joined(num_ranks)) and time.time() < until and launch.running():
        time.sleep(0.005)
    return ranks


def _ended(launch: Launch, until: float) -> bool:
    """Wait for the end of a run, or a time of day; whether it has ended."""
    while launch.running() and time.time() < until:
        time.sleep(0.002)
    return not launch.running()


def _kill(launch: Launch, pid: int, kill: Kill, moment: float) -> float:
    """Kill a rank when its moment has come; give the time of day, 0 if it was not there any more."""
    if _ended(launch, moment) or not launch.signal_rank(pid, _SIGNALS[kill.kind]):
        return 0.0
    if kill.kind == "STOP":
        time.sleep(kill.pause)
        launch.signal_rank(pid, signal.SIGKILL)
    return time.time()


def _ran(record: Path) -> list[str]:
    """Ids of the tasks that a run has made, not taken from a store."""
    return [task["id"] for task in json.loads(record.read_text())["tasks"]
            if task["state"] == "done" and task["kind"] not in ("kept", "restore")]


def _recoveries(record: Path, deaths: Sequence[float]) -> list[float]:
    """Seconds from each death during the run to the moment when the others worked again."""
    began = [datetime.fromisoformat(text).timestamp() for text in json.loads(record.read_text())["rounds"]]
    return [min(later) - death for death in deaths if death > began[0] and (later := [time for time in began if time > death])]


def report(verdicts: Sequence[Verdict], survives: bool, timed: bool, seconds: float) -> bool:
    """Print what came of all runs; whether it is what it must be."""
    recoveries = [took for verdict in verdicts for took in verdict.recoveries]
    went_on = [verdict for verdict in verdicts if verdict.resumed is not None]
    finished = sum(verdict.status in (0, STOPPED) for verdict in verdicts)
    lost = sum(verdict.lost for verdict in verdicts)
    wrong = sum(any("wrong" in problem for problem in verdict.problems) for verdict in verdicts)
    hung = sum("hung" in verdict.problems for verdict in verdicts)
    rows = {
        "runs": len(verdicts), "kills that came before the end": sum(verdict.num_hit for verdict in verdicts),
        "finished": sum(verdict.status == 0 for verdict in verdicts),
        "stopped, to be resumed (status 75)": sum(verdict.status == STOPPED for verdict in verdicts),
        "all ranks crashed inside MPI, to be resumed": lost,
        "ended otherwise, to be resumed": len(verdicts) - finished - hung - lost,
        "finished by --resume": f"{sum(verdict.resumed == 0 for verdict in went_on)} of {len(went_on)}",
        "launcher crashed, but the run's record is whole": sum(verdict.crashed for verdict in verdicts),
        "hung": hung, "wrong results": wrong, "tasks run again although saved": sum(verdict.num_again for verdict in verdicts),
        "other problems": sum(len(verdict.problems) for verdict in verdicts) - hung - wrong,
        "from the last kill to the end, mean and max [s]": _times([verdict.seconds for verdict in verdicts]),
        "from a death to work again, mean and max [s]": _times(recoveries)}
    for what, figure in rows.items():
        print(f"  {what:<50} {figure}")
    print(f"  {'all of it [s]':<50} {seconds:.0f}", flush=True)
    bad = sum(bool(verdict.problems) for verdict in verdicts)
    fallen = lost > max(1, (1 - FINISHED) * len(verdicts))       # of few runs one may be such
    late = timed and survives and recoveries and sorted(recoveries)[len(recoveries) // 2] > RECOVERED
    few = bad > (1 - FINISHED) * len(verdicts) if survives else bad > 0
    return not (hung or wrong or few or late or fallen)


def _times(seconds: Sequence[float]) -> str:
    return f"{sum(seconds) / len(seconds):.2f} {max(seconds):.2f}" if seconds else "-"


def main() -> int:
    """Run the command line; give its exit status."""
    parser = argparse.ArgumentParser(description="Kill ranks of mpiflow at random moments, and see what comes of it.")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1, help="of the workflow and the first run; each further run has the next")
    parser.add_argument("--ranks", type=int, default=8)
    parser.add_argument("--mpi", choices=sorted(STACKS), default="ulfm")
    parser.add_argument("--folder", type=Path, help="where runs are (default: a new folder; what went well is removed)")
    parser.add_argument("--verbose", action="store_true", help="a line for each run")
    parser.add_argument("--timed", action="store_true", help="ends and recoveries must be prompt, too; if nothing runs beside")
    chosen = parser.parse_args()
    stack = check_stack(chosen.mpi)
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))      # or ranks would be left
    began, verdicts = time.monotonic(), []
    chaos = Chaos(stack, chosen.ranks, chosen.seed, folder, chosen.timed)
    print(f"chaos: {chosen.runs} runs on {chosen.ranks} ranks, {chosen.mpi}, each {chaos.span:.1f} s if undisturbed", flush=True)
    for seed in range(chosen.seed, chosen.seed + chosen.runs):
        verdicts.append(chaos.trial(seed))
        if chosen.verbose:
            print(verdicts[-1], f"{verdicts[-1].seconds:.1f} s, again {verdicts[-1].recoveries}", flush=True)
        if verdicts[-1].problems:
            print(f"FAILED {verdicts[-1]}; see {folder / f'run-{seed}'}", flush=True)
    good = report(verdicts, chosen.mpi == "ulfm", chosen.timed, time.monotonic() - began)
    if good and not any(verdict.problems for verdict in verdicts):
        shutil.rmtree(folder)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

"""A newcomer's path, timed: a clone, and then all that docs/tutorial.md says, as printed there.

    python3.11 tests/newcomer.py                        in a new clone, with a new environment: some minutes
    python3.11 tests/newcomer.py --environment .venv    in a copy of this folder, with an environment that is there

The report is opened in Chromium, and so is one of 2,000 tasks on 64 ranks. Ends with status 1 if something is printed that the
tutorial does not say, or if a report takes 2 s to be on the screen. Needs nothing but Python, git and chromium.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from browser import Browser
from pages import Action, actions, check

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = shutil.ignore_patterns(".git", ".venv*", "results", "out", "build", "dist", "*.egg-info", ".mpiflow", "__pycache__",
                                  ".*_cache", ".hypothesis")
LARGE = ("python tests/made_up.py large.json", "python -m mpiflow report large.json -o large.html")
LONGEST = 2.0           # seconds until a report has been drawn
PATIENCE = 900          # seconds that one command may take
Stage = tuple[str, float]       # what was done, and for how long [s]


def clone(folder: Path, environment: Path | None) -> None:
    """Get the repository: by git, or this folder as it is now, with an environment that need not be made."""
    if environment is None:
        subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True, timeout=PATIENCE)
    else:
        shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
        (folder / ".venv").symlink_to(environment.resolve())


def walk(folder: Path) -> Iterator[Stage]:
    """Do in a clone what the tutorial says, and give what each thing took; open each report that is made on the way.

    Raises:
        AssertionError: Something fails, or prints another thing than the tutorial says.
    """
    sourced = ""                # what the reader's shell has read
    for action in actions(folder / "docs" / "tutorial.md"):
        if action.kind == "sh" and action.text.startswith(". "):
            sourced += f"{action.text}; "
            continue
        start = time.perf_counter()
        typed(action, folder, sourced)
        yield shown(action), time.perf_counter() - start
        if action.text.startswith("python -m mpiflow report "):
            yield "the report in a browser", opened(folder / action.text.split()[-1])
    for command in LARGE:
        typed(Action("console", command), folder, sourced)
    yield "a report of 2,000 tasks on 64 ranks in a browser", opened(folder / "large.html")


def typed(action: Action, folder: Path, sourced: str) -> None:
    """Write a file, or run something in the reader's shell, and see what it prints."""
    if action.kind not in ("sh", "console", "python"):
        (folder / action.kind).write_text(action.text)
        return
    command = f"{sourced}{'python -' if action.kind == 'python' else action.text}"
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "PYTHON", "MFLAGS"))}
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=own, timeout=PATIENCE, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, input=action.text if action.kind == "python" else "")
    wanted = "mpiflow: error" in (action.printed or "")
    assert wanted or done.returncode == 0, f"{action.text}: status {done.returncode}\n{done.stdout}"
    check(action, done.stdout)


def shown(action: Action) -> str:
    """Give a line for what is done."""
    if action.kind in ("sh", "console"):
        return action.text
    return "a program" if action.kind == "python" else f"write {action.kind}"


def opened(file: Path) -> float:
    """Open a page, and give the time until it has been drawn [s].

    Raises:
        AssertionError: It complains, or shows no figures.
    """
    with tempfile.TemporaryDirectory() as own:
        browser = Browser(Path(own))
        try:
            seconds = browser.open(file.resolve().as_uri())
            assert browser.complaints == [] and browser.evaluate("document.querySelector('.figures').innerText.length") > 20
        finally:
            browser.close()
    return seconds


def main() -> int:
    """Walk, say what each step takes, and give the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", type=Path, metavar="DIR", help="take this environment instead of making one")
    chosen, start, slow = parser.parse_args(), time.perf_counter(), False
    with tempfile.TemporaryDirectory() as above:
        folder = Path(above) / "mpiflow"
        clone(folder, chosen.environment)
        print(f"{time.perf_counter() - start:7.1f} s  {'copy' if chosen.environment else 'git clone'}", flush=True)
        for what, seconds in walk(folder):
            print(f"{seconds:7.1f} s  {what}", flush=True)
            slow |= what.endswith("in a browser") and seconds >= LONGEST
    print(f"{time.perf_counter() - start:7.1f} s  in all")
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())

"""The site is built without a warning, and what its pages tell readers to type works as printed (see ``pages.py``)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import newcomer
import pytest
from launching import ROOT, launch
from pages import DOCS, actions, check

DRIVER = """
import contextlib, io, json, subprocess
from pathlib import Path

names, outputs = {"__name__": "__main__"}, []
for kind, text in json.loads(Path("steps.json").read_text()):
    if kind == "python":
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(text, "<page>", "exec"), names)
        outputs.append(out.getvalue())
    elif kind == "console":
        done = subprocess.run(text, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        outputs.append(done.stdout)
    else:
        Path(kind).write_text(text)
        outputs.append("")
print(json.dumps(outputs))
"""


@pytest.mark.parametrize("page", ["concepts", "python"])
def test_what_a_page_tells_to_type_works_as_printed(page, tmp_path):
    steps = [step for step in actions(DOCS / f"{page}.md") if step.kind != "sh"]
    assert len(steps) >= 5
    (tmp_path / "steps.json").write_text(json.dumps([step[:2] for step in steps]))
    (tmp_path / "driver.py").write_text(DRIVER)
    ended = launch([sys.executable, "driver.py"], cwd=tmp_path)
    assert ended.status == 0, ended.err
    for step, printed in zip(steps, json.loads(ended.out.splitlines()[-1]), strict=True):
        check(step, printed)


def test_a_newcomer_can_do_what_the_tutorial_says(tmp_path):
    newcomer.clone(tmp_path / "mpiflow", Path(sys.prefix))
    done = [what for what, _ in newcomer.walk(tmp_path / "mpiflow")]
    assert done[0] == "make demo" and "write ops.py" in done and sum("in a browser" in what for what in done) == 2
    assert (tmp_path / "mpiflow" / "results" / "numbers.h5").exists()


def test_the_site_is_built_without_a_warning(tmp_path):
    ended = launch([sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"], cwd=ROOT)
    assert ended.status == 0, ended.out + ended.err
    pages = {page: (tmp_path / "site" / "reference" / f"{page}.html").read_text() for page in ("document", "cli", "api")}
    assert "random" in pages["document"] and "--resume" in pages["cli"]
    assert all(word in pages["api"] for word in ("Workflow.plan", "Run.value", "Session", "Deferred.state", "StepError"))

"""The site is built without a warning, and what its pages tell readers to type works as printed.

In these pages a ``python`` or ``yaml`` block whose first line is ``# name`` is a file, other ``python`` blocks are one program,
and of ``console`` blocks the lines with ``$`` are typed. What is printed stands below, or in the ``text`` block behind; ``...``
is anything. ``sh`` blocks are not run: they install something.
"""

from __future__ import annotations

import json
import re
import sys

import pytest
from launching import EXAMPLES, ROOT, launch, mpiflow

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# ([\w./-]+\.(?:py|yaml))\n")
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


def actions(page):
    """Give what a page has its reader do: kind or file name, text, and what is printed then, if the page says it."""
    found = []
    for language, text in FENCE.findall((ROOT / "docs" / f"{page}.md").read_text()):
        named = FILE.match(text)
        if language in ("python", "yaml") and named:
            found.append((named[1], text, None))
        elif language == "python":
            found.append(("python", text, None))
        elif language == "text":
            found[-1] = (*found[-1][:2], text)
        elif language == "console":
            for command in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                line, _, printed = command.partition("\n")
                found.append(("console", line, printed))
        else:
            assert language == "sh", f"{page}.md has a block of {language!r}, which nobody runs"
    return found


def pattern(expected):
    """Give a regular expression for what is printed."""
    lines = ["(?:.*\n)*?" if line == "..." else ".*".join(map(re.escape, line.split("..."))) + "\n"
             for line in expected.rstrip("\n").split("\n")]
    return "".join(lines)


@pytest.mark.parametrize("page", ["tutorial", "concepts", "python"])
def test_what_a_page_tells_to_type_works_as_printed(page, tmp_path):
    if page == "tutorial":                      # what make demo leaves
        assert mpiflow(2, EXAMPLES / "adk" / "workflow.yaml", cwd=tmp_path).status == 0
    steps = actions(page)
    (tmp_path / "steps.json").write_text(json.dumps([step[:2] for step in steps]))
    (tmp_path / "driver.py").write_text(DRIVER)
    ended = launch([sys.executable, "driver.py"], cwd=tmp_path)
    assert ended.status == 0, ended.err
    outputs = json.loads(ended.out.splitlines()[-1])
    for (kind, text, expected), printed in zip(steps, outputs, strict=True):
        if expected is not None:
            assert re.fullmatch(pattern(expected), printed.rstrip("\n") + "\n"), (
                f"{kind}: {text}\nprints\n{printed}\nnot\n{expected}")


def test_the_pages_have_something_to_type():
    assert [len(actions(page)) >= 5 for page in ("tutorial", "concepts", "python")] == [True] * 3


def test_the_site_is_built_without_a_warning(tmp_path):
    ended = launch([sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"], cwd=ROOT)
    assert ended.status == 0, ended.out + ended.err
    pages = {page: (tmp_path / "site" / "reference" / f"{page}.html").read_text() for page in ("document", "cli", "api")}
    assert "random" in pages["document"] and "--resume" in pages["cli"]
    assert all(word in pages["api"] for word in ("Workflow.plan", "Run.value", "Session", "Deferred.state", "StepError"))

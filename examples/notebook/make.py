"""Write ``even-odd.ipynb`` anew, with the outputs that its cells give now: ``python make.py`` in this folder."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MOST = 100_000          # characters of what a cell shows; more is not stored
CELLS = [
    ("markdown", """\
# Even and odd, in a notebook

A workflow built in Python, looked at, planned and run. Without `mpirun` there is one rank; the same code in a program under
`mpirun -n 8` runs on eight."""),
    ("code", """\
import mpiflow as mf"""),
    ("markdown", """\
An operation is a function of arrays. This one is *linear*: it runs on each block where it lies, and only the counts are
added."""),
    ("code", """\
@mf.operation(linear=True)
def real2bin(x):
    \"\"\"How many numbers of each of ten columns are at least 0.5; int64, shape (10,).\"\"\"
    return (x >= 0.5).reshape(-1, 10).sum(axis=0)"""),
    ("markdown", """\
Operations on handles are expressions; nothing is computed yet."""),
    ("code", """\
wf = mf.Workflow("even-odd")
a = wf.dataset("DS1", random={"shape": [100_000], "seed": 1}, blocks=4, rank=1)
b = wf.dataset("DS2", random={"shape": [100_000], "seed": 2}, blocks=4, rank=2)
bits = wf.step("bits", real2bin(a + b))
share = wf.step("share", bits / mf.builtin.count(a + b))
wf"""),
    ("markdown", """\
What the same document is in YAML:"""),
    ("code", """\
print(wf.to_yaml())"""),
    ("markdown", """\
What would run where on eight ranks of two nodes:"""),
    ("code", """\
wf.plan(ranks=8, ranks_per_node=4)"""),
    ("markdown", """\
And the run, here on one rank:"""),
    ("code", """\
run = mf.run(wf, save=False)
run"""),
    ("code", """\
run["share"].sum()"""),
    ("markdown", """\
Its report, in place: timeline, what moved, memory, where results come from. Run this cell to see it; it is too large to be
stored here."""),
    ("code", """\
run.report()"""),
    ("markdown", """\
## One expression at a time

A session gives handles at once. What they stand for is computed when a value is asked for, and each recipe once."""),
    ("code", """\
s = mf.session(workflow=wf)
spread = s.std(s.DS1)
spread.state"""),
    ("code", """\
spread.value(), spread.state"""),
]


def outputs(source: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    """Run one cell as a notebook would, and give what it shows: what it prints, and its last expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "<cell>", "exec"), names)
        value = None if last is None else eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)
    found = []
    if printed.getvalue():
        found.append({"output_type": "stream", "name": "stdout", "text": printed.getvalue().splitlines(keepends=True)})
    if value is not None:
        shown = {"text/plain": repr(value).splitlines(keepends=True)}
        page = value._repr_html_() if hasattr(value, "_repr_html_") else ""
        if 0 < len(page) <= MOST:
            shown["text/html"] = page.splitlines(keepends=True)
        found.append({"output_type": "execute_result", "execution_count": 1, "metadata": {}, "data": shown})
    return found


def notebook() -> dict[str, Any]:
    """Give the notebook, its cells run here."""
    names: dict[str, Any] = {}
    cells = []
    for number, (kind, source) in enumerate(CELLS):
        cell = {"id": f"cell-{number}", "cell_type": kind, "metadata": {}, "source": source.splitlines(keepends=True)}
        if kind == "code":
            cell |= {"execution_count": 1, "outputs": outputs(source, names)}
        cells.append(cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    about = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": about, "nbformat": 4, "nbformat_minor": 5}


def main() -> None:
    """Write the file; the cells run in a folder of their own."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        made = notebook()
    (HERE / "even-odd.ipynb").write_text(json.dumps(made, indent=1) + os.linesep)


if __name__ == "__main__":
    main()

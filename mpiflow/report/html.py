"""The report of a run: one HTML file that needs nothing else. Pure.

The page lies in ``page/``; its charts are drawn by ECharts, which is put into the file too. What the
run has left goes in as JSON, tasks by columns; the page builds everything from that, and never takes a text for markup.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

from mpiflow.report.critical import critical_path
from mpiflow.report.plain import finite

_SCRIPTS = ("model.js", "elements.js", "frame.js", "details.js", "overview.js", "layout.js", "nodes.js", "graph.js",
            "timeline.js", "moving.js", "accuracy.js", "failures.js", "results.js", "provenance.js", "start.js")
_LIBRARY = "echarts.min.js"
# By columns, each of which may be missing in the records of older versions.
_COLUMNS = {"step": "", "instance": "", "kind": "apply", "operation": "", "id": "", "needs": (), "planned_rank": -1,
            "planned_start": 0.0, "planned_seconds": 0.0, "planned_nbytes": 0, "rank": -1, "state": "planned", "start": 0.0,
            "seconds": 0.0, "nbytes": 0, "error": "", "parameters": {}}
_DIGITS = 7             # after the point: a tenth of a microsecond


def page(record: Mapping[str, Any], results: Sequence[Mapping[str, Any]] = (), refresh: float = 0.0, condition: str = "") -> str:
    """Give the report of a run as HTML.

    Args:
        record: See ``mpiflow.report.record``; what is missing is not shown.
        results: Files with results, see ``mpiflow.storage.preview.result_files``.
        refresh: After how long the page reads itself again while the run goes on [s]; 0 for never.
        condition: How the run stands, if the record does not know: "running", "killed" or "silent".
    """
    data = page_data(record) | {"results": list(results), "refresh": refresh, "condition": condition}
    return assembled(data, f"{record['name']} · mpiflow")


def page_data(record: Mapping[str, Any]) -> dict[str, Any]:
    """Give what the page is built from."""
    tasks = record["tasks"]
    columns = {name: [_rounded(task.get(name, default)) for task in tasks] for name, default in _COLUMNS.items()}
    for name in ("step", "kind", "operation", "state"):                 # few words, many times
        words = list(dict.fromkeys(columns[name]))
        places = {word: place for place, word in enumerate(words)}
        columns[name] = {"words": words, "places": [places[word] for word in columns[name]]}
    rest = {name: value for name, value in record.items() if name not in ("tasks", "datasets")}
    return {**rest, "tasks": columns, "datasets": record.get("datasets", {}),
            "transfers": [[*move[:3], *map(_rounded, move[3:])] for move in record.get("transfers", ())],
            "critical": critical_path(record)}


def assembled(data: Mapping[str, Any], title: str) -> str:
    """Put data into the page."""
    parts = dict(_parts()) | {"title": html.escape(title).encode("utf-8", "replace").decode(), "data": _embedded(data)}
    return re.sub(r"\{\{([a-z]+)\}\}", lambda match: parts[match[1]], _read("page.html"))


@lru_cache(1)
def _parts() -> dict[str, str]:
    return {"style": _read("page.css"), "library": _read(f"vendor/{_LIBRARY}"),
            "script": "\n".join(map(_read, _SCRIPTS))}


def _read(name: str) -> str:
    return files("mpiflow.report").joinpath("page", name).read_text(encoding="utf-8")


def _embedded(data: Mapping[str, Any]) -> str:
    """JSON that no text in it can leave: neither a script's end nor a comment begins without this sign."""
    return json.dumps(finite(data), separators=(",", ":"), default=str).replace("<", "\\u003c")


def _rounded(value: Any) -> Any:
    return round(value, _DIGITS) if isinstance(value, float) else value

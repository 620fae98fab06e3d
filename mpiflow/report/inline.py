"""Pictures and tables that a notebook shows in place: HTML and SVG without scripts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import networkx as nx

from mpiflow.planning.forecast import Forecast

MOST_NAMES = 200        # of a DAG that are drawn
MOST_TASKS = 2000       # of a plan, likewise
_COLUMN, _ROW, _BOX, _TALL = 180, 34, 150, 24       # pixels
_LETTERS = 19           # that a box has room for
_WIDE, _LANE = 760, 18  # of a plan, and of one rank in it, in pixels
_STYLE = 'style="max-width:100%;font:12px sans-serif" fill="currentColor" stroke="none"'


def dag_svg(graph: nx.DiGraph) -> str:
    """Draw the DAG of names: datasets round, steps angular, who reads to the right of what is read.

    Args:
        graph: Node attribute ``kind`` is "dataset" or "step"; without cycles.
    """
    if len(graph) > MOST_NAMES:
        return _svg(_WIDE, 30, [f'<text x="4" y="20">{len(graph)} names: too many to be drawn here</text>'])
    places = _places(graph)
    parts = [_edge(places[source], places[target]) for source, target in graph.edges]
    parts += [_box(name, place, graph.nodes[name].get("kind") == "dataset") for name, place in places.items()]
    width = max([x for x, _ in places.values()], default=0) + _COLUMN
    return _svg(width, max([y for _, y in places.values()], default=0) + _ROW + 8, parts)


def _places(graph: nx.DiGraph) -> dict[str, tuple[int, int]]:
    """Give each name a place: a column for each generation, beside what it reads as far as possible."""
    places: dict[str, tuple[int, int]] = {}
    for column, names in enumerate(nx.topological_generations(graph)):
        def height(name: str) -> tuple[float, str]:
            before = [places[other][1] for other in graph.predecessors(name)]
            return sum(before) / max(len(before), 1), name

        for row, name in enumerate(sorted(names, key=height)):
            places[name] = 8 + column * _COLUMN, 8 + row * _ROW
    return places


def _edge(source: tuple[int, int], target: tuple[int, int]) -> str:
    x, y, u, v = source[0] + _BOX, source[1] + _TALL / 2, target[0], target[1] + _TALL / 2
    return f'<path d="M{x} {y}C{x + 20} {y} {u - 20} {v} {u} {v}" fill="none" stroke="currentColor" stroke-opacity=".45"/>'


def _box(name: str, place: tuple[int, int], dataset: bool) -> str:
    x, y = place
    shown = name if len(name) <= _LETTERS else name[:_LETTERS - 3] + "..."
    return (f'<g><title>{escape(name)}</title><rect x="{x}" y="{y}" width="{_BOX}" height="{_TALL}" rx="{12 if dataset else 3}" '
            f'fill="{"#5b8dd9" if dataset else "#e0a03c"}" fill-opacity=".3" stroke="currentColor" stroke-opacity=".6"/>'
            f'<text x="{x + 8}" y="{y + 16}">{escape(shown)}</text></g>')


def plan_svg(found: Forecast) -> str:
    """Draw a plan: a lane for each rank, in it its tasks over the predicted time."""
    plan, simulation, size = found.plan, found.simulation, found.machine.size
    steps = {step: number for number, step in enumerate(dict.fromkeys(task.step for task in plan.graph.tasks))}
    scale = (_WIDE - 70) / max(simulation.seconds, 1e-9)
    parts = [f'<text x="2" y="{rank * _LANE + 14}">rank {rank}</text>' for rank in range(size)]
    for number, task in enumerate(plan.graph.tasks[:MOST_TASKS]):
        start, seconds, rank = simulation.starts[number], plan.estimates.seconds[number], plan.ranks[number]
        title = f"{escape(task.name)} ({task.kind}): {start:.4f} to {start + seconds:.4f} s"
        parts.append(f'<rect x="{60 + start * scale:.1f}" y="{rank * _LANE + 3}" width="{max(seconds * scale, 1):.1f}" '
                     f'height="{_LANE - 5}" fill="hsl({steps[task.step] * 137 % 360} 55% 55%)"><title>{title}</title></rect>')
    if len(plan.graph.tasks) > MOST_TASKS:
        parts.append(f'<text x="60" y="{size * _LANE + 14}">the first {MOST_TASKS} of {len(plan.graph.tasks)} tasks</text>')
    return _svg(_WIDE, size * _LANE + 22, parts)


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" {_STYLE}>'
            f'{"".join(parts)}</svg>')


def workflow_html(title: str, graph: nx.DiGraph | None) -> str:
    """Show a workflow by its DAG; without one, what is wrong with it."""
    return f"<pre>{escape(title)}</pre>" if graph is None else f"<div><b>{escape(title)}</b><br>{dag_svg(graph)}</div>"


def text_html(text: str) -> str:
    """Show plain text as it is."""
    return f"<pre>{escape(text)}</pre>"


def plan_html(found: Forecast, text: str) -> str:
    """Show a plan: ranks over time, and what ``print`` says of it."""
    head = (f"{found.name} on {found.machine.size} ranks: predicted {found.simulation.seconds:.3f} s, lower bound "
            f"{found.bounds.seconds:.3f} s, {found.plan.nbytes} bytes between ranks")
    return (f"<div><b>{escape(head)}</b><br>{plan_svg(found)}<details><summary>all of it</summary>{text_html(text)}"
            "</details></div>")


def report_html(page: str) -> str:
    """Show a report in a frame; ``page`` is all of it."""
    return (f'<iframe srcdoc="{escape(page)}" title="report" '
            'style="width:100%;height:640px;border:1px solid #8884;border-radius:4px"></iframe>')


def run_html(head: str, summary: str, values: Mapping[str, str]) -> str:
    """Show what came of a run: its values, and its summary.

    Args:
        head: One line.
        summary: What ``print`` says.
        values: Name to form: dtype, shape and where it is.
    """
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(form)}</td></tr>" for name, form in values.items())
    return (f"<div><b>{escape(head)}</b><table>{rows}</table><details><summary>summary</summary>{text_html(summary)}</details>"
            "</div>")

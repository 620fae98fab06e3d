"""A graph of boxes as SVG, DOT or Mermaid. Pure.

The SVG needs no Graphviz: boxes stand in layers, in an order with few crossings, and an arrow across several layers gets a place
in each of them. Source: Sugiyama, Tagawa, Toda 1981, with medians and four sweeps.
"""

from __future__ import annotations

import json
from html import escape
from itertools import pairwise
from statistics import fmean

import networkx as nx

from mpiflow.report.dag import Box

_SWEEPS = 4
_CHARACTER = 7.2        # width of a letter,
_LINE, _PAD = 16, 10    # height of a line, space around text,
_GAP, _RISE = 24, 48    # space between boxes, and between layers [px]
_LONGEST = 32           # letters of a line of a box
_STYLE = """\
text{font:12px ui-monospace,Menlo,Consolas,monospace;fill:#222}.name{font-weight:bold}.file{fill:#06733a}
rect{fill:#eef3fb;stroke:#4a6fa5}.dataset rect{fill:#fdf6e3;stroke:#b58900}path{fill:none;stroke:#999}
@media(prefers-color-scheme:dark){svg{background:#1b1d21}text{fill:#e6e6e6}.file{fill:#7bd88f}rect{fill:#25324a}
.dataset rect{fill:#3a3320}path{stroke:#777}}"""


def to_dot(graph: nx.DiGraph) -> str:
    """Give the graph for Graphviz."""
    lines = ["digraph workflow {", "  node [shape=box, fontname=monospace];"]
    for node, box in graph.nodes(data="box"):
        style = ", style=rounded" if box.kind == "dataset" else ""
        lines.append(f"  n{node} [label={_quoted(_lines(box))}{style}];")
    return "\n".join([*lines, *[f"  n{one} -> n{other};" for one, other in graph.edges], "}"]) + "\n"


def _quoted(lines: list[str]) -> str:
    return '"' + "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in lines) + '"'


def to_mermaid(graph: nx.DiGraph) -> str:
    """Give the graph for Mermaid, as many pages and notebooks show it."""
    lines = ["flowchart TD"]
    for node, box in graph.nodes(data="box"):
        text = "<br/>".join(escape(line, quote=False).replace('"', "#quot;") for line in _lines(box))
        lines.append(f'  n{node}(["{text}"])' if box.kind == "dataset" else f'  n{node}["{text}"]')
    return "\n".join([*lines, *[f"  n{one} --> n{other}" for one, other in graph.edges]]) + "\n"


def to_json(graph: nx.DiGraph) -> str:
    """Give nodes and edges as JSON."""
    nodes = [{"id": node, "kind": box.kind, "name": box.name, "num": box.num, "does": box.does, "files": list(box.files)}
             for node, box in graph.nodes(data="box")]
    return json.dumps({"nodes": nodes, "edges": [list(edge) for edge in graph.edges]}, indent=1)


def to_svg(graph: nx.DiGraph) -> str:
    """Give the graph as a picture that stands by itself; light or dark, as whoever looks likes it."""
    layers, ways = _layered(graph)
    _order(layers, ways)
    sizes = {node: _size(graph.nodes[node]["box"]) if node in graph else (0.0, 0.0) for layer in layers for node in layer}
    places, width, height = _placed(layers, sizes)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
             f'viewBox="0 0 {width:.0f} {height:.0f}"><style>{_STYLE}</style><defs><marker id="tip" viewBox="0 0 8 8" refX="7" '
             'refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" style="fill:#999;stroke:none"/>'
             "</marker></defs>"]
    parts += [_arrow(way, places, sizes) for way in ways]
    parts += [_drawn(box, places[node], sizes[node]) for node, box in graph.nodes(data="box")]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _lines(box: Box) -> list[str]:
    return [box.title, *([box.does] if box.does else []), *[f"→ {file}" for file in box.files]]


def _cut(line: str) -> str:
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST // 2]}…{line[1 - _LONGEST // 2:]}"


def _size(box: Box) -> tuple[float, float]:
    lines = [_cut(line) for line in _lines(box)]
    return max(map(len, lines)) * _CHARACTER + 2 * _PAD, len(lines) * _LINE + _PAD


def _layered(graph: nx.DiGraph) -> tuple[list[list], list[list]]:
    """Layers of nodes, each below all that it needs, and the way of each arrow: its ends, and a place in each layer between."""
    layers: list[list] = [list(layer) for layer in nx.topological_generations(graph)]
    depth = {node: number for number, layer in enumerate(layers) for node in layer}
    for node in reversed(list(graph)):          # what nothing comes before stands right above what needs it
        if not graph.in_degree(node) and graph.out_degree(node):
            layers[depth[node]].remove(node)
            depth[node] = min(depth[other] for other in graph.successors(node)) - 1
            layers[depth[node]].append(node)
    ways = []
    for one, other in graph.edges:
        between = range(depth[one] + 1, depth[other])
        for layer in between:
            layers[layer].append((one, other, layer))
        ways.append([one, *[(one, other, layer) for layer in between], other])
    return layers, ways


def _order(layers: list[list], ways: list[list]) -> None:
    """Put the nodes of each layer near those that they are joined to above, then below, some times."""
    short = nx.DiGraph(pair for way in ways for pair in pairwise(way))
    short.add_nodes_from(node for layer in layers for node in layer)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for number in range(1, len(layers)) if down else range(len(layers) - 2, -1, -1):
            others = layers[number - 1 if down else number + 1]
            places = {node: (place + 0.5) / len(others) for place, node in enumerate(others)}
            wanted = {}
            for place, node in enumerate(layers[number]):
                near = [places[other] for other in (short.predecessors(node) if down else short.successors(node))]
                wanted[node] = fmean(near) if near else (place + 0.5) / len(layers[number])
            layers[number].sort(key=wanted.__getitem__)


def _placed(layers: list[list], sizes: dict) -> tuple[dict, float, float]:
    """The middle of each node, and the size of the picture [px]; what bends in a layer is as high as that."""
    widths = [sum(sizes[node][0] for node in layer) + _GAP * (len(layer) + 1) for layer in layers]
    width, top, places = max(widths, default=0.0), float(_GAP), {}
    for layer, own in zip(layers, widths, strict=True):
        height = max(sizes[node][1] for node in layer)
        left = (width - own) / 2 + _GAP
        for node in layer:
            if isinstance(node, tuple):
                sizes[node] = 0.0, height
            places[node] = left + sizes[node][0] / 2, top + height / 2
            left += sizes[node][0] + _GAP
        top += height + _RISE
    return places, width, top - _RISE + _GAP if layers else 0.0


def _arrow(way: list, places: dict, sizes: dict) -> str:
    x, y = places[way[0]][0], places[way[0]][1] + sizes[way[0]][1] / 2
    path = [f"M{x:.0f} {y:.0f}"]
    for node in way[1:]:
        to_x, to_y = places[node][0], places[node][1] - sizes[node][1] / 2
        middle = (y + to_y) / 2
        path.append(f"C{x:.0f} {middle:.0f} {to_x:.0f} {middle:.0f} {to_x:.0f} {to_y:.0f}")
        x, y = to_x, to_y
        if node != way[-1]:                     # straight through the layer, past its boxes
            y += sizes[node][1]
            path.append(f"V{y:.0f}")
    return f'<path d="{"".join(path)}" marker-end="url(#tip)"/>'


def _drawn(box: Box, place: tuple[float, float], size: tuple[float, float]) -> str:
    (x, y), (width, height) = place, size
    lines = _lines(box)
    text = "".join(
        f'<text x="{x:.0f}" y="{y - height / 2 + _PAD / 2 + _LINE * (row + 0.75):.0f}" text-anchor="middle"'
        f'{_class(row, line)}>{escape(_cut(line))}</text>' for row, line in enumerate(lines))
    return (f'<g class="{box.kind}"><title>{escape(chr(10).join(lines))}</title><rect x="{x - width / 2:.0f}" '
            f'y="{y - height / 2:.0f}" width="{width:.0f}" height="{height:.0f}" rx="{8 if box.kind == "dataset" else 2}"/>'
            f"{text}</g>")


def _class(row: int, line: str) -> str:
    return ' class="name"' if row == 0 else ' class="file"' if line.startswith("→") else ""

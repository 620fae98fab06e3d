"""The DAG of a document as boxes: what is alike is one box with a number, so that thousands of steps stay readable. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import networkx as nx

from mpiflow.workflow.expressions import Call, Collected, walk
from mpiflow.workflow.model import Dataset
from mpiflow.workflow.programs import is_program
from mpiflow.workflow.reading import Workflow

MOST = 60               # so many boxes are drawn one by one; if there are more, those of a layer that do the same are one


@dataclass(frozen=True)
class Box:
    """One node.

    Attributes:
        kind: "dataset" or "step".
        name: What it is called.
        num: How many it stands for: instances of a loop, or steps that do the same; None if that is known at the start of a run.
        does: What it calls, or where it comes from.
        files: Files of results that it is written to.
    """

    kind: str
    name: str
    num: int | None = 1
    does: str = ""
    files: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Its name, and how many there are."""
        return self.name if self.num == 1 else f"{self.name} ×{'?' if self.num is None else self.num}"


def boxes(workflow: Workflow, every: bool = False) -> nx.DiGraph:
    """Give the graph of the boxes of a workflow, numbered in an order that the arrows follow; attribute ``box`` of a node.

    Args:
        workflow: A document that is right.
        every: Whether all steps are drawn, however many there are; instances of loops are always one box.
    """
    graph = nx.DiGraph()
    named = _groups(workflow)
    for name, group in named.items():
        box = _box(workflow, name, group)
        if group not in graph:
            graph.add_node(group, box=box, nums=[])
        graph.nodes[group]["nums"].append(box.num)
    graph.add_edges_from((named[one], named[other]) for one, other in workflow.graph.edges if named[one] != named[other])
    for group, data in graph.nodes.items():
        nums = data.pop("nums")
        num = None if None in nums else sum(nums)
        graph.nodes[group]["box"] = Box(data["box"].kind, group, num, data["box"].does, data["box"].files)
    if len(graph) > MOST and not every:
        graph = _merged(graph)
    order = {node: number for number, node in enumerate(nx.lexicographical_topological_sort(graph))}
    numbered = nx.DiGraph()
    numbered.add_nodes_from((number, {"box": graph.nodes[node]["box"]}) for node, number in order.items())
    numbered.add_edges_from(sorted((order[one], order[other]) for one, other in graph.edges))
    return numbered


def _groups(workflow: Workflow) -> dict[str, str]:
    """For each name the one that people know it by; several, if it is inside a loop over documents, have one."""
    groups = {name: workflow.whole.groups.get(name, (name, ""))[0] for name in workflow.graph.nodes}
    graph = nx.DiGraph((groups[one], groups[other]) for one, other in workflow.graph.edges if groups[one] != groups[other])
    return groups if nx.is_directed_acyclic_graph(graph) else {name: name for name in groups}


def _box(workflow: Workflow, name: str, group: str) -> Box:
    document = workflow.document
    files = tuple(file for result, file in document.files.items() if result.removesuffix(".*") in (name, group))
    if name in document.datasets:
        return Box("dataset", group, 1, _origin(document.datasets[name]), files)
    loop, expression = workflow.loops.get(name), workflow.expressions.get(name)
    num = 1 if loop is None else None if loop.rows is None else len(loop.rows)
    step = document.steps[name]
    if is_program(step):
        does = str(step.run[0])
    elif expression is None or isinstance(expression, Collected):
        does = ""
    else:
        does = ", ".join(dict.fromkeys(item.operation for item in walk(expression) if isinstance(item, Call)))
    return Box("step", group, num, does, files)


def _origin(dataset: Dataset) -> str:
    if dataset.file:
        return str(dataset.file)
    return next((source for source in Dataset.SOURCES if getattr(dataset, source, None) is not None), "")


def _merged(graph: nx.DiGraph) -> nx.DiGraph:
    """Join boxes of one layer that do the same: a workflow that was written by a program has thousands of them."""
    kept: dict[tuple[int, str, str], list[str]] = {}
    for layer, nodes in enumerate(nx.topological_generations(graph)):
        for node in nodes:
            box = graph.nodes[node]["box"]
            kept.setdefault((layer, box.kind, box.does), []).append(node)
    place = {node: number for number, nodes in enumerate(kept.values()) for node in nodes}
    merged = nx.DiGraph()
    for number, nodes in enumerate(kept.values()):
        merged.add_node(number, box=_joined([graph.nodes[node]["box"] for node in nodes]))
    merged.add_edges_from((place[one], place[other]) for one, other in graph.edges)
    return nx.relabel_nodes(merged, {number: f"{number:09}" for number in merged})


def _joined(alike: list[Box]) -> Box:
    if len(alike) == 1:
        return alike[0]
    num = None if any(box.num is None for box in alike) else sum(box.num for box in alike)
    files = [file for box in alike for file in box.files]
    shown = (files[0], f"and {len(files) - 1} more") if len(files) > 2 else tuple(files)
    return Box(alike[0].kind, _stem([box.name for box in alike]), num, alike[0].does, shown)


def _stem(names: list[str]) -> str:
    """What names have in common at their beginning; or the first one."""
    first, last = min(names), max(names)
    common = next((first[:i] for i in range(len(first)) if first[:i + 1] != last[:i + 1]), first).rstrip("_-0123456789.")
    return f"{common}…" if len(common) >= 3 else f"{first} …"


def kinds(graph: nx.DiGraph) -> Counter[str]:
    """How many datasets and steps the boxes stand for, as far as that is known."""
    found: Counter[str] = Counter()
    for box in _all(graph):
        found[box.kind] += 1 if box.num is None else box.num
    return found


def _all(graph: nx.DiGraph) -> Iterator[Box]:
    return (data["box"] for _, data in graph.nodes(data=True))

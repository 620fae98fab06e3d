"""``graph``: the DAG of a document; what is alike is one box, and arrows point down."""

import json
import re
from xml.etree import ElementTree

import networkx as nx
import pytest
from launching import EXAMPLES

from mpiflow.report.dag import MOST, boxes, kinds
from mpiflow.report.drawing import to_dot, to_mermaid, to_svg
from mpiflow.workflow.reading import read_workflow

HEAD = "mpiflow: 1\nname: made\ndatasets: {x: {random: {shape: [8]}}, 'y': {file: data/y.npy}}\nsteps:\n"


def graph(steps, every=False, results="{}"):
    return boxes(read_workflow(f"{HEAD}{steps}\nresults: {results}\n", "w.yaml"), every)


def titles(found):
    return [box.title for _, box in found.nodes(data="box")]


def svg(found):
    """The boxes of a picture by their titles: left, top, right, bottom; and the arrows: where they begin and end."""
    root = ElementTree.fromstring(to_svg(found))
    space = {"s": "http://www.w3.org/2000/svg"}
    drawn = {}
    for group in root.findall("s:g", space):
        x, y, width, height = (float(group.find("s:rect", space).get(key)) for key in ("x", "y", "width", "height"))
        drawn[group.find("s:title", space).text.splitlines()[0]] = x, y, x + width, y + height
    numbers = [[*map(float, re.findall(r"-?\d+", path.get("d")))] for path in root.findall("s:path", space)]
    return drawn, [(way[:2], way[-2:]) for way in numbers], (float(root.get("width")), float(root.get("height")))


def test_datasets_and_steps_are_boxes_in_an_order_that_arrows_follow():
    found = graph("  a: mean(x)\n  b: a + y\n", results="{b: out/b.npy}")
    assert titles(found) == ["x", "a", "y", "b"] and all(one < other for one, other in found.edges)
    assert [(titles(found)[one], titles(found)[other]) for one, other in found.edges] == [("x", "a"), ("a", "b"), ("y", "b")]
    box = found.nodes[3]["box"]
    assert (box.kind, box.num, box.files) == ("step", 1, ("out/b.npy",)) and found.nodes[2]["box"].does == "data/y.npy"


def test_instances_of_a_loop_are_one_box_with_their_number():
    found = graph("  a: {for: {i: range(5000)}, run: x * $i}\n  b: sum(a)\n", every=True)
    assert set(titles(found)) == {"x", "y", "a ×5000", "b"}
    assert kinds(found) == {"dataset": 2, "step": 5001}


def test_thousands_of_steps_that_do_the_same_are_few_boxes():
    steps = "".join(f"  part_{i}: mean(x)\n  next_{i}: sqrt(part_{i})\n" for i in range(1000)) + "  all: next_0 + next_1\n"
    found = graph(steps)
    assert len(found) == 5 and {"part… ×1000", "next… ×1000", "all"} <= set(titles(found))
    assert kinds(found)["step"] == 2001 and nx.is_directed_acyclic_graph(found)
    assert len(graph(steps, every=True)) == 2003 > MOST


def test_inner_workflows_in_a_loop_are_one_box_for_each_of_their_steps(command):
    ended = command("graph", EXAMPLES / "inner" / "workflow.yaml", "--json")
    names = {node["name"]: node["num"] for node in json.loads(ended.out)["nodes"]}
    assert len(names) < 25 and any(num and num > 1 for num in names.values())


@pytest.mark.parametrize("steps", [
    "  a: mean(x)\n  b: a + y\n  c: b + x\n  d: c + x + y\n",
    "".join(f"  s{i}: mean({'x' if i < 3 else f's{i // 2}'}) + s{i - 1}\n" if i else "  s0: mean(y)\n" for i in range(40))])
def test_boxes_do_not_overlap_and_arrows_lead_down_from_box_to_box(steps):
    found = graph(steps)
    drawn, arrows, (width, height) = svg(found)
    assert len(drawn) == len(found) and len(arrows) == found.number_of_edges()
    rectangles = list(drawn.values())
    assert all(0 <= left < right <= width and 0 <= top < bottom <= height for left, top, right, bottom in rectangles)
    for number, (left, top, right, bottom) in enumerate(rectangles):
        assert not any(left < r and right > lft and top < b and bottom > t for lft, t, r, b in rectangles[:number])
    for (x, y), (to_x, to_y) in arrows:
        assert y < to_y
        assert any(left <= x <= right and abs(y - bottom) <= 1 for left, _, right, bottom in rectangles)
        assert any(left <= to_x <= right and abs(to_y - top) <= 1 for left, top, right, _ in rectangles)


def test_what_is_written_in_a_document_is_only_text_in_a_picture():
    text = HEAD.replace("data/y.npy", "'data/<b>&\"y.npy'") + "  a: mean(y)\nresults: {a: '<script>.npy'}\n"
    found = boxes(read_workflow(text, "w.yaml"))
    ElementTree.fromstring(to_svg(found))
    assert "<script>" not in to_svg(found) and "<script>" not in to_mermaid(found)
    assert 'label="y\\ndata/<b>&\\"y.npy"' in to_dot(found)


def test_the_format_follows_from_the_name_of_the_file(command, tmp_path):
    file = EXAMPLES / "sweeps" / "workflow.yaml"
    for name, begin in (("a.svg", "<svg"), ("a.dot", "digraph"), ("a.mmd", "flowchart")):
        ended = command("graph", file, "-o", tmp_path / name)
        assert ended.status == 0 and "0 datasets, 17 steps in 3 boxes" in ended.out
        assert (tmp_path / name).read_text().startswith(begin)
    assert "n0[\"runs ×12" in command("graph", file).out
    ended = command("graph", file, "-o", tmp_path / "a.svgg")
    assert ended.status == 2 and "did you mean '.svg'?" in ended.err


def test_a_document_with_mistakes_is_not_drawn(command, tmp_path):
    (tmp_path / "w.yaml").write_text(f"{HEAD}  a: mean(z)\n")
    ended = command("graph", tmp_path / "w.yaml", cwd=tmp_path)
    assert ended.status == 2 and "no dataset or step 'z'" in ended.err
    assert "cannot read the workflow" in command("graph", "gone.yaml").err

"""What is saved beside a block: where it comes from, what it is of; and records of earlier versions, which have less."""

import json

import numpy as np
from msgspec import msgpack

from mpiflow.operations.operation import operation
from mpiflow.operations.registry import builtin_operations
from mpiflow.operations.values import as_value
from mpiflow.planning.lowering import lower
from mpiflow.planning.tasks import Kind
from mpiflow.storage.contents import read_contents
from mpiflow.storage.journal import Journal
from mpiflow.storage.lineage import MOST_IDS, MOST_TEXT, Lineage
from mpiflow.storage.records import Made, Saved, decode_head
from mpiflow.storage.store import load, read_store
from mpiflow.workflow.reading import read_workflow

VALUE = as_value(np.zeros((3, 2), "f4"))


@operation
def joined(values, words=()):
    return values


def told(text, step, tmp_path, value=VALUE):
    """What is saved of each task of a step."""
    registry = builtin_operations() | {"joined": joined}
    workflow = read_workflow(f"mpiflow: 1\nname: w\n{text}", "w.yaml")
    graph = lower(workflow, registry, (), 1)
    lineage = Lineage(graph, registry, tmp_path)
    tasks = [(number, task) for number, task in enumerate(graph.tasks) if task.step == step]
    return [lineage.told(number, Made(task.id, task.step, 0, 0.0, 0, "h"), value) for number, task in tasks], graph


def test_a_block_says_what_it_was_made_from_and_which_of_how_many_it_is(tmp_path):
    made, graph = told("datasets: {x: {random: {shape: [9]}, blocks: 3}}\n"
                       "steps: {a: {run: x * 2, unit: nm, tags: [t]}}\n", "a", tmp_path)
    assert [one.shares[0].number for one in made] == [0, 1, 2]
    share, given = made[1].shares[0], made[1].inputs[0]
    assert (share.name, share.num, share.unit, share.tags, share.id) == ("a", 3, "nm", ("t",), graph.datasets["a"].id)
    assert (given.name, given.num, given.ids) == ("x", 1, (graph.tasks[1].id,))
    assert (made[1].operation, made[1].kind) == ("multiply", "apply") and 2 in json.loads(made[1].parameters).values()
    assert [(item.name, item.dtype, item.shape) for item in made[1].form] == [("", "<f4", (3, 2))]


def test_blocks_of_instances_say_of_which_even_if_two_instances_are_one(tmp_path):
    made, graph = told("datasets: {x: {random: {shape: [9]}, blocks: 2}}\n"
                       "steps: {a: {for: {i: [1, 2], j: [5, 6]}, run: x * $i}}\n", "a", tmp_path)
    assert len(made) == 4 and graph.datasets["a"].tasks == (2, 3, 2, 3, 4, 5, 4, 5)
    assert [(share.instance, share.part, share.number) for share in made[1].shares] == [
        ("i=1,j=5", (1, 2), 1), ("i=1,j=6", (1, 2), 3)]
    assert made[1].shares[0].part_id == made[0].shares[0].part_id == made[0].shares[1].part_id


def test_a_block_that_has_several_names_says_all_of_them(tmp_path):
    made, _ = told("datasets: {x: {random: {shape: [9]}}}\nsteps: {a: mean(x), b: mean(x), c: sum(x), d: a}\n", "a", tmp_path)
    assert [share.name for share in made[-1].shares] == ["a", "b", "d"]


def test_a_file_of_results_says_what_is_in_it(tmp_path):
    made, _ = told("datasets: {x: {random: {shape: [9]}}}\nsteps: {a: {for: {i: [1, 2]}, run: x * $i}, b: sum(a)}\n"
                   "results: {a.*: r.h5, b: r.h5}\n", "r.h5", tmp_path)
    assert [(share.name, share.instance) for share in made[0].shares] == [("a/i=1", "i=1"), ("a/i=2", "i=2"), ("b", "")]
    assert made[0].file == str(tmp_path / "r.h5") and made[0].kind == Kind.WRITE


def test_a_record_stays_short_whatever_the_task(tmp_path):
    words = json.dumps(["word"] * MOST_TEXT)
    made, _ = told("datasets: {x: {random: {shape: [5000]}, blocks: 5000}}\n"
                   f"steps: {{a: {{run: joined, in: {{values: x}}, with: {{words: {words}}}}}}}\n", "a", tmp_path,
                   as_value({f"c{i}": i for i in range(3000)}))
    assert len(made[0].inputs[0].ids) == MOST_IDS and made[0].inputs[0].num == 5000
    assert made[0].parameters == "" and made[0].form == () and len(msgpack.encode(Saved(made[0], True))) < 100_000


def test_journals_of_earlier_versions_are_read(tmp_path):
    head = msgpack.encode(["block", ["0" * 32, "step", 8, 0.5, 3, "host", "w", "code"], True])
    assert decode_head(head).made == Made("0" * 32, "step", 8, 0.5, 3, "host", "w", "code")
    assert decode_head(msgpack.encode(["journal", 1, "run", 0])).pid == 0
    journal = Journal(tmp_path, "run", 0)
    journal._records.clear()
    journal.gathered = 0
    from mpiflow.storage.blocks import pack
    from mpiflow.storage.records import frame
    for data, text in ((msgpack.encode(["journal", 1, "run", 0]), b""), (head, pack(VALUE))):
        journal._records.append(frame(journal.gathered, data, text))
        journal.gathered += len(journal._records[-1])
    journal.end()
    found = read_store(tmp_path)
    assert np.array_equal(load(found.places["0" * 32]), VALUE) and not found.damages
    assert read_contents(tmp_path).datasets == []       # nobody knows what the block is of

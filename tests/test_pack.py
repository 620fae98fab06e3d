"""A pack holds all that a workflow needs, is the same for the same input, and any damage of it is noticed."""

from __future__ import annotations

import io
import json
import random
import shutil
import sys
import zipfile

import numpy as np
import pytest
from launching import launch, mpiflow

from mpiflow.peer.reading import read
from mpiflow.planning.tasks import Block
from mpiflow.storage.pack import FORMAT, PackError, is_inside, make_pack, matching, open_pack
from mpiflow.storage.sources import load
from mpiflow.workflow.reading import Packed

OPS = """
import pathlib

import near
from mpiflow import operation

@operation(elementwise=True)
def twice(x):
    return near.FACTOR * x + float(pathlib.Path(__file__).with_name("offset.txt").read_text())
"""
WORKFLOW = """
mpiflow: 1
name: packed
params: {n: 10}
operations: [./lib/ops.py]
datasets:
  a: {random: {shape: [$n], seed: 1}, blocks: 6}
  mine: {file: "data/part-*.npy", blocks: 2}
  big: {file: big.npy}
steps:
  t: twice(a)
  s: sum(t) + sum(mine) + sum(big)
results: {s: out/s.npy}
"""
CONTENTS = {"w.yaml": b"a document", "lib/ops.py": b"import near\n", "data/x.npy": bytes(range(256))}


def pack(**changes):
    return make_pack("w.yaml", {**CONTENTS, **changes}, ["data/x.npy"], {"n": "3"})


# The file

def test_what_is_packed_comes_out_again():
    opened = open_pack(pack())
    assert (opened.contents, opened.manifest.document, opened.manifest.parameters) == (CONTENTS, "w.yaml", {"n": "3"})
    assert [name for name, member in opened.manifest.files.items() if member.input] == ["data/x.npy"]


def test_the_same_input_gives_the_same_bytes_in_any_order():
    backwards = dict(reversed(CONTENTS.items()))
    assert make_pack("w.yaml", backwards, ["data/x.npy"], {"n": "3"}) == pack()
    assert pack(more=b"") != pack()


def test_a_pack_is_a_zip_file_that_other_programs_can_read():
    with zipfile.ZipFile(io.BytesIO(pack())) as archive:
        assert archive.namelist() == ["manifest.json", "data/x.npy", "lib/ops.py", "w.yaml"]
        assert archive.testzip() is None and archive.read("w.yaml") == CONTENTS["w.yaml"]


def test_any_damage_is_an_error_or_does_no_harm():
    whole, chance, refused = pack(), random.Random(1), 0
    damaged = [whole[:size] for size in range(0, len(whole), 7)]
    for _ in range(600):
        data = bytearray(whole)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        damaged.append(bytes(data))
    for data in damaged:
        try:
            assert open_pack(data).contents == CONTENTS
        except PackError as error:
            refused += 1
            assert str(error).startswith(("the pack is damaged: ", "the pack has format")) and "\n" not in str(error)
    assert refused > 0.8 * len(damaged)


def rewritten(change, add=()):
    """The pack with another manifest, as a program other than ours may write it."""
    opened = open_pack(pack())
    with zipfile.ZipFile(io.BytesIO(pack())) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    change(manifest)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in [("manifest.json", json.dumps(manifest)), *opened.contents.items(), *add]:
            archive.writestr(name, data)
    return made.getvalue()


@pytest.mark.parametrize(("change", "add", "message"), [
    (lambda m: m.update(format=FORMAT + 1), [], f"the pack has format {FORMAT + 1}; this mpiflow reads {FORMAT}"),
    (lambda m: m["files"].pop("lib/ops.py"), [], "lib/ops.py is missing in its manifest"),
    (lambda m: m["files"].update(gone=m["files"]["w.yaml"]), [], "gone is missing in it"),
    (lambda m: m.update(document="other.yaml"), [], "other.yaml is missing in it"),
    (lambda m: m["files"]["w.yaml"].update(sha256="0" * 64), [], "w.yaml is not what was packed"),
    (lambda m: m.update(more=1), [], "unknown field"), (lambda m: m.pop("files"), [], "missing required field"),
    (lambda m: None, [("../evil.py", "x")], "it holds '../evil.py', a path that leads out of it"),
    (lambda m: None, [("/etc/evil", "x")], "it holds '/etc/evil'"),
])
def test_a_pack_that_is_not_what_its_manifest_says_is_refused(change, add, message):
    with pytest.raises(PackError) as error:
        open_pack(rewritten(change, add))
    assert message in str(error.value)


@pytest.mark.parametrize(("path", "inside"), [
    ("a.py", True), ("lib/a.py", True), ("./a.py", True), ("../a.py", False), ("a/../b", False), ("/a.py", False),
    ("~/a.py", False), ("", False)])
def test_only_what_lies_beside_the_document_or_below_can_be_packed(path, inside):
    assert is_inside(path) == inside


@pytest.mark.parametrize(("pattern", "found"), [
    ("x.npy", ["x.npy"]), ("./data/x-1.npy", ["data/x-1.npy"]), ("data/x-*.npy", ["data/x-1.npy", "data/x-2.npy"]),
    ("*.npy", ["x.npy"]), ("*/x-1.npy", ["data/x-1.npy"]), ("other.npy", []), ("/x.npy", [])])
def test_packed_inputs_are_found_as_files_are(pattern, found):
    inputs = {name: Packed(name, (1, 0, 0)) for name in ("x.npy", "data/x-2.npy", "data/x-1.npy")}
    assert matching(pattern, inputs) == found


# The verb

@pytest.fixture
def folder(tmp_path):
    """A workflow with a module in a folder, a neighbour of it, a file that it reads, small inputs and a large one."""
    here = tmp_path / "here"
    for name in ("lib", "data"):
        (here / name).mkdir(parents=True)
    (here / "w.yaml").write_text(WORKFLOW)
    (here / "lib/ops.py").write_text(OPS)
    (here / "lib/near.py").write_text("FACTOR = 2\n")
    (here / "lib/offset.txt").write_text("1")
    for part in (1, 2):
        np.save(here / f"data/part-{part}.npy", np.arange(10.0 * part))
    np.save(here / "big.npy", np.ones(200_000))
    return here


def packed(folder, *options):
    ended = mpiflow(None, "pack", "w.yaml", "-o", "flow.mpiflow", "--set", "n=1000", "--add", "lib/offset.txt", *options,
                    cwd=folder)
    assert (ended.status, ended.err) == (0, "")
    return ended.out


def test_pack_takes_modules_and_small_inputs_and_says_what_is_not_in_it(folder):
    out = packed(folder)
    assert "flow.mpiflow: 6 files, " in out
    assert "not in it: dataset big, which is larger than --inputs (1.5 MiB): big.npy must be seen where it runs" in out
    first = (folder / "flow.mpiflow").read_bytes()
    assert set(open_pack(first).contents) == {
        "w.yaml", "lib/ops.py", "lib/near.py", "lib/offset.txt", "data/part-1.npy", "data/part-2.npy"}
    for file in folder.glob("*/*"):
        file.touch()
    packed(folder)
    assert (folder / "flow.mpiflow").read_bytes() == first, "times do not matter"


def test_inputs_of_a_pack_have_the_same_ids_wherever_it_is_opened(folder, tmp_path):
    packed(folder, "--inputs", "10MB")
    shutil.copy(folder / "flow.mpiflow", tmp_path)
    one, other = read(folder / "flow.mpiflow", {}, 0), read(tmp_path / "flow.mpiflow", {}, 0)
    assert one.sources == other.sources and len(one.sources) == 3 and not one.complaints
    assert [entry.file for entry in one.sources] == ["data/part-1.npy", "data/part-2.npy", "big.npy"]
    rows = load(one.workflow, Block("mine", 2, 5, "data/part-1.npy", (1, 2, 3)))
    assert list(rows) == [2, 3, 4]


@pytest.mark.parametrize(("options", "message"), [
    (["-o", "flow.zip"], "-o flow.zip: the name of a pack ends with .mpiflow"),
    (["-o", "f.mpiflow", "--add", "../x"], "--add ../x: it does not lie beside the workflow or below"),
    (["-o", "f.mpiflow", "--add", "nothing"], "cannot pack"),
    (["-o", "f.mpiflow", "--inputs", "much"], "'much' is no size"),
    ([], "the following arguments are required: -o"),
])
def test_wrong_use_of_pack_is_one_message(folder, options, message):
    ended = mpiflow(None, "pack", "w.yaml", *options, cwd=folder)
    assert ended.status == 2 and ended.err.count("mpiflow: error:") == 1 and message in ended.err
    assert not list(folder.glob("*f.mpiflow*"))


def test_what_cannot_be_packed_is_refused(folder):
    packed(folder)
    ended = mpiflow(None, "pack", "flow.mpiflow", "-o", "again.mpiflow", cwd=folder)
    assert ended.err == "mpiflow: error: flow.mpiflow is a pack already\n"
    (folder / "w.yaml").write_text(WORKFLOW.replace("./lib/ops.py", str(folder / "lib/ops.py")))
    ended = mpiflow(None, "pack", "w.yaml", "-o", "again.mpiflow", cwd=folder)
    assert ended.status == 2 and "ops.py does not lie beside the workflow or below; a pack cannot hold it" in ended.err


def test_programs_that_lie_beside_the_workflow_are_in_its_pack(tmp_path):
    (tmp_path / "say").write_text("#!/bin/sh\necho 3\n")
    (tmp_path / "say").chmod(0o700)
    (tmp_path / "w.yaml").write_text(
        "mpiflow: 1\nname: p\nsteps:\n  said: {run: [./say], out: {word: word.txt}, stdout: word.txt}\n")
    ended = mpiflow(None, "pack", "w.yaml", "-o", "flow.mpiflow", cwd=tmp_path)
    assert (ended.status, ended.err) == (0, "")
    (tmp_path / "say").unlink()
    local = read(tmp_path / "flow.mpiflow", {}, 0)
    assert not local.complaints, local.complaints


# Runs

def run(root, names, *options):
    """One rank in each of the folders ``names``."""
    parts = [["-n", "1", "-wdir", str(root / name), sys.executable, "-m", "mpiflow", "flow.mpiflow", *options] for name in names]
    return launch(["mpirun", *[word for part in parts for word in (":", *part)][1:]], root)


def test_a_pack_that_only_rank_2_sees_runs_on_four_ranks_and_a_damaged_one_is_one_message(folder, tmp_path, monkeypatch):
    packed(folder)
    names = ["blind-0", "blind-1", "seeing", "blind-3"]
    for name in (*names, "scratch"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    shutil.move(folder / "flow.mpiflow", tmp_path / "seeing")
    shutil.move(folder / "big.npy", tmp_path / "seeing")
    shutil.rmtree(folder)
    ended = run(tmp_path, names, "--no-save")
    assert (ended.status, ended.err) == (0, "")
    assert "on 4 ranks" in ended.out
    a = np.random.Generator(np.random.PCG64(1)).random(1000)
    assert np.load(tmp_path / "seeing/out/s.npy") == pytest.approx(np.sum(2 * a + 1) + 45 + 190 + 200_000)
    assert not list(tmp_path.glob("blind-*/out")), "results are written where the pack is"
    assert not list((tmp_path / "scratch").glob("mpiflow-*")), "nothing is left behind"

    pack_file = tmp_path / "seeing/flow.mpiflow"
    data = pack_file.read_bytes()
    pack_file.write_bytes(data.replace(b"FACTOR = 2", b"FACTOR = 3"))
    ended = run(tmp_path, names)
    assert ended.status == 2
    assert ended.err.strip() == "mpiflow: error: flow.mpiflow: the pack is damaged: Bad CRC-32 for file 'lib/near.py'"


def test_packs_that_differ_between_ranks_are_an_error_that_names_the_ranks(folder, tmp_path):
    packed(folder)
    (tmp_path / "there").mkdir()
    shutil.move(folder / "flow.mpiflow", tmp_path / "there")
    (folder / "lib/near.py").write_text("FACTOR = 3\n")
    packed(folder)
    shutil.copy(folder / "big.npy", tmp_path / "there")
    ended = run(tmp_path, ["here", "there", "there"])
    assert ended.status == 2
    assert "ranks see different contents of the operation modules or programs: ranks 0 on " in ended.err
    assert "ranks 1-2 on " in ended.err

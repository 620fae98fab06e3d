"""What a run did, as RO-Crate and as PROV-JSON. The official validators are run by ``make validate``."""

import hashlib
import json
from collections import Counter

import networkx as nx
import pytest

from mpiflow.errors import DocumentError
from mpiflow.report.prov import to_prov
from mpiflow.report.provenance import provenance


@pytest.fixture(scope="module")
def record(ran):
    return json.loads((ran / "record.json").read_text())


@pytest.fixture(scope="module")
def crate(ran, tmp_path_factory):
    """The folder of a crate, and its entities by their ids."""
    from mpiflow.cli.main import main
    folder = tmp_path_factory.mktemp("crates") / "crate"
    assert main(["export", "rocrate", str(ran / "record.json"), "-o", str(folder), "--author", "A. Nother",
                 "--affiliation", "An institute"]) == 0
    metadata = json.loads((folder / "ro-crate-metadata.json").read_text())
    return folder, {entity["@id"]: entity for entity in metadata["@graph"]}


def references(value):
    """The ids that a value refers to."""
    if isinstance(value, dict):
        return [value["@id"]]
    return [id for item in value for id in references(item)] if isinstance(value, list) else []


def kinds(entities, kind):
    return [entity for entity in entities.values() if kind in entity["@type"]]


def test_blocks_of_one_step_are_one_activity(record):
    found = provenance(json.dumps(record).encode(), "r")
    tasks = {activity.name: len(activity.tasks) for activity in found.activities}
    assert tasks == {"x": 3, "big: scaled": 3, "st: stats": 1, "quick: mean": 6, "sweep[T=1]: scaled": 3, "sweep[T=2]: scaled": 3,
                     "hidden: add": 1, "out/st.h5": 1, "out/quick.npy": 1, "out/sweep.h5": 1}
    used = {activity.name: {found.activities[other].name for other in activity.uses} for activity in found.activities}
    assert used["st: stats"] == {"big: scaled"} and used["out/sweep.h5"] == {"sweep[T=1]: scaled", "sweep[T=2]: scaled"}
    assert found.parameters(found.activities[1]) == {"k": 2.0}


def test_an_operation_inside_itself_is_two_activities():
    def task(operation, needs, kind="apply"):
        return {"task": 0, "id": "", "kind": kind, "step": "s", "instance": "", "operation": operation, "needs": needs, "rank": 0,
                "state": "done", "start": 0, "seconds": 0, "nbytes": 0, "error": "", "parameters": {}}
    tasks = [task("", [], "load"), task("f", [0]), task("g", [1]), task("f", [2])]
    text = json.dumps({"name": "n", "source": {"file": "", "digest": ""}, "started": "2026-11-26T00:00:00+00:00", "status": 0,
                       "seconds": 1, "hosts": ["h"], "plan": "", "tasks": tasks, "datasets": {}})
    found = provenance(text.encode(), "r")
    assert [list(activity.uses) for activity in found.activities] == [[], [0], [1], [2]]


def test_prov_names_only_what_is_there_and_has_no_cycle(record):
    prov = to_prov(provenance(json.dumps(record).encode(), "r"))
    there = {*prov["entity"], *prov["activity"], *prov["agent"]}
    relations = [*prov["used"].values(), *prov["wasGeneratedBy"].values(), *prov["wasDerivedFrom"].values(),
                 *prov["wasInformedBy"].values(), *prov["wasAssociatedWith"].values()]
    assert {value for one in relations for key, value in one.items() if key != "prov:time"} <= there
    derived = nx.DiGraph((one["prov:generatedEntity"], one["prov:usedEntity"]) for one in prov["wasDerivedFrom"].values())
    assert nx.is_directed_acyclic_graph(derived)
    for activity in prov["activity"].values():
        assert activity["prov:startTime"] <= activity["prov:endTime"]
    assert [one["mf:unit"] for one in prov["entity"].values() if one["prov:label"] == "big: scaled"] == ["angstrom"]


def test_a_crate_names_only_entities_that_are_there(crate):
    _, entities = crate
    for entity in entities.values():
        for name, value in entity.items():
            wanted = references(value) if name not in ("@id", "@type", "conformsTo") else []
            assert set(wanted) <= set(entities), (entity["@id"], name)


def test_a_crate_has_every_file_with_its_hash_and_nothing_else(crate):
    folder, entities = crate
    files = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()} - {"ro-crate-metadata.json"}
    assert files == {"w.yaml", "ops.py", "out/st.h5", "out/quick.npy", "out/sweep.h5", "record.json", "README.md"}
    assert set(references(entities["./"]["hasPart"])) == files
    for file in files:
        data = (folder / file).read_bytes()
        assert entities[file]["sha256"] == hashlib.sha256(data).hexdigest() and entities[file]["contentSize"] == str(len(data))


def test_a_crate_is_what_provenance_run_crate_asks_for(crate):
    _, entities = crate
    root, workflow = entities["./"], entities["w.yaml"]
    assert entities["README.md"]["encodingFormat"] == "text/markdown" and references(entities["README.md"]["about"]) == ["./"]
    assert entities[root["publisher"]["@id"]]["name"] == "An institute"
    assert entities["#author"]["affiliation"] == root["publisher"]
    profiles = references(root["conformsTo"])
    assert {"https://w3id.org/ro/wfrun/provenance/0.5", "https://w3id.org/ro/wfrun/workflow/0.5"} <= set(profiles)
    assert root["mainEntity"] == {"@id": "w.yaml"} and root["license"] and root["datePublished"]
    assert set(workflow["@type"]) == {"File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"}
    actions, controls = kinds(entities, "CreateAction"), kinds(entities, "ControlAction")
    assert Counter(entity["instrument"]["@id"] for entity in actions) == {
        "w.yaml": 1, "#operation/scaled": 3, "#operation/stats": 1, "#operation/mean": 1, "#operation/add": 1,
        "#operation/write-results": 3}
    assert {one["object"]["@id"] for one in controls} == {one["@id"] for one in actions} - {"#run"}
    assert all("HowToStep" in entities[one["instrument"]["@id"]]["@type"] for one in controls)
    engine, = kinds(entities, "OrganizeAction")
    assert set(references(engine["object"])) == {one["@id"] for one in controls} and engine["result"] == {"@id": "#run"}
    assert set(references(workflow["step"])) == {one["@id"] for one in kinds(entities, "HowToStep")}
    assert entities["#value/k"]["value"] == 2.0 and entities["#operation/scaled"]["description"] == "Scale it."
    assert set(references(entities["#run"]["result"])) == {"out/st.h5", "out/quick.npy", "out/sweep.h5"}
    for id in references(root["mentions"]):
        assert entities[id]["actionStatus"] == "http://schema.org/CompletedActionStatus"


@pytest.mark.parametrize(("change", "message"), [
    ({"tasks": []}, "nothing to export"), ({"source": None}, "not the record of a run"), ({"started": "now"}, "isoformat")])
def test_what_is_no_record_of_something_that_ran_is_one_error(record, change, message):
    with pytest.raises(DocumentError, match=message):
        provenance(json.dumps(record | {"datasets": {}} | change).encode(), "r")


def test_what_was_kept_of_earlier_work_did_not_run(ran, command, tmp_path, record):
    kept = record | {"tasks": [task | {"kind": "kept", "needs": []} for task in record["tasks"]]}
    (tmp_path / "kept.json").write_text(json.dumps(kept))
    for format in ("rocrate", "prov", "wfformat"):
        ended = command("export", format, tmp_path / "kept.json", "-o", tmp_path / "out")
        assert ended.status == 2 and "nothing to export" in ended.err and not (tmp_path / "out").exists()


def test_a_crate_is_not_made_over_something_and_says_what_has_changed(ran, command, tmp_path):
    (tmp_path / "there").mkdir()
    ended = command("export", "rocrate", ran / "record.json", "-o", tmp_path / "there")
    assert ended.status == 2 and "is there already" in ended.err
    (tmp_path / "w.yaml").write_text((ran / "w.yaml").read_text() + "\n# another\n")
    ended = command("export", "rocrate", ran / "record.json", "-o", tmp_path / "c", "--workflow", tmp_path / "w.yaml", "--json")
    said = json.loads(ended.out)
    assert "changed since" in said["left_out"]["w.yaml"] and said["files"] == 6      # ops.py is not there
    ended = command("export", "rocrate", ran / "record.json", "-o", tmp_path / "d", "--workflow", tmp_path / "gone.yaml")
    assert ended.status == 2 and "say where it is with --workflow FILE" in ended.err
    assert not list(tmp_path.glob(".*.part"))

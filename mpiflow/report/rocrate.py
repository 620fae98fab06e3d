"""A run as RO-Crate 1.1, with the profiles Workflow RO-Crate, Process, Workflow and Provenance Run Crate. Pure.

Source: https://www.researchobject.org/workflow-run-crate/profiles/provenance_run_crate.
"""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from mpiflow.errors import ranges
from mpiflow.report.provenance import Activity, Provenance

METADATA = "ro-crate-metadata.json"
NO_LICENSE = "No license was stated; ask the authors."
_CONTEXT = ["https://w3id.org/ro/crate/1.1/context", {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}]
_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/provenance/0.5": ("Provenance Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0")}
_BIOSCHEMAS = "https://bioschemas.org/profiles/{}/1.0-RELEASE"
_TYPES = {bool: "Boolean", int: "Integer", float: "Float", str: "Text"}
_FORMATS = {".h5": "application/x-hdf5", ".hdf5": "application/x-hdf5", ".h5md": "application/x-hdf5",
            ".nc": "application/x-netcdf", ".npy": "application/x-npy", ".yaml": "application/yaml", ".yml": "application/yaml",
            ".py": "text/x-python", ".md": "text/markdown"}

Entity = dict[str, Any]


@dataclass(frozen=True)
class CrateFile:
    """One file of a crate, or one that it names.

    Attributes:
        path: Where it is in the crate; of one that is not in it, its URI.
        nbytes: Its size [bytes].
        sha256: Hash of its content; empty if it is not in the crate.
    """

    path: str
    nbytes: int
    sha256: str = ""


@dataclass(frozen=True)
class CrateFiles:
    """The files of a crate.

    Attributes:
        document: The workflow document.
        code: Modules, programs and documents that it needs.
        results: What was written, by the names of files as the document has them.
        inputs: What was read, by absolute paths.
        record: The record of the run.
        about: What people read first.
    """

    document: CrateFile
    code: tuple[CrateFile, ...]
    results: Mapping[str, CrateFile]
    inputs: Mapping[str, CrateFile]
    record: CrateFile
    about: CrateFile


def to_rocrate(found: Provenance, files: CrateFiles, author: str, license: str, published: str,
               affiliation: str = "") -> dict[str, Any]:
    """Give the metadata of a crate. Pure.

    Args:
        found: What the run did.
        files: What is in the crate.
        author: Who ran it.
        license: URL or text.
        published: Day on which the crate was made, in ISO 8601.
        affiliation: The organization that the author belongs to, and that publishes; empty if nobody says.
    """
    return _Crate(found, files, author, affiliation).whole(license, published)


@dataclass
class _Crate:
    """The graph under construction: entities by their ids."""

    found: Provenance
    files: CrateFiles
    author: str
    affiliation: str
    graph: dict[str, Entity] = field(default_factory=dict)

    def whole(self, license: str, published: str) -> dict[str, Any]:
        record, files = self.found.record, self.files
        parts = [files.document, *files.code, *files.results.values(), *files.inputs.values(), files.record, files.about]
        stated = license.startswith(("http://", "https://"))
        root = self.add("./", "Dataset", name=f"Run of {record.name}", license=_ref(license) if stated else license,
                        datePublished=published, description=f"The workflow {record.name}, run by mpiflow on {len(record.hosts)} "
                                                             "ranks: what was run, what it made, and how.",
                        author=_ref("#author"), mainEntity=_ref(_id(files.document.path)),
                        hasPart=[_ref(_id(file.path)) for file in parts], conformsTo=[_ref(profile) for profile in _PROFILES])
        self.add(METADATA, "CreativeWork", about=_ref("./"), conformsTo=[
            _ref("https://w3id.org/ro/crate/1.1"), _ref("https://w3id.org/workflowhub/workflow-ro-crate/1.0")])
        for profile, (name, version) in _PROFILES.items():
            self.add(profile, "CreativeWork", name=name, version=version)
        if stated:
            self.add(license, "CreativeWork", name=PurePath(license).name)
        self.add("#author", "Person", name=self.author)
        if self.affiliation:
            self.add("#affiliation", "Organization", name=self.affiliation)
            root["publisher"] = self.graph["#author"]["affiliation"] = _ref("#affiliation")
        self.add("#mpiflow", "SoftwareApplication", name="mpiflow", softwareVersion=record.source.version)
        for file in parts:
            self._file(file)
        self.graph[_id(files.about.path)]["about"] = _ref("./")
        root["mentions"] = [_ref(action) for action in self._run()]
        return {"@context": _CONTEXT, "@graph": [_single(entity) for entity in self.graph.values()]}

    def add(self, id: str, kind: str | list[str], **properties: Any) -> Entity:
        """Add an entity, without the properties that are empty."""
        entity = {"@id": id, "@type": kind} | {name: value for name, value in properties.items() if value not in ("", [], None)}
        return self.graph.setdefault(id, entity)

    def _file(self, file: CrateFile) -> None:
        name = PurePath(file.path).name
        kind = _FORMATS.get(PurePath(name).suffix.lower()) or mimetypes.guess_type(name)[0] or "application/octet-stream"
        self.add(_id(file.path), "File", name=name, encodingFormat=kind, contentSize=str(file.nbytes), sha256=file.sha256)

    def _run(self) -> list[str]:
        """The workflow, its parameters and steps, and all that was done; gives the ids of the actions."""
        record, files = self.found.record, self.files
        values, inputs = self._parameters(), [self._formal("input", path, file) for path, file in files.inputs.items()]
        outputs = [self._formal("output", name, file) for name, file in files.results.items()]
        made = [number for number, activity in enumerate(self.found.activities)
                if activity.kind in ("made", "written") and self.found.ended(activity)]
        actions = [self._action(number) for number in made]
        steps = self._steps(made)
        workflow = self.graph[_id(files.document.path)]
        workflow |= {
            "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"], "name": record.name,
            "version": record.source.digest, "programmingLanguage": _ref("#language"),
            "conformsTo": _ref(_BIOSCHEMAS.format("ComputationalWorkflow")),
            "input": [_ref(f"#parameter/{_id(name)}") for name in record.source.parameters] + [_ref(item) for item in inputs],
            "output": [_ref(item) for item in outputs], "step": [_ref(step) for step in steps],
            "hasPart": [_ref(tool) for tool in dict.fromkeys(self._tool(self.found.activities[number]) for number in made)]}
        self.add("#language", "ComputerLanguage", name="mpiflow workflow", version=record.source.version)
        self.add("#run", "CreateAction", name=f"Run of {record.name}", instrument=_ref(_id(files.document.path)),
                 description=f"{len(record.tasks)} tasks on {len(record.hosts)} ranks of {len(set(record.hosts))} nodes",
                 startTime=record.at(0), endTime=record.at(record.seconds), agent=_ref("#author"),
                 object=[_ref(value) for value in values] + [_ref(_id(file.path)) for file in files.inputs.values()],
                 result=[_ref(_id(file.path)) for file in files.results.values()], **_status(self._failure()))
        self.add("#engine-run", "OrganizeAction", name=f"mpiflow runs {record.name}", instrument=_ref("#mpiflow"),
                 object=[_ref(f"#control/{number}") for number in made], result=_ref("#run"), agent=_ref("#author"),
                 startTime=record.at(0), endTime=record.at(record.seconds), **_status(self._failure()))
        return ["#run", *actions]

    def _failure(self) -> str:
        if not self.found.record.status:
            return ""
        errors = (self.found.error(activity) for activity in self.found.activities if self.found.ended(activity))
        return next(filter(None, errors), "stopped before the end")

    def _parameters(self) -> list[str]:
        """The parameters of the document, and their values in this run."""
        for name, value in self.found.record.source.parameters.items():
            formal, actual = f"#parameter/{_id(name)}", f"#value/{_id(name)}"
            self.add(formal, "FormalParameter", name=name, additionalType=_TYPES.get(type(value), "Text"),
                     conformsTo=_ref(_BIOSCHEMAS.format("FormalParameter")), workExample=_ref(actual))
            self.add(actual, "PropertyValue", name=name, value=_plain(value), exampleOfWork=_ref(formal))
        return [f"#value/{_id(name)}" for name in self.found.record.source.parameters]

    def _formal(self, kind: str, name: str, file: CrateFile) -> str:
        formal = f"#{kind}/{_id(name.lstrip('/'))}"
        self.add(formal, "FormalParameter", name=name, additionalType="File", workExample=_ref(_id(file.path)),
                 conformsTo=_ref(_BIOSCHEMAS.format("FormalParameter")))
        self.graph[_id(file.path)].setdefault("exampleOfWork", []).append(_ref(formal))
        return formal

    def _steps(self, made: Iterable[int]) -> list[str]:
        """A step of the document each, with the tools that it used."""
        tools: dict[str, list[str]] = {}
        for number in made:
            activity = self.found.activities[number]
            tools.setdefault(activity.step, []).append(self._tool(activity))
        for position, (step, used) in enumerate(tools.items(), 1):
            self.add(f"#step/{_id(step)}", "HowToStep", name=step, position=str(position),
                     workExample=[_ref(tool) for tool in dict.fromkeys(used)])
        return [f"#step/{_id(step)}" for step in tools]

    def _tool(self, activity: Activity) -> str:
        record = self.found.record
        called = record.source.operations.get(activity.operation)
        id = f"#operation/{_id(activity.operation)}" if called else "#operation/write-results"
        if called:
            self.add(id, "SoftwareApplication", name=called.name, description=called.doc or called.program,
                     softwareVersion=called.code or record.source.version)
        else:
            self.add(id, "SoftwareApplication", name="writing of results", softwareVersion=record.source.version)
        return id

    def _action(self, number: int) -> str:
        """What was done in one activity, by what, with what; and that it was a part of the run."""
        activity, id = self.found.activities[number], f"#action/{number}"
        start, end = self.found.span(activity)
        error = self.found.error(activity)
        used = [thing for other in activity.uses for thing in self._things(other)]
        self.add(id, "CreateAction", name=activity.name, instrument=_ref(self._tool(activity)), startTime=start, endTime=end,
                 description=self._where(activity), agent=_ref("#author"),
                 object=[_ref(thing) for thing in used] + [_ref(value) for value in self._arguments(number)],
                 result=[] if error else [_ref(thing) for thing in self._things(number)], **_status(error))
        self.add(f"#control/{number}", "ControlAction", name=f"control of {activity.name}",
                 instrument=_ref(f"#step/{_id(activity.step)}"), object=_ref(id), **_status(error))
        return id

    def _where(self, activity: Activity) -> str:
        tasks = self.found.ended(activity)
        ranks = sorted({task.rank for task in tasks})
        known = self.found.record.hosts
        hosts = sorted({known[rank] for rank in ranks if rank in range(len(known))})
        return f"{len(tasks)} tasks on ranks {ranges(ranks)} ({', '.join(hosts)})"

    def _arguments(self, number: int) -> list[str]:
        """The plain arguments that an operation was called with."""
        found = []
        for name, value in self.found.parameters(self.found.activities[number]).items():
            found.append(f"#argument/{number}/{_id(name)}")
            self.add(found[-1], "PropertyValue", name=name, value=_plain(value))
        return found

    def _things(self, number: int) -> list[str]:
        """What an activity left: files, or a thing that is told of only."""
        activity, record = self.found.activities[number], self.found.record
        tasks = [record.tasks[task] for task in activity.tasks]
        files = [self.files.inputs[task.file].path for task in tasks if task.file in self.files.inputs]
        if activity.kind == "written":
            names = [str(task.parameters.get("file")) for task in tasks]
            files = [self.files.results[name].path for name in names if name in self.files.results]
        if files:
            return [_id(file) for file in dict.fromkeys(files)]
        dataset = record.datasets.get(activity.step)
        self.add(f"#data/{number}", "CreativeWork", name=activity.name.partition(": ")[0], description=_KINDS[activity.kind],
                 identifier=dataset.id if dataset else "", keywords=list(dataset.tags) if dataset else [])
        return [f"#data/{number}"]


_KINDS = {"made": "an intermediate dataset, not in this crate", "written": "a file of results, not in this crate",
          "source": "a dataset, read or generated, not in this crate", "earlier": "a dataset that an earlier run had made"}


def _single(entity: Entity) -> Entity:
    """RO-Crate writes one value without brackets."""
    return {name: value[0] if isinstance(value, list) and len(value) == 1 else value for name, value in entity.items()}


def _status(error: str) -> dict[str, Any]:
    status = "Failed" if error else "Completed"
    return {"actionStatus": f"http://schema.org/{status}ActionStatus", "error": error}


def _plain(value: Any) -> Any:
    return value if type(value) in _TYPES else json.dumps(value, ensure_ascii=False)


def _ref(id: str) -> Entity:
    return {"@id": id}


def _id(path: str) -> str:
    """A path or a name as part of a URI."""
    return path if path.startswith("file:") else quote(path)

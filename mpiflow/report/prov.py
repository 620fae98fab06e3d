"""The provenance of a run as PROV-JSON of the W3C: entities, activities, agents and what holds between them. Pure."""

from __future__ import annotations

import json
import os
from typing import Any

from mpiflow.report.provenance import Activity, Provenance

_NAMESPACE = "urn:mpiflow:"
MOST_IDS = 1000         # of the blocks of one entity so many are named


def to_prov(found: Provenance) -> dict[str, Any]:
    """Give a PROV-JSON document of a run."""
    record = found.record
    made = [number for number, activity in enumerate(found.activities) if activity.kind in ("made", "written")
            and found.ended(activity)]
    used = [(number, other) for number in made for other in found.activities[number].uses]
    return {
        "prefix": {"mf": _NAMESPACE, "run": f"{_NAMESPACE}run:{record.id}:"},
        "entity": {"run:plan": {"prov:type": {"$": "prov:Plan", "type": "prov:QUALIFIED_NAME"}, "prov:label": record.name,
                                "prov:location": record.source.file, "mf:digest": record.source.digest,
                                "mf:parameters": _text(record.source.parameters)},
                   **{f"run:e{number}": _entity(found, activity) for number, activity in enumerate(found.activities)}},
        "activity": {"run:run": {"prov:label": f"run of {record.name}", "prov:startTime": record.at(0),
                                 "prov:endTime": record.at(record.seconds), "mf:status": record.status,
                                 "mf:ranks": len(record.hosts)},
                     **{f"run:a{number}": _activity(found, found.activities[number]) for number in made}},
        "agent": {"run:mpiflow": {"prov:type": {"$": "prov:SoftwareAgent", "type": "prov:QUALIFIED_NAME"},
                                  "prov:label": f"mpiflow {record.source.version}"},
                  **{f"run:h{number}": {"prov:type": "node", "prov:label": host}
                     for number, host in enumerate(dict.fromkeys(record.hosts))}},
        "used": {f"_:u{number}": {"prov:activity": f"run:a{one}", "prov:entity": f"run:e{other}"}
                 for number, (one, other) in enumerate(used)},
        "wasGeneratedBy": {f"_:g{number}": {"prov:entity": f"run:e{number}", "prov:activity": f"run:a{number}",
                                            "prov:time": found.span(found.activities[number])[1]}
                           for number in made if not found.error(found.activities[number])},
        "wasDerivedFrom": {f"_:d{number}": {"prov:generatedEntity": f"run:e{one}", "prov:usedEntity": f"run:e{other}",
                                            "prov:activity": f"run:a{one}"} for number, (one, other) in enumerate(used)},
        "wasInformedBy": {f"_:i{number}": {"prov:informed": f"run:a{number}", "prov:informant": "run:run"} for number in made},
        "wasAssociatedWith": {"_:w": {"prov:activity": "run:run", "prov:agent": "run:mpiflow", "prov:plan": "run:plan"},
                              **{f"_:w{number}h{host}": {"prov:activity": f"run:a{number}", "prov:agent": f"run:h{host}"}
                                 for number in made for host in _hosts(found, found.activities[number])}}}


def _entity(found: Provenance, activity: Activity) -> dict[str, Any]:
    record, tasks = found.record, [found.record.tasks[number] for number in activity.tasks]
    dataset = record.datasets.get(activity.step)
    entity: dict[str, Any] = {"prov:label": activity.name, "mf:kind": activity.kind}
    files = list(dict.fromkeys(task.file for task in tasks if task.file))
    if activity.kind == "written":
        files = [os.path.join(record.source.folder, str(task.parameters.get("file"))) for task in tasks]
    if files:
        entity["prov:location"] = files if len(files) > 1 else files[0]
    if activity.ids:
        entity["mf:block"] = list(activity.ids)[:MOST_IDS]
    if dataset and activity.kind != "written":
        entity |= {"mf:dataset": dataset.id, "mf:tag": list(dataset.tags), "mf:unit": dataset.unit}
    return {key: value for key, value in entity.items() if value not in ("", [])}


def _activity(found: Provenance, activity: Activity) -> dict[str, Any]:
    start, end = found.span(activity)
    called = found.record.source.operations.get(activity.operation)
    about = {"prov:label": activity.name, "prov:startTime": start, "prov:endTime": end, "mf:step": activity.step,
             "mf:instance": activity.instance, "mf:tasks": len(activity.tasks),
             "mf:operation": called.name if called else activity.operation or activity.kind,
             "mf:code": called.code if called else "", "mf:parameters": _text(found.parameters(activity)),
             "mf:error": found.error(activity)}
    return {key: value for key, value in about.items() if value != ""}


def _hosts(found: Provenance, activity: Activity) -> list[int]:
    """The nodes that it ran on, by their numbers."""
    numbers = {host: number for number, host in enumerate(dict.fromkeys(found.record.hosts))}
    return sorted({numbers[found.record.hosts[task.rank]] for task in found.ended(activity)
                   if task.rank in range(len(found.record.hosts))})


def _text(parameters: dict[str, Any]) -> str:
    return json.dumps(parameters, ensure_ascii=False, sort_keys=True) if parameters else ""

"""The record of a run in WfFormat 1.5 of WfCommons: what ran where, for how long, and which bytes it read and wrote.

Blocks of sources and of earlier runs are files that nobody writes. Each array that a task makes is a file; a column is a file
of its table.
Tasks that were not run to their end are left out.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

import mpiflow
from mpiflow.errors import DocumentError, Problem
from mpiflow.storage.accounts import DatasetRecord, TaskRecord
from mpiflow.workflow.wfformat import FILE_TAG, VERSION, file_name

_TASK_LETTERS = re.compile(r"[^0-9a-zA-Z\-_.#]")
_FILE_LETTERS = re.compile(r"[^0-9a-zA-Z\-_./:#]")


class _Record(Struct, frozen=True):
    """The record of a run, as far as it is needed."""

    name: str
    started: str
    seconds: float
    hosts: list[str]
    tasks: list[TaskRecord]
    datasets: dict[str, DatasetRecord]


def to_wfformat(data: bytes, file: str) -> dict[str, Any]:
    """Give a WfFormat instance of a record. Pure.

    Args:
        data: What ``run --record`` has written.
        file: Its name, for messages.

    Raises:
        DocumentError: It is no record, or nothing has run.
    """
    try:
        record = msgspec.json.decode(data, type=_Record)
        began = datetime.fromisoformat(record.started)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise DocumentError([Problem(file, 0, 0, f"not the record of a run: {error}")]) from None
    ran = _Ran(record)
    if not ran.ids:
        raise DocumentError([Problem(file, 0, 0, "no task of the run has ended well: there is nothing to export")])
    tasks = [task for task in record.tasks if task.task in ran.ids]
    return {
        "name": record.name, "description": f"A run of mpiflow on {len(record.hosts)} ranks",
        "createdAt": record.started, "schemaVersion": VERSION,
        "runtimeSystem": {"name": "mpiflow", "version": mpiflow.__version__},
        "workflow": {
            "specification": {"tasks": [ran.specification(task) for task in tasks],
                              "files": [{"id": name, "sizeInBytes": size} for name, size in ran.sizes.items()]},
            "execution": {"makespanInSeconds": record.seconds, "executedAt": record.started,
                          "tasks": [ran.execution(task, began) for task in tasks],
                          "machines": [{"nodeName": host} for host in dict.fromkeys(record.hosts)]}}}


class _Ran:
    """The tasks of a record that have run, their files, and who needs whom.

    Attributes:
        ids: Id of each task that becomes one, by number.
        made: Files that a task has made, by number; of a table, those of its columns.
        sizes: Size of each file that is written or read [bytes].
    """

    def __init__(self, record: _Record) -> None:
        self.record = record
        self.tags = {task: entry.tags for entry in record.datasets.values() for task in reversed(entry.tasks)}
        self.ids: dict[int, str] = {}
        self.made: dict[int, dict[str, str]] = {}
        self.sizes: dict[str, int] = {}
        self.parents: dict[int, list[int]] = {}
        self.children: dict[int, list[int]] = {}
        self.origin: dict[str, int] = {}
        self.used: set[str] = set()
        for task in record.tasks:
            if task.state == "done" and task.kind != "kept":
                self._take(task)

    def _take(self, task: TaskRecord) -> None:
        number = task.task
        if task.kind in ("load", "restore"):                # from files, or from what an earlier run has saved
            self.made[number] = {"": self._file(self._source(task), task.nbytes)}
        elif task.operation == "column" and task.kind == "apply" and len(task.needs) == 1:
            files = self.made[task.needs[0]]
            name = str(task.parameters.get("name"))
            self.made[number] = {"": files[name]} if name in files else files
        else:
            self._run(task)

    def _source(self, task: TaskRecord) -> str:
        """The file that a dataset stands for, or its name."""
        named = [tag.removeprefix(FILE_TAG) for tag in self.tags.get(task.task, []) if tag.startswith(FILE_TAG)]
        return named[0] if named else task.step

    def _run(self, task: TaskRecord) -> None:
        number = task.task
        replayed = task.operation == "replay" and task.kind == "apply"
        wanted = str(task.parameters.get("task") or task.step) if replayed else f"{task.step}_{number}"
        name = self.ids[number] = self._unused(_TASK_LETTERS.sub("_", wanted))
        if task.kind == "write" or (replayed and "" in task.columns):
            self.made[number] = {}
        else:
            self.made[number] = {
                column: self._file(file_name(column) if replayed else f"{name}.{column or 'out'}", size)
                for column, size in task.columns.items()}
        for file in self.made[number].values():
            self.origin[file] = number
        read = {self.origin[file] for file in self._read(task) if file in self.origin}
        # A task that makes no file is needed by nobody.
        self.parents[number] = sorted(read)
        self.children[number] = []
        for parent in sorted(read):
            self.children[parent].append(number)

    def _read(self, task: TaskRecord) -> list[str]:
        return list(dict.fromkeys(file for needed in task.needs for file in self.made.get(needed, {}).values()))

    def _file(self, wanted: str, size: int) -> str:
        name = self._unused(_FILE_LETTERS.sub("_", wanted), "file ")
        self.sizes[name] = size
        return name

    def _unused(self, wanted: str, space: str = "task ") -> str:
        """``wanted``, or with a number if it is taken; files and tasks are counted apart."""
        number, found = 1, wanted
        while space + found in self.used:
            number += 1
            found = f"{wanted}.{number}"
        self.used.add(space + found)
        return found

    def specification(self, task: TaskRecord) -> dict[str, Any]:
        """What the task is."""
        number = task.task
        tags = self.tags.get(number, [])
        kind = "" if task.kind == "apply" else f".{task.kind}"
        return {
            "name": tags[0] if task.operation == "replay" and tags else f"{task.operation}{kind}".lstrip("."),
            "id": self.ids[number],
            "parents": [self.ids[parent] for parent in self.parents[number]],
            "children": [self.ids[child] for child in self.children[number]],
            "inputFiles": self._read(task), "outputFiles": list(self.made[number].values())}

    def execution(self, task: TaskRecord, began: datetime) -> dict[str, Any]:
        """How it ran."""
        return {
            "id": self.ids[task.task], "runtimeInSeconds": task.seconds,
            "executedAt": (began + timedelta(seconds=task.start)).isoformat(),
            "command": {"program": task.operation or task.kind}, "coreCount": 1,
            "readBytes": sum(self.sizes[file] for file in self._read(task)),
            "writtenBytes": sum(self.sizes[file] for file in self.made[task.task].values()),
            "machines": [self.record.hosts[task.rank]]}

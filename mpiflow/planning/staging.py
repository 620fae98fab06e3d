"""The ends of the graph: the tasks that bring in the blocks of datasets, and those that write results to files. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePath

from msgspec.structs import replace

from mpiflow.catalog.catalog import DatasetEntry
from mpiflow.planning.blocks import Blocks
from mpiflow.planning.construction import Construction
from mpiflow.planning.estimates import BYTES_PER_SECOND, SECONDS_PER_TASK, Expected
from mpiflow.planning.forms import array_form
from mpiflow.planning.instances import distinct
from mpiflow.planning.parts import part_file
from mpiflow.planning.sources import SourceBlock
from mpiflow.planning.tasks import Block, Input, Kind, Task, recipe_id
from mpiflow.planning.teams import shares
from mpiflow.workflow.loops import label
from mpiflow.workflow.programs import kept_files
from mpiflow.workflow.reading import Workflow

Ranks = tuple[int, ...] | None          # None: all


def load(construction: Construction, workflow: Workflow, name: str, blocks: Sequence[SourceBlock], size: int,
         recovering: bool) -> Blocks:
    """Add a task for each block of a dataset; what nobody sees any more is GONE.

    Args:
        construction: What tasks are added to.
        workflow: Takes what is wrong with the dataset.
        name: The dataset.
        blocks: Its blocks.
        size: Number of ranks.
        recovering: Whether a dataset goes where it can, since the rank that the user chose for it may have died.
    """
    construction.step, construction.instance = workflow.whole.groups.get(name, (name, ""))
    tasks, starts, graph = [], [0], construction.graph
    for block in blocks:
        expected = Expected(block.nbytes, SECONDS_PER_TASK + block.nbytes / BYTES_PER_SECOND,
                            array_form(block.dtype, block.shape))
        rows = block.stop - block.start
        tasks.append(construction.add(
            Kind.LOAD, "", (), (), expected, recipe=(block.recipe, block.start, block.stop), rows=rows,
            block=Block(name, block.start, block.stop, block.file, block.stamp),
            ranks=_loaders(workflow, name, block, size, recovering)))
        if block.holders == ():
            graph.tasks[tasks[-1]] = replace(graph.tasks[tasks[-1]], kind=Kind.GONE)
        starts.append(starts[-1] + rows)
    return Blocks(tuple(tasks), tuple(starts))


def _loaders(workflow: Workflow, name: str, block: SourceBlock, size: int, recovering: bool) -> Ranks:
    """The ranks that can load a block: the one that the user chose, if it sees the file, or all that see it."""
    chosen = workflow.document.datasets[name].rank
    pinned = None if chosen is None else chosen % size
    if block.holders == () or (recovering and block.holders and pinned not in block.holders):
        pinned = None
    elif pinned is not None and block.holders is not None and pinned not in block.holders:
        workflow.fail(("datasets", name, "rank"), f"rank {pinned} does not see {block.file}; "
                      f"ranks {', '.join(map(str, block.holders))} do")
    ranks = block.holders or None if pinned is None else (pinned,)
    return None if ranks is not None and len(ranks) == size else ranks


def write_results(construction: Construction, workflow: Workflow, writers: Ranks) -> None:
    """Add one task for each result file; several results in one file are written together."""
    files: dict[str, list[str]] = {}
    for name, file in workflow.document.files.items():
        files.setdefault(file, []).append(name)
    for file, names in files.items():
        construction.step, construction.instance = file, ""
        entries = [pair for name in names for pair in _written(construction, name)]
        construction.graph.written.update(entries)
        inputs = tuple([Input(name, _in_parts(construction, file, name, entry, workflow.document.parts(name), writers))
                        for name, entry in entries])
        parted = tuple([item.argument for item, (_, entry) in zip(inputs, entries, strict=True) if item.tasks != entry.tasks])
        parameters = (("file", file), *((("parts", parted),) if parted else ()))
        construction.add(Kind.WRITE, "", inputs, parameters, construction.estimates.read(inputs, nbytes=0),
                         recipe=(file, [(name, entry.id, entry.unit, entry.tags) for name, entry in entries]), ranks=writers)


def _written(construction: Construction, name: str) -> list[tuple[str, DatasetEntry]]:
    """What is written of a result; of ``sweep.*`` each instance, by its name in a group."""
    step = name.removesuffix(".*")
    whole = construction.graph.datasets[step]
    if step == name:
        return [(name, whole)]
    found = construction.graph.instances[step]
    names = distinct([f"{step}/{label(found.variables, row).replace('/', '_')}" for row in found.rows])
    return [(part, construction.entry(part, "step", blocks, whole.unit, whole.tags))
            for part, blocks in zip(names, found.blocks, strict=True)]


def _in_parts(construction: Construction, file: str, name: str, entry: DatasetEntry, parts: int,
              writers: Ranks) -> tuple[int, ...]:
    """The tasks that write the parts of a result, or those that make its blocks if it is written as a whole."""
    num = min(parts, len(entry.tasks))
    if num < 2:
        return entry.tasks
    tasks, found, about = construction.graph.tasks, [], (name, entry.unit, entry.tags)
    for number, inputs in enumerate(shares([Input(name, entry.tasks)], num)):
        hash = recipe_id("part", *about, [tasks[task].id for task in inputs[0].tasks])
        found.append(construction.add(Kind.WRITE_PART, "", inputs, (("file", part_file(file, name, number, hash)),),
                                      construction.estimates.read(inputs, nbytes=16), recipe=about, ranks=writers))
        if all(tasks[task].optional for task in inputs[0].tasks):
            tasks[found[-1]] = replace(tasks[found[-1]], optional=True)
    return tuple(found)


def check_kept(workflow: Workflow, tasks: Iterable[Task]) -> None:
    """Note files that two programs keep, or that are results as well."""
    owners = {PurePath(file): f"the result {name!r}" for name, file in workflow.document.files.items()}
    told: set[str] = set()
    for task in tasks:
        for file in kept_files(task.parameters):
            owner = owners.setdefault(PurePath(file), task.id)
            if owner != task.id and task.step not in told:
                which = owner if owner.startswith("the ") else "another task"
                workflow.fail(("steps", task.step, "out"), f"'keep': {file!r} is the file of {which} already; in a loop "
                              "put its variable into the name", key=True)
                told.add(task.step)

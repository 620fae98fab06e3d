"""What a store holds as text and as plain values. Pure, but for looking whether files of results are as they were written."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from mpiflow.catalog.queries import Facts
from mpiflow.errors import ranges
from mpiflow.report.fitting import table, table_rows
from mpiflow.report.summary import count, human_bytes
from mpiflow.storage.contents import Contents, Dataset, Operation
from mpiflow.storage.records import Given, Made

LINES = 20          # of blocks and of lineage are printed at most; --json has all
_AGES = ((86400 * 2, 86400, "d"), (3600 * 2, 3600, "h"), (120, 60, "min"), (0, 1, "s"))


def age(seconds: float) -> str:
    """Write how long ago something was: 3 min."""
    for least, unit, name in _AGES:
        if seconds >= least:
            return f"{seconds / unit:.0f} {name}"
    return "0 s"


def facts(dataset: Dataset, now: float) -> Facts:
    """Give what a query can ask of a dataset; ``now`` is the time of day [s]."""
    made, form = list(dataset.blocks.values()), dataset.form
    return Facts(
        {"name": [dataset.name], "step": sorted({one.step for one in made}), "tag": dataset.tags, "unit": [dataset.unit],
         "workflow": [dataset.workflow], "operation": dataset.operations, "dtype": [str(item.dtype) for item in form],
         "host": sorted({one.host for one in dataset.records}), "id": [dataset.id, *[one.id for one in made]],
         "file": [dataset.written.file] if dataset.written else []},
        {"size": [size(dataset)], "age": [now - dataset.ended], "seconds": [sum(one.seconds for one in made)],
         "rank": sorted({one.rank for one in dataset.records}), "blocks": [dataset.num],
         "ndim": [len(item.shape) for item in form], "rows": [item.shape[0] for item in form if item.shape]})


def operation_facts(operation: Operation, now: float) -> Facts:
    """The same of an operation."""
    return Facts({"name": [operation.name], "operation": [operation.name], "step": operation.steps, "id": [operation.code],
                  "workflow": operation.workflows},
                 {"size": [operation.nbytes], "seconds": [operation.seconds], "age": [now - operation.ended],
                  "blocks": [operation.num]})


def size(dataset: Dataset) -> int:
    """Size of what there is of a dataset: of its blocks, or in a file [bytes]."""
    form = dataset.in_file if dataset.in_file or dataset.blocks else dataset.form
    return sum(item.dtype.itemsize * math.prod(item.shape) for item in form) or dataset.nbytes


def shape(dataset: Dataset) -> str:
    """Write shape and dtype of an array, or the columns of a table: 214 × 3 float64; how many rows nobody knows is a ``?``."""
    form = dataset.form
    if not form:
        return "?"
    if form[0].name:
        return f"table of {count(len(form), 'column')}: " + ", ".join(item.name for item in form[:4]) + ", …" * (len(form) > 4)
    known = dataset.complete or dataset.in_file or dataset.num == 1
    extents = [*map(str, form[0].shape)] if known else ["?", *map(str, form[0].shape[1:])]
    return (" × ".join(extents) or "one") + f" {form[0].dtype}"


def listing(datasets: Sequence[Dataset], contents: Contents, now: float, width: int | None = None) -> str:
    """A line for each dataset."""
    if not datasets:
        return "nothing"
    rows = [("dataset", "shape", "unit", "size", "where", "age", "tags")]
    rows += [(dataset.name, shape(dataset).partition(":")[0], dataset.unit, human_bytes(size(dataset)) if dataset.form else "?",
              _where(dataset, contents), age(now - dataset.ended), " ".join(dataset.tags)) for dataset in datasets]
    groups: dict[str, list[int]] = {}
    for number, dataset in enumerate(datasets, 1):
        groups.setdefault(dataset.workflow, []).append(number)
    lines = table_rows(rows, width and width + 2)
    return "\n".join(line for name, members in groups.items()
                     for line in (f"workflow {name}", *[line[2:] for number in (0, *members) for line in lines[number]]))


def _where(dataset: Dataset, contents: Contents) -> str:
    missing, file = contents.missing(dataset), contents.file(dataset)
    held = dataset.num - len(missing)
    words = [] if not held else ["store"] if not missing else [f"store ({held} of {dataset.num})"]
    return ", ".join([*words, *([file[0].name] if file and file[1] else [])]) or "gone"


def operations(found: Sequence[Operation], now: float, width: int | None = None) -> str:
    """A line for each operation."""
    if not found:
        return "nothing"
    rows = [("operation", "code", "tasks saved", "seconds each", "made", "age", "steps")]
    rows += [(item.name, item.code[:8], item.num, f"{item.seconds / item.num:.3g}", human_bytes(item.nbytes),
              age(now - item.ended), ", ".join(item.steps[:3]) + ", …" * (len(item.steps) > 3)) for item in found]
    return "\n".join(line.removeprefix("  ") for line in table(rows, width and width + 2))


def description(dataset: Dataset, contents: Contents, now: float, width: int | None = None) -> str:
    """All that is known of one dataset."""
    made, missing, file = [*dataset.blocks.values()], contents.missing(dataset), contents.file(dataset)
    head = ", ".join(filter(None, (shape(dataset), dataset.unit, human_bytes(size(dataset)) if dataset.form else "")))
    written = "" if file is None else f"{file[0]}" + ("" if file[1] else ", which has changed since")
    there = "all" if not missing else "none" if len(missing) == dataset.num else f"all but {ranges(missing)}"
    pairs = [("workflow", dataset.workflow), ("id", dataset.id), ("tags", " ".join(dataset.tags)),
             ("made", f"{moment(dataset.ended)} ({age(now - dataset.ended)} ago)"),
             ("by", _by(made)), ("from", _inputs(made[0].inputs) if made else ""), ("with", made[0].parameters if made else ""),
             ("blocks", f"{dataset.num}; in the store: {there}"), ("file", written)]
    lines = [f"{dataset.name}: {head}", *[f"  {name:9} {text}" for name, text in pairs if text]]
    if len(dataset.blocks) > 1:
        lines += [f"  {line}" for line in _blocks(dataset, width and width - 2)]
    return "\n".join([*lines, *_lineage(dataset, contents)])


def moment(seconds: float) -> str:
    """Write a time of day [s], in the zone of this machine."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")


def _by(made: Sequence[Made]) -> str:
    if not made:
        return ""
    what = ", ".join(dict.fromkeys(f"operation {one.operation}" if one.operation else one.kind for one in made))
    ranks = ranges({one.rank for one in made}, ", ")
    hosts = sorted({one.host for one in made})
    return (f"{what} in {sum(one.seconds for one in made):.3g} s on rank{'s' if '-' in ranks or ',' in ranks else ''} {ranks} "
            f"({', '.join(hosts[:3])}{', …' * (len(hosts) > 3)})")


def _inputs(inputs: Sequence[Given]) -> str:
    shown = [(f"{item.argument}: " if item.argument else "") + item.name + (f" ({item.num} blocks)" if item.num > 1 else "")
             for item in inputs[:8]]
    return ", ".join([*shown, *([f"and {len(inputs) - 8} more"] if len(inputs) > 8 else [])])


def _blocks(dataset: Dataset, width: int | None) -> list[str]:
    numbers = sorted(dataset.blocks)
    rows: list[tuple] = [("block", "instance", "size", "seconds", "rank", "node", "id")]
    for number in numbers[:LINES]:
        made = dataset.blocks[number]
        instance = next((share.instance for share in made.shares if (share.name, share.number) == (dataset.name, number)), "")
        rows.append((number, instance, human_bytes(made.nbytes), f"{made.seconds:.3g}", made.rank, made.host, made.id[:12]))
    return [*table(rows, width), *([f"  and {len(numbers) - LINES} more"] if len(numbers) > LINES else [])]


def _lineage(dataset: Dataset, contents: Contents) -> list[str]:
    """How a dataset came to be, step by step, as far as blocks of the steps are in the store; once for each step."""
    lines, waiting, seen = [], [one for one in dataset.records if one.kind != "write"][:1], set()
    while waiting:
        made = waiting.pop(0)
        for item in made.inputs:
            known = next((contents.found.made[id] for id in item.ids if id in contents.found.made), None)
            if item.name not in seen and (known or item.name != made.step):       # not its own partial results
                seen.add(item.name)
                lines.append(f"    {item.name}" + (f" = {known.operation or known.kind}({_inputs(known.inputs)})" if known else
                                                   ": read or generated, or not saved"))
                waiting += [known] if known else []
    return [*(["  came from"] if lines else []), *lines[:LINES],
            *([f"    and {len(lines) - LINES} more"] if len(lines) > LINES else [])]


def as_values(dataset: Dataset, contents: Contents) -> dict[str, Any]:
    """Give all that is known of a dataset as plain values: times of day in ISO 8601, sizes in bytes."""
    file = contents.file(dataset)
    return {
        "name": dataset.name, "workflow": dataset.workflow, "id": dataset.id, "unit": dataset.unit, "tags": list(dataset.tags),
        "nbytes": size(dataset), "ended": _iso(dataset.ended), "num_blocks": dataset.num, "missing": contents.missing(dataset),
        "form": [{"column": item.name, "dtype": str(item.dtype), "shape": list(item.shape)} for item in dataset.form],
        "file": None if file is None else str(file[0]), "file_unchanged": None if file is None else file[1],
        "blocks": {str(number): _made(dataset.blocks[number]) for number in sorted(dataset.blocks)}}


def _made(made: Made) -> dict[str, Any]:
    return {"id": made.id, "step": made.step, "instance": made.instance, "operation": made.operation, "kind": made.kind,
            "code": made.code, "nbytes": made.nbytes, "seconds": made.seconds, "rank": made.rank, "host": made.host,
            "ended": _iso(made.ended), "parameters": json.loads(made.parameters or "{}"),
            "inputs": [{"argument": item.argument, "name": item.name, "ids": list(item.ids), "num": item.num}
                       for item in made.inputs]}


def operation_values(found: Iterable[Operation]) -> list[dict[str, Any]]:
    """The same of operations."""
    return [{"name": item.name, "code": item.code, "workflows": list(item.workflows), "steps": list(item.steps),
             "num": item.num, "seconds": item.seconds, "nbytes": item.nbytes, "ended": _iso(item.ended)} for item in found]


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")

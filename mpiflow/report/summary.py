"""The summary of a run, and the report of a failure. Pure: text from what all ranks know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mpiflow.catalog.catalog import Catalog
from mpiflow.catalog.entries import TaskEntry
from mpiflow.catalog.states import State
from mpiflow.errors import ranges
from mpiflow.planning.reuse import Reason
from mpiflow.planning.tasks import Input, Kind, Task, missing
from mpiflow.report.fitting import table

if TYPE_CHECKING:
    from mpiflow.peer.outcome import Outcome, Request

MOST = 8            # lines of one kind

def human_bytes(num: float) -> str:
    """Write a number of bytes for people: 7.6 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(num) < 1024 or unit == "TiB":
            return f"{num:.0f} B" if unit == "B" else f"{num:.1f} {unit}"
        num /= 1024
    raise AssertionError


def summary(outcome: Outcome) -> str:
    """Say what ran where, how many bytes moved, and where the results are."""
    catalog, graph = outcome.catalog, outcome.plan.graph
    num_hosts = len(set(outcome.hosts))
    how = "FAILED" if outcome.failed else "STOPPED" if outcome.unfinished else "done"
    head = (f"{outcome.workflow.document.name}: {how} in {outcome.seconds:.3f} s "
            f"(reading and planning {outcome.preparation:.3f} s) on {count(len(outcome.hosts), 'rank')}, "
            f"{count(num_hosts, 'node')}; {count(len(graph.tasks), 'task')}, {count(catalog.version, 'epoch')}")
    lines = [head, _predicted(outcome), *_spared(outcome), *table(_steps(outcome)), *_turns(outcome), *_skipped(outcome),
             *_moved(catalog), *_spilled(outcome), *_results(outcome)]
    return "\n".join(lines)


def _predicted(outcome: Outcome) -> str:
    """What the plan before the run said of its time and its traffic, beside what happened."""
    plan, nbytes = outcome.plan, sum(nbytes for traffic in outcome.catalog.traffic for _, _, nbytes in traffic.sent)
    again = outcome.num_plans - 1
    return (f"predicted {plan.seconds:.3f} s, took {outcome.seconds:.3f} s; predicted {human_bytes(plan.nbytes)} between ranks, "
            f"moved {human_bytes(nbytes)}" + (f"; planned again {_times(again)}" if again else ""))


def _spared(outcome: Outcome) -> list[str]:
    """What was kept of earlier work, and why the rest was not; and how to go on."""
    spared, lines = outcome.spared, []
    if spared:
        steps: dict[str, list[str]] = {}
        for step, reason in spared.reasons.items():
            if reason is not Reason.KEPT:
                steps.setdefault(reason, []).append(step)
        lines.append(f"kept of earlier work: {spared.num_kept} of {count(len(outcome.plan.graph.tasks), 'task')}"
                     + ("; not kept:" if steps else ""))
        lines += [f"  {reason}: {_listed(names)}" for reason, names in sorted(steps.items())]
        lines += [f"damaged: {damage}" for damage in spared.damages]
    if outcome.unfinished:
        lines.append(f"stopped by a signal at rank {ranges(outcome.stopped_by, ',')}, {count(outcome.num_left, 'task')} left: "
                     + _how_to_go_on(outcome.request))
    return lines


def _how_to_go_on(request: Request) -> str:
    if not request.save:
        return "nothing was saved (--no-save), so they can only be run from the start"
    return f"the same command {'' if request.resume else 'with --resume '}goes on"


def _listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _times(num: int) -> str:
    return "once" if num == 1 else f"{num} times"


def count(num: int, what: str, several: str = "") -> str:
    """Write how many there are of something: 2 ranks."""
    return f"{num} {what if num == 1 else several or what + 's'}"


def _steps(outcome: Outcome) -> list[list[str]]:
    """One row for each step: its tasks, their ranks, the time they took, and its result."""
    catalog, graph = outcome.catalog, outcome.plan.graph
    groups: dict[str, list[TaskEntry]] = {}
    for entry, task in zip(catalog.tasks, graph.tasks, strict=True):
        groups.setdefault(task.step, []).append(entry)
    rows = [["step", "tasks", "ranks", "busy [s]", "result"]]
    for name, entries in groups.items():
        ran = [entry for entry in entries if entry.rank >= 0 and entry.state in (State.DONE, State.FAILED)]
        busy = sum(entry.seconds for entry in entries)
        kept = all(graph.tasks[entry.task].kind in (Kind.KEPT, Kind.RESTORE) for entry in entries)
        result = "kept" if kept else _state(name, entries, outcome)
        rows.append([name, str(len(entries)), ranges(e.rank for e in ran) or "-", f"{busy:.3f}", result])
    for name, dataset in sorted(catalog.datasets.items()):
        if name not in groups:                  # the same recipe under another name is computed once
            holders = [rank for rank in catalog.holders(name) if rank >= 0]
            rows.append([name, "-", ranges(holders) or "-", "-", f"as {graph.tasks[dataset.tasks[0]].step}"])
    return rows


def _state(name: str, entries: list[TaskEntry], outcome: Outcome) -> str:
    states = [entry.state for entry in entries]
    if any(entry.task in outcome.failed for entry in entries):
        return "FAILED"
    if State.CANCELLED in states or State.FAILED in states:
        if not outcome.unfinished:
            return "cancelled"
        done = states.count(State.DONE)
        return f"{done} of {len(states)} done" if done else "not run"
    skipped = _share_skipped(name, entries, outcome)
    if skipped == "skipped" or name not in outcome.catalog.datasets:
        kinds = {outcome.plan.graph.tasks[entry.task].kind for entry in entries}
        return skipped or ("written" if Kind.WRITE in kinds else "")
    return ", ".join(filter(None, (_form(name, outcome.catalog), skipped)))


def _share_skipped(name: str, entries: list[TaskEntry], outcome: Outcome) -> str:
    """How many instances of a step were skipped; nothing of the turns that a step might have had as well."""
    if not any(entry.state is State.SKIPPED for entry in entries):
        return ""
    catalog, tasks, instances = outcome.catalog, outcome.plan.graph.tasks, {}
    if name in catalog.datasets:
        whole = Input("", catalog.datasets[name].tasks)
        if missing(tasks, whole, set(outcome.skipped)):
            return "skipped"
        entries = [catalog.tasks[task] for task in whole.tasks]
    for entry in entries:
        instance = _turnless(tasks[entry.task].instance)
        instances.setdefault(instance, []).append(entry.state is not State.SKIPPED)
    left_out = sum(not any(made) for made in instances.values())
    if left_out == len(instances):
        return "skipped"
    return f"{left_out} of {count(len(instances), 'instance')} skipped" if left_out else ""


def _turnless(instance: str) -> str:
    return ",".join([part for part in instance.split(",") if not part.startswith("turn=")])


def _turns(outcome: Outcome) -> list[str]:
    """How often repeated steps were done."""
    lines = [f"turns: {name} {num} of at most {len(outcome.plan.graph.turns[name])}" for name, num in outcome.turns.items()]
    return lines[:MOST] + ([f"  and {count(len(lines) - MOST, 'repeated step')} more"] if len(lines) > MOST else [])


def _skipped(outcome: Outcome) -> list[str]:
    """What failed without being a failure of the run."""
    tasks = outcome.plan.graph.tasks
    lines = [f"skipped: {tasks[number].name} has failed on rank {entry.rank}: {_reason(entry.error)}"
             for number in outcome.skipped if (entry := outcome.catalog.tasks[number]).error]
    return lines[:MOST] + ([f"  and {len(lines) - MOST} more have failed"] if len(lines) > MOST else [])


def _form(name: str, catalog: Catalog) -> str:
    """Columns, dtype and shape of a dataset, all blocks together."""
    dataset = catalog.datasets[name]
    entries = [catalog.tasks[task] for task in dataset.tasks]
    forms = [entry.form for entry in entries if entry.state is not State.SKIPPED]
    if not (forms and all(forms)):
        return ""
    parts = []
    for column, (label, dtype, shape) in enumerate(forms[0]):
        same = len(forms) > 1 and all(len(form) > column and form[column][2] for form in forms)
        rows = sum(form[column][2][0] for form in forms) if same else None
        whole = shape if rows is None else (rows, *shape[1:])
        parts.append(f"{label + ': ' if label else ''}{np.dtype(dtype).name} {'x'.join(map(str, whole)) or 'scalar'}")
    more = f" in {len(forms)} blocks" if len(forms) > 1 else ""
    return ", ".join(parts[:4]) + (", ..." if len(parts) > 4 else "") + more + (f" [{dataset.unit}]" if dataset.unit else "")


def _moved(catalog: Catalog) -> list[str]:
    links = [(source, rank, blocks, nbytes) for source, traffic in enumerate(catalog.traffic)
             for rank, blocks, nbytes in traffic.sent]
    total = sum(nbytes for *_, nbytes in links)
    lines = [f"moved between ranks: {count(sum(b for _, _, b, _ in links), 'block')}, {total} bytes ({human_bytes(total)})"]
    busiest = sorted(links, key=lambda link: (-link[3], link[0], link[1]))[:8]
    lines += [f"  {source} -> {rank}: {count(blocks, 'block')}, {nbytes} bytes" for source, rank, blocks, nbytes in busiest]
    if len(links) > len(busiest):
        lines.append(f"  and {count(len(links) - len(busiest), 'link')} with less")
    return lines


def _spilled(outcome: Outcome) -> list[str]:
    if not (outcome.spilled or outcome.again):
        return []
    limit = f"{human_bytes(outcome.request.memory)} of memory for each rank" if outcome.request.memory else "the memory of a node"
    return [f"beyond {limit}: {outcome.spilled} bytes "
            f"({human_bytes(outcome.spilled)}) went to scratch files, {outcome.again} bytes ({human_bytes(outcome.again)}) "
            f"were read again; no scratch file took more than {human_bytes(max(outcome.scratch))}, no process more memory than "
            f"{human_bytes(max(outcome.peaks))}"]


def _results(outcome: Outcome) -> list[str]:
    lines = []
    for number, task in enumerate(outcome.plan.graph.tasks):
        entry = outcome.catalog.tasks[number]
        if task.kind is Kind.WRITE and entry.state >= State.DONE:
            gone = set(outcome.skipped)
            left_out = [item.argument for item in task.inputs if missing(outcome.plan.graph.tasks, item, gone)]
            written = [item.argument for item in task.inputs if item.argument not in left_out]
            file = outcome.request.results / dict(task.parameters)["file"]
            if written:
                lines.append(f"result: {file} ({_listed(written, 4)}), written by rank {entry.rank}{_in_parts(outcome, task)}")
            if left_out:
                lines.append(f"not written to {file}, because it was skipped: {_listed(left_out, 4)}")
        elif task.kind is Kind.KEPT and not task.operation and "file" in dict(task.parameters):
            lines.append(f"result: {outcome.request.results / task.step}, kept")
    return lines


def _in_parts(outcome: Outcome, task: Task) -> str:
    """Who has written the parts that a result refers to, if it has any."""
    tasks, parted = outcome.plan.graph.tasks, dict(task.parameters).get("parts", ())
    parts = [need for item in task.inputs if item.argument in parted for need in item.tasks]
    written = [outcome.catalog.tasks[need] for need in parts if tasks[need].kind is Kind.WRITE_PART]
    ranks = {entry.rank for entry in written if entry.state is State.DONE}
    made = f"; {count(len(written), 'part')} by {'ranks' if len(ranks) > 1 else 'rank'} {ranges(ranks)}" if ranks else ""
    return made + (f"; {count(len(parts) - len(written), 'part')} kept" if len(parts) > len(written) else "")


def failure_of(outcome: Outcome, name: str) -> str:
    """Say why a dataset or a step was not made."""
    graph = outcome.plan.graph
    needed, stack = set(), list(graph.datasets[name].tasks)
    while stack:
        number = stack.pop()
        if number not in needed:
            needed.add(number)
            stack += graph.needs[number]
    failed = [number for number in outcome.failed if number in needed]
    return failure(outcome, failed) if failed else f"{name!r} was not made: {summary(outcome).splitlines()[0]}"


def failure(outcome: Outcome, failed: Sequence[int] = ()) -> str:
    """Say which step failed where, with which inputs, and why; the first failure in full, others in one line.

    Args:
        outcome: What came of the run.
        failed: The tasks of which it is to be said; all that failed if there are none.
    """
    catalog, graph = outcome.catalog, outcome.plan.graph
    first, *others = sorted((catalog.tasks[number] for number in failed or outcome.failed), key=lambda e: (e.start, e.task))
    task = graph.tasks[first.task]
    what = f"operation {task.operation}" if task.operation else task.kind
    lines = [f"step {task.name!r} failed on rank {first.rank} (node {outcome.hosts[first.rank]}), task {first.task}: {what}"]
    if task.inputs or task.parameters:
        lines.append("inputs: " + ", ".join([*(_input(item.argument, item.tasks, outcome) for item in task.inputs),
                                             *(f"{name}={value!r}" for name, value in task.parameters)]))
    lines.append(first.error)
    for entry in others:
        lines.append(f"also failed: step {graph.tasks[entry.task].name!r} on rank {entry.rank}: {_reason(entry.error)}")
    return "\n".join(lines)


def _reason(error: str) -> str:
    """The line that says why: of a traceback the last one, else the first one."""
    lines = [line for line in error.splitlines() if not line.startswith("(the last of")] or [""]
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]


def _input(argument: str, tasks: tuple[int, ...], outcome: Outcome) -> str:
    graph = outcome.plan.graph
    names = []
    for number in tasks[:4]:
        dataset = graph.datasets.get(graph.tasks[number].step)
        if dataset and number in dataset.tasks and len(dataset.tasks) > 1:
            names.append(f"{graph.tasks[number].name} block {dataset.tasks.index(number) + 1} of {len(dataset.tasks)}")
        else:
            names.append(graph.tasks[number].name)
    more = f" and {len(tasks) - 4} more" if len(tasks) > 4 else ""
    return (f"{argument}=" if argument else "") + " + ".join(names) + more

"""A plan for people and for programs. Pure: text from a plan, its simulation and its bounds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from mpiflow.errors import ranges
from mpiflow.planning.explain import Choice, explain, reasons
from mpiflow.planning.forecast import Forecast
from mpiflow.planning.plan import Plan
from mpiflow.planning.tasks import Kind, Task, TaskGraph
from mpiflow.report.fitting import table
from mpiflow.report.summary import count, human_bytes

ROWS = 40           # steps that are listed
LINKS = 8           # links, and ranks with their memory
EXPLAINED = 20      # tasks of a step
WIDTH = 24          # characters of a name
RANKS = 12          # characters of a list of ranks
LINE = 70           # characters of a path


# For people

def text(found: Forecast, width: int | None = None) -> str:
    """Say what runs where and why, what moves, and how long it takes against the lower bound; tables are of this width."""
    plan, machine = found.plan, found.machine
    head = (f"{found.name}: plan {plan.digest[:12]} for {count(machine.size, 'rank')} on "
            f"{count(len(set(machine.nodes)), 'node')}; {count(len(plan.ranks), 'task')}")
    return "\n".join([head, *table(_steps(found), width), *_conditions(plan.graph), *_times(found), *_moved(plan),
                      *_replicas(plan), *_memory(found)])


def _steps(found: Forecast) -> list[list[str]]:
    """One row for each step: its tasks, their ranks, their time, what is brought to them, and why there."""
    plan = found.plan
    brought, why = _brought(plan), reasons(plan)
    groups: dict[str, list[int]] = {}
    for number, task in enumerate(plan.graph.tasks):
        groups.setdefault(task.step, []).append(number)
    rows = [["step", "tasks", "ranks", "busy [s]", "moves in", "why there"]]
    for name, numbers in list(groups.items())[:ROWS]:
        busy = sum(plan.estimates.seconds[number] for number in numbers)
        moved = sum(brought.get(number, 0) for number in numbers)
        rows.append([_short(name), str(len(numbers)), _ranks([plan.ranks[number] for number in numbers]), f"{busy:.3f}",
                     human_bytes(moved) if moved else "-", _commonest([why[number] for number in numbers])])
    if len(groups) > ROWS:
        rows.append([f"and {len(groups) - ROWS} more", "", "", "", "", ""])
    return rows


def _conditions(graph: TaskGraph) -> list[str]:
    """What may be skipped; the plan counts it as if all of it ran."""
    gates = {number for number, task in enumerate(graph.tasks) if task.kind is Kind.GATE and ("key", "when") in task.parameters}
    steps = list(dict.fromkeys(task.step for task in graph.tasks if task.guard and task.guard[0] in gates))
    lines = [f"conditional, counted as if they ran: {', '.join(map(_short, steps[:LINKS]))}"
             + (f" and {len(steps) - LINKS} more" if len(steps) > LINKS else "")] if steps else []
    turns = [f"repeated, all turns counted: {name}, at most {len(gates)}" for name, gates in graph.turns.items()]
    return lines + turns[:LINKS] + ([f"  and {count(len(turns) - LINKS, 'repeated step')} more"] if len(turns) > LINKS else [])


def _brought(plan: Plan) -> dict[int, int]:
    """Bytes that come to a rank for a task first of all: the first there to use a block pays for it."""
    brought: dict[int, int] = {}
    seen: set[tuple[int, int]] = set()
    for number in plan.order:
        for needed in plan.graph.needs[number]:
            key = needed, plan.ranks[number]
            if plan.ranks[needed] != plan.ranks[number] and key not in seen:
                seen.add(key)
                brought[number] = brought.get(number, 0) + plan.estimates.nbytes[needed]
    return brought


def _commonest(words: Sequence[str]) -> str:
    """The commonest of some reasons, and how many are others."""
    counts = Counter(words)
    word = max(counts, key=lambda word: (counts[word], word))
    others = len(words) - counts[word]
    return word + (f" (not {others})" if others else "")


def _times(found: Forecast) -> list[str]:
    bounds, graph = found.bounds, found.plan.graph
    lines = [f"predicted makespan: {found.simulation.seconds:.3f} s; lower bound: {bounds.seconds:.3f} s "
             f"(gap {found.gap:.1f} %)",
             f"  critical path {bounds.critical:.3f} s: {_path([graph.tasks[number] for number in bounds.path])}",
             f"  work {bounds.work * found.machine.size:.3f} s, shared evenly {bounds.work:.3f} s"]
    if bounds.waist > max(bounds.critical, bounds.work):
        lines.append(f"  work around the longest tasks {bounds.waist:.3f} s")
    if bounds.group and bounds.pinned > 0:
        lines.append(f"  work that only {_ranks(bounds.group)} may do, shared evenly {bounds.pinned:.3f} s")
    return lines


def _path(tasks: Sequence[Task]) -> str:
    """The steps of a chain, each with the number of its tasks in a row."""
    parts: list[list] = []
    for task in tasks:
        if parts and parts[-1][0] == task.step:
            parts[-1][1] += 1
        else:
            parts.append([task.step, 1])
    names = [_short(name) + (f" x{num}" if num > 1 else "") for name, num in parts]
    if sum(map(len, names)) + 3 * len(names) > LINE and len(names) > 3:
        names = [names[0], f"... {len(names) - 2} more ...", names[-1]]
    return " > ".join(names) or "none"


def _moved(plan: Plan) -> list[str]:
    links = sorted(plan.links.items(), key=lambda item: (-item[1][1], item[0]))
    blocks = sum(num for _, (num, _) in links)
    lines = [f"moves between ranks: {count(blocks, 'block')}, {plan.nbytes} bytes ({human_bytes(plan.nbytes)})"]
    lines += [f"  {source} -> {rank}: {count(num, 'block')}, {nbytes} bytes" for (source, rank), (num, nbytes) in links[:LINKS]]
    return lines + _more(len(links) - LINKS, "link")


def _replicas(plan: Plan) -> list[str]:
    """What replicas cost, if there are any."""
    (num, nbytes), (copies, total) = plan.replicas, plan.held
    given_up = sum(not ranks for ranks in plan.holders.values())
    lines = [f"replicas: {count(copies, 'copy', 'copies')} held, {total} bytes ({human_bytes(total)}); only for them move "
             f"{count(num, 'block')}, {nbytes} bytes"] if plan.holders else []
    return lines + ([f"  no room for those of {count(given_up, 'block')}"] if given_up else [])


def _memory(found: Forecast) -> list[str]:
    """The ranks whose blocks take most."""
    peaks = found.simulation.memory
    limits = found.machine.memory
    limit = f" of {human_bytes(limits[0])}" if limits else ""
    order = sorted(range(len(peaks)), key=lambda rank: (-peaks[rank], rank))[:LINKS]
    lines = ["memory for blocks, at most:"]
    lines += [f"  rank {rank}: {human_bytes(peaks[rank])}{limit}"
              + (" TOO MUCH" if limits and peaks[rank] > limits[rank] else "") for rank in order]
    return lines + _more(len(peaks) - LINKS, "rank")


def _more(num: int, what: str) -> list[str]:
    return [f"  and {num} more {what}{'' if num == 1 else 's'} with less"] if num > 0 else []


def _ranks(ranks: Sequence[int]) -> str:
    """Which ranks, or how many if that is too long."""
    text = ranges(ranks)
    return text if len(text) <= RANKS else f"{len(set(ranks))} ranks"


def _short(word: str) -> str:
    return word if len(word) <= WIDTH else word[:WIDTH - 3] + "..."


# One step

def explanation(found: Forecast, step: str, width: int | None = None) -> str:
    """For each task of a step, show the ranks weighed, what they would cost, and the one chosen."""
    numbers = _tasks_of(found.plan, step)
    lines = [f"{step}: {count(len(numbers), 'task')}"]
    for choice in explain(found.plan, found.work, numbers[:EXPLAINED]):
        task = found.plan.graph.tasks[choice.task]
        lines += [_heading(task, choice, found.plan), *table(_costs(choice), width)]
    if len(numbers) > EXPLAINED:
        lines.append(f"and {len(numbers) - EXPLAINED} more tasks (all of them: --json)")
    return "\n".join(lines)


def _heading(task: Task, choice: Choice, plan: Plan) -> str:
    what = task.operation or task.kind
    needs = plan.graph.needs[choice.task]
    size = human_bytes(sum(plan.estimates.nbytes[needed] for needed in needs))
    inputs = f", reads {count(len(needs), 'block')} of {size}" if needs else ""
    return f"task {choice.task} ({task.kind} {what}{inputs}): rank {choice.rank}, {choice.reason}"


def _costs(choice: Choice) -> list[list[str]]:
    rows = [["rank", "inputs there [s]", "start [s]", "end [s]", "to move [bytes]", ""]]
    for item in choice.weighed:
        rows.append([str(item.rank), f"{item.ready:.6f}", f"{item.start:.6f}", f"{item.cost:.6f}", str(item.nbytes),
                     "chosen" if item.rank == choice.rank else ""])
    return rows


def _tasks_of(plan: Plan, step: str) -> list[int]:
    """The tasks of a step; of one that is computed under another name, those that make it."""
    numbers = [number for number, task in enumerate(plan.graph.tasks) if task.step == step]
    return numbers or sorted(set(plan.graph.datasets[step].tasks))


# For programs

def as_json(found: Forecast, step: str | None = None) -> str:
    """Give everything as JSON; with a step, also what was weighed for its tasks."""
    plan, bounds = found.plan, found.bounds
    starts, (seconds, nbytes) = found.simulation.starts, plan.estimates
    why = reasons(plan)
    content = {
        "name": found.name, "ranks": found.machine.size, "nodes": list(found.machine.nodes),
        "latency": list(found.machine.latency), "bandwidth": list(found.machine.bandwidth),
        "digest": plan.digest, "makespan": found.simulation.seconds, "gap_percent": found.gap,
        "bounds": {"seconds": bounds.seconds, "critical_path": bounds.critical, "work": bounds.work, "waist": bounds.waist,
                   "pinned": bounds.pinned, "pinned_ranks": list(bounds.group), "path": list(bounds.path)},
        "nbytes": plan.nbytes, "links": [[*edge, *carried] for edge, carried in plan.links.items()],
        "replicas": {"moved": list(plan.replicas), "held": list(plan.held)},
        "memory": list(found.simulation.memory), "memory_limit": found.machine.memory and list(found.machine.memory),
        "busy": list(found.simulation.busy),
        "turns": plan.graph.turns,
        "tasks": [{"number": number, "id": task.id, "step": task.step, "instance": task.instance, "kind": task.kind,
                   "operation": task.operation,
                   "rank": plan.ranks[number], "start": starts[number], "seconds": seconds[number], "nbytes": nbytes[number],
                   "needs": list(plan.graph.needs[number]), "guard": task.guard, "route": plan.routes[number],
                   "holders": list(plan.holders.get(number, ())), "reason": why[number]}
                  for number, task in enumerate(plan.graph.tasks)]}
    if step is not None:
        choices = explain(plan, found.work, _tasks_of(plan, step))
        content["explain"] = [
            {"task": choice.task, "rank": choice.rank, "reason": choice.reason,
             "weighed": [{"rank": item.rank, "ready": item.ready, "start": item.start, "end": item.cost, "nbytes": item.nbytes}
                         for item in choice.weighed]} for choice in choices]
    return json.dumps(content)

"""What is wrong in a workflow beyond its text: calls that do not fit their operations, files that do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mpiflow.catalog.entries import SourceEntry
from mpiflow.errors import did_you_mean
from mpiflow.operations.operation import Operation
from mpiflow.operations.registry import Registry, unknown_operation
from mpiflow.planning.holders import HOLDERS
from mpiflow.planning.instances import check_files
from mpiflow.planning.sources import SourceBlock, source_blocks
from mpiflow.planning.units import infer_units
from mpiflow.workflow.expressions import PLAIN, Call, Constant, Sum, Variable, walk
from mpiflow.workflow.reading import Workflow


class Checked(NamedTuple):
    """What is known of a workflow when it has been checked.

    Attributes:
        blocks: The blocks of each dataset that is right.
        units: The units of steps, as far as they are known.
    """

    blocks: dict[str, list[SourceBlock]]
    units: dict[str, str]


def check(workflow: Workflow, registry: Registry, sources: Sequence[SourceEntry], size: int | None = None) -> Checked:
    """Note everything that is wrong in ``workflow``; what follows from something noted before is left out. Pure.

    Args:
        workflow: What the user wrote.
        registry: The operations that it may name.
        sources: The files of its datasets and who sees them.
        size: Number of ranks; None if it is not known yet.
    """
    complete = not workflow.broken_modules()                # else an unknown one may be in a bad module
    asides = [(name, expression) for name, pieces in workflow.whole.asides.items() for _, expression in pieces]
    for name, expression in (*workflow.expressions.items(), *asides):
        for item in walk(expression):
            operation = registry.get(workflow.operation(name, item.operation)) if isinstance(item, Call) else None
            if operation is not None:
                _check_arguments(workflow, name, operation, item)
            elif isinstance(item, Call) and complete:
                workflow.fail_at(name, item, unknown_operation(item.operation, workflow.operations(name, registry)))
    for name in workflow.expressions:
        _check_parallel(workflow, registry, name, size)
    for name, expression in asides:
        for item in walk(expression):
            operation = registry.get(workflow.operation(name, item.operation)) if isinstance(item, Call) else None
            if operation is not None and operation.parallel:
                workflow.fail_at(name, item, f"{operation.name} is a parallel operation; make it a step of its own")
    for name, loop in workflow.loops.items():
        check_files(workflow, name, loop, sources)
    unusable = workflow.broken_datasets()
    blocks = source_blocks(workflow, [name for name in workflow.document.datasets if name not in unusable], sources)
    return Checked(blocks, infer_units(workflow, registry, blocks))


def _check_parallel(workflow: Workflow, registry: Registry, name: str, size: int | None) -> None:
    """Note parallel operations without ranks, ranks without such an operation, and more ranks than there are."""
    step, expression = workflow.document.steps[name], workflow.expressions[name]
    ranks = None if isinstance(step, str) else step.ranks
    here = registry.get(workflow.operation(name, expression.operation)) if isinstance(expression, Call) else None
    for item in walk(expression):
        operation = registry.get(workflow.operation(name, item.operation)) if isinstance(item, Call) else None
        if operation is not None and operation.parallel and (item is not expression or ranks is None):
            inside = "stands inside an expression" if item is not expression else "has no 'ranks'"
            workflow.fail_at(name, item, f"{operation.name} is a parallel operation and {inside}; make it a step of its own: "
                             f"{{run: {operation.name}, in: ..., ranks: 2}}")
    if ranks is None:
        return
    path = ("steps", name, "ranks")
    if here is None or not here.parallel:
        if here is not None or not isinstance(expression, Call):
            what = f"{here.name} is none" if here is not None else "this expression is none"
            workflow.fail(path, f"'ranks' belongs to a parallel operation, @operation(parallel=True); {what}", key=True)
        return
    for key, usual in (("retries", 0), ("on_error", "stop")):
        if getattr(step, key) != usual:
            written = key.replace("_", "-")
            workflow.fail((*path[:2], written), f"{written!r} is not possible with 'ranks': when a parallel operation fails on "
                          "one rank, the others cannot go on", key=True)
    if ranks == HOLDERS:
        if all(isinstance(item, PLAIN) for item in (*expression.arguments, *[item for _, item in expression.keywords])):
            workflow.fail(path, f"'ranks: {HOLDERS}' are those that hold blocks of the first dataset, and {here.name} is given "
                          "no dataset; say how many: 'ranks: 2'")
    elif size is not None and ranks > size:
        workflow.fail(path, f"step {name!r} needs {ranks} ranks at once, and there {'is' if size == 1 else 'are'} only {size}")


def numbers(expression: Sum) -> list[Constant | Variable]:
    """The terms that are plain values."""
    return [term for term in expression.terms if isinstance(term, PLAIN)]


def _check_arguments(workflow: Workflow, name: str, operation: Operation, call: Call) -> None:
    """Note arguments that are unknown, missing, too many, given twice, or not datasets where these are needed."""
    unknown = [key for key, _ in call.keywords if key not in operation.named]
    for key in unknown:
        hint = did_you_mean(key, operation.named) or f"; it takes {', '.join(operation.parameters) or 'none'}"
        workflow.fail_at(name, call, f"{operation.name} has no argument {key!r}{hint}", key)
    try:
        names = operation.bind(len(call.arguments), [key for key, _ in call.keywords if key not in unknown])
    except TypeError as error:
        if not unknown:
            workflow.fail_at(name, call, str(error))
        return
    for key, item in (*zip(names, call.arguments, strict=True), *call.keywords):
        split = key in operation.split
        if isinstance(item, PLAIN) and (split or not key):
            workflow.fail_at(name, item, f"{operation.name} needs a dataset here, not {item.value!r}", key)
        elif key in operation.sides and not isinstance(item, PLAIN):
            workflow.fail_at(name, item, f"{operation.name} needs a plain number of rows here, for its halo", key)
        elif split and operation.apart and isinstance(item, Sum) and 0 < len(numbers(item)) < len(item.terms) - 1:
            number = numbers(item)[0]
            workflow.fail_at(name, number, f"{operation.name} is linear and takes a sum of datasets apart, but "
                             f"{number.value!r} is no dataset; make the sum a step of its own")

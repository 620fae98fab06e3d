"""Units of steps, from those of datasets, through expressions; what does not go together is noted. Pure.

It looks at each expression once, however many tasks come of it, and at none in a workflow without units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import networkx as nx

from mpiflow.operations.operation import Operation
from mpiflow.operations.registry import BUILTIN, Registry
from mpiflow.operations.units import ONE, UNKNOWN, Unit, UnitError, alike, conversion, is_label, parse_unit, same
from mpiflow.planning.sources import SourceBlock
from mpiflow.workflow.expressions import (
    Call,
    Chosen,
    Collected,
    Column,
    Constant,
    Expression,
    Item,
    Ref,
    Spread,
    Sum,
    Variable,
    children,
)
from mpiflow.workflow.reading import Workflow

Units = Unit | dict[str, Unit]          # of a table: by column


def infer_units(workflow: Workflow, registry: Registry, blocks: Mapping[str, Sequence[SourceBlock]]) -> dict[str, str]:
    """Give the units of steps, as far as they are declared or can be known; mistakes are noted in ``workflow``.

    Plain numbers have none, unless the document says so.

    Args:
        workflow: What the user wrote.
        registry: The operations that it may name.
        blocks: The blocks of its datasets, which know what files say.
    """
    document = workflow.document
    texts = {name: dataset.unit or next((block.unit for block in blocks.get(name, ())), "")
             for name, dataset in document.datasets.items()}
    declared = {name: step.unit for name, step in document.steps.items() if not isinstance(step, str) and step.unit}
    own = any(operation.unit is not None and operation.code != BUILTIN for operation in registry.values())
    if not (own or declared or any(texts.values())):
        return {}
    inference = _Inference(workflow, registry, {name: parse_unit(text) if text else UNKNOWN for name, text in texts.items()})
    try:
        for name in nx.topological_sort(workflow.graph):
            if name in workflow.expressions:
                inference.step(name, declared.get(name))
            elif name in declared:                          # it is wrong, which is noted already
                inference.named[name] = parse_unit(declared[name])
    except nx.NetworkXUnfeasible:           # steps that depend on each other, which is noted already
        pass
    units = {name: str(unit) for name, unit in inference.named.items() if isinstance(unit, Unit) and unit.powers}
    return {name: unit for name, unit in units.items() if name in document.steps} | declared


class _Inference:
    """What is known so far."""

    def __init__(self, workflow: Workflow, registry: Registry, named: dict[str, Units]) -> None:
        self.workflow = workflow
        self.registry = registry
        self.named = named
        self.known: dict[tuple, Units] = {}     # by operation and units of its arguments
        self.current = ""

    def step(self, name: str, declared: str | None) -> None:
        self.current = name
        found = self.of(self.workflow.expressions[name])
        self.named[name] = found if isinstance(found, (Unit, dict)) else UNKNOWN
        if not declared:
            return
        unit = parse_unit(declared)
        if isinstance(found, Unit) and found.known and not same(found, unit) and not (found == ONE and is_label(unit)):
            remedy = f"; write convert(..., '{found}', to='{declared}')" if conversion(found, unit) else ""
            self.workflow.fail(("steps", name, "unit"), f"the document says {declared}, but what it runs gives {found}{remedy}")
        if not isinstance(found, dict):                  # the unit of a table does not tell those of its columns
            self.named[name] = unit

    def of(self, expression: Expression) -> Any:
        """Give the unit of an expression; of a plain value, the value."""
        match expression:
            case Ref(name=name):
                return self.named.get(name, UNKNOWN)
            case Constant(value=value):
                return value
            case Call():
                return self._call(expression)
            case Sum(terms=terms):
                return self._sum(expression, terms)
            case Column(table=table, name=name):
                columns = self.of(table)
                return columns.get(name, UNKNOWN) if isinstance(columns, dict) else UNKNOWN
            case Variable():
                return expression.value
            case Item(name=name):
                return self.of(self.workflow.loops[self.current].found[name].of)
            case Chosen(step=step) | Spread(step=step):
                return self.of(step)
            case Collected(refs=refs):
                return self.of(refs[0])
        return UNKNOWN

    def _sum(self, expression: Sum, terms: Sequence[Expression]) -> Unit:
        given = [(term, _single(self.of(term))) for term in terms]
        try:
            return alike(*[unit for _, unit in given])
        except UnitError as error:
            self._report(error, expression, given)
            return UNKNOWN

    def _call(self, call: Call) -> Units:
        """What a call gives; documents make the same calls on the same units thousands of times."""
        units = [self.of(part) for part in children(call)]
        called = self.workflow.operation(self.current, call.operation)
        key = (called, len(call.arguments), tuple([name for name, _ in call.keywords]), *units)
        try:
            return self.known[key]
        except KeyError:
            found = self._ruled(call, units)
            if found is not None:
                self.known[key] = found
        except TypeError:                                   # a list, a table
            found = self._ruled(call, units)
        return UNKNOWN if found is None else found

    def _ruled(self, call: Call, units: Sequence[Any]) -> Units | None:
        """What the rules of an operation say; None if there is something wrong, which is noted."""
        operation = self.registry.get(self.workflow.operation(self.current, call.operation))
        try:
            names = operation.bind(len(call.arguments), [name for name, _ in call.keywords]) if operation else ()
        except TypeError:                                   # noted by others
            return UNKNOWN
        if operation is None or not operation.united_by:
            return UNKNOWN
        found, right = {}, True
        for column, rule, wanted in operation.united_by:
            try:
                found[column] = _told(operation, rule, wanted, [*names, *(name for name, _ in call.keywords)], units)
                continue
            except UnitError as error:
                self._report(error, call, [*zip(children(call), map(_single, units), strict=True)])
            except Exception as error:      # user code may raise anything
                self.workflow.fail_at(self.current, call, f"operation {operation.name!r}: its unit raises "
                                      f"{type(error).__name__}: {error}")
            right = False
        if not right:
            return None
        return found if isinstance(operation.unit, Mapping) else found.get("", UNKNOWN)

    def _report(self, error: UnitError, whole: Expression, given: Sequence[tuple[Expression, Any]]) -> None:
        """Say what does not fit, where it stands, and what to write instead."""
        odd = next((part for part, unit in given if error.odd is not None and unit == error.odd), None)
        if odd is None:
            self.workflow.fail_at(self.current, whole, str(error))
            return
        shown, fits = _shown(odd), error.fits
        other = next((_shown(part) for part, unit in given if unit == fits), "")
        says = f"{other} in {fits}" if other else "but a plain number is needed" if fits == ONE else f"not in {fits}"
        remedy = f"write convert({shown}, '{error.odd}', to='{fits}')" if conversion(error.odd, fits) else (
            "these do not go together" if other else f"divide it by a value in {error.odd}" if fits == ONE else
            "which it cannot be converted to")
        self.workflow.fail_at(self.current, odd, f"{shown} is in {error.odd}, {says}; {remedy}")


def _told(operation: Operation, rule: Any, wanted: Sequence[str], names: Sequence[str], units: Sequence[Any]) -> Unit:
    """What a rule of an operation says for arguments of these units."""
    if rule == "same":
        first = dict(zip(names, units, strict=True)).get(operation.first) if all(names) else units[0]
        return first if isinstance(first, (Unit, dict)) else UNKNOWN
    if isinstance(rule, str):
        return parse_unit(rule)
    if all(names):
        given = dict(zip(names, map(_single, units), strict=True))
        if operation.pairs:
            given.setdefault(operation.split[1], given[operation.first])
        result = rule(**{name: given.get(name, operation.parameters[name].default) for name in wanted})
    else:
        result = rule(*map(_single, units))
    if isinstance(result, str):
        return parse_unit(result)
    if not isinstance(result, Unit):
        raise TypeError(f"{result!r} is no unit")
    return result


def _single(unit: Any) -> Any:
    """What a rule gets: of a table nothing is known as a whole."""
    return UNKNOWN if isinstance(unit, dict) else unit


def _shown(expression: Expression) -> str:
    match expression:
        case Ref(name=name):
            return name
        case Column(table=table, name=name):
            return f"{_shown(table)}.{name}"
        case Call(operation=operation):
            return f"{operation}(...)"
    return "this"

"""Documents whose steps are other documents, as one: every name of an inner one stands behind that of its step, ``relax.energy``.

What an inner document makes has the recipe, and so the id, that it would have if its steps were written in the outer one.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from mpiflow.errors import DocumentError, did_you_mean, near_file
from mpiflow.workflow.drafting import Draft, Other, draft
from mpiflow.workflow.expressions import Collected, Column, Expression, Ref, renamed, walk
from mpiflow.workflow.filters import FilterError
from mpiflow.workflow.located import Located, Path
from mpiflow.workflow.loops import Found, Loop, bound, label
from mpiflow.workflow.model import Dataset, Step
from mpiflow.workflow.parameters import filled
from mpiflow.workflow.policies import Policy
from mpiflow.workflow.repeating import Parts, Repetition, is_plain, settled
from mpiflow.workflow.sweeps import Read
from mpiflow.workflow.text import decode, unfilled

MAX_DEPTH = 20
_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True)
class Scope:
    """Where the names of one document stand.

    Attributes:
        file: Its path from the outermost one's folder.
        shown: What messages call it.
        prefix: Stands before each of its names.
        group: The same without instances of loops, by which people know its steps.
        instance: The instances that it belongs to: T=300,seed=2; empty without a loop.
        outer: The files around it, outermost first.
        guard: The step around it on whose condition it depends; empty if none has one.
        policy: What becomes of failures of its steps that do not say so themselves.
    """

    file: str
    shown: str
    prefix: str = ""
    group: str = ""
    instance: str = ""
    outer: tuple[str, ...] = ()
    guard: str = ""
    policy: Policy | None = None

    def path(self, file: str) -> str:
        """Give the path of a file that the document names."""
        outside = file.startswith(("/", "~"))
        return file if outside or not self.outer else posixpath.normpath(posixpath.join(posixpath.dirname(self.file), file))


@dataclass
class Composed:
    """All documents of a workflow as one; see ``Draft`` and ``Workflow``.

    Attributes:
        origins: For each name of an inner document, the document that it is from, and where it stands there.
        groups: For each name inside an instance of a loop, the name that people know it by, and the instance.
        homes: For each step of an inner document, the file whose operations it may name.
        policies: What becomes of failures, by the names that people know.
        modules: Document, number in its list, path and home of each operation module of inner documents.
        conditions: What must hold for steps to run, documents among them.
        guards: For each step inside a document with a condition, the step that this document is.
        repeats: How steps are repeated, documents among them.
        asides: The expressions of these, and where they stand.
    """

    datasets: dict[str, Dataset] = field(default_factory=dict)
    steps: dict[str, str | Step] = field(default_factory=dict)
    parts: dict[str, Parts] = field(default_factory=dict)
    expressions: dict[str, Expression] = field(default_factory=dict)
    loops: dict[str, Loop] = field(default_factory=dict)
    documents: list[Located] = field(default_factory=list)
    origins: dict[str, tuple[Located, Path]] = field(default_factory=dict)
    groups: dict[str, tuple[str, str]] = field(default_factory=dict)
    homes: dict[str, str] = field(default_factory=dict)
    modules: list[tuple[Located, int, str, str]] = field(default_factory=list)
    policies: dict[str, Policy] = field(default_factory=dict)
    conditions: dict[str, Expression] = field(default_factory=dict)
    guards: dict[str, str] = field(default_factory=dict)
    repeats: dict[str, Repetition] = field(default_factory=dict)
    asides: dict[str, Parts] = field(default_factory=dict)


def compose(made: Draft, file: str, read: Read) -> Composed:
    """Put the documents that steps are into one with the outermost; what is wrong is reported where it is.

    Args:
        made: The outermost document.
        file: Its name.
        read: Gives the contents of a file by its path from there; raises OSError.
    """
    composer = _Composer(read)
    composer.add(made, Scope(posixpath.basename(file), file), ())
    return composer.whole


class _Composer:
    def __init__(self, read: Read) -> None:
        self.whole = Composed()
        self._read = read
        self._sources: dict[str, Located] = {}
        self._offered: dict[str, tuple[str, tuple[str, ...]] | None] = {}      # file and results of each step that is a document

    def add(self, made: Draft, scope: Scope, given: Sequence[str]) -> None:
        """Add a document, and those inside it.

        Args:
            made: The document.
            scope: Where its names stand.
            given: Its inputs that the step around it gives, which are there already.
        """
        whole, located = self.whole, made.located
        whole.documents.append(located)
        for name, other in made.others.items():
            self._add_other(made, scope, name, other)
        for name, dataset in made.document.datasets.items():
            if name not in given:
                file = dataset.file and scope.path(dataset.file)
                whole.datasets[scope.prefix + name] = msgspec.structs.replace(dataset, file=file) if scope.outer else dataset
                self._note(scope, name, located, ("datasets", name))
        for name, step in made.document.steps.items():
            if name not in made.others:
                whole.steps[scope.prefix + name] = step
                self._note(scope, name, located, ("steps", name))
        policies = ((name, made.policies.get(name, scope.policy)) for name in made.document.steps if name not in made.others)
        whole.policies |= {scope.group + name: policy for name, policy in policies if policy is not None}
        self._add_expressions(made, scope)
        for index, name in enumerate(made.document.inputs):
            if name not in given and name not in made.document.datasets and not scope.outer:
                located.report(("inputs", index), f"nobody gives input {name!r} to a document that is run by itself; a dataset "
                               "of that name would be taken instead")
        if scope.outer:
            whole.modules += [(located, index, scope.path(module), scope.file)
                              for index, module in enumerate(made.document.operations)]
        self._check_results(made, scope)

    def _note(self, scope: Scope, name: str, located: Located, path: Path, home: str = "") -> None:
        if not scope.outer:
            return
        whole = self.whole
        if scope.guard:
            whole.guards[scope.prefix + name] = scope.guard
        whole.origins[scope.prefix + name] = whole.origins[scope.group + name] = located, path
        whole.homes[scope.prefix + name] = whole.homes[scope.group + name] = home or scope.file
        if scope.instance:
            whole.groups[scope.prefix + name] = scope.group + name, scope.instance

    # Names

    def _add_expressions(self, made: Draft, scope: Scope) -> None:
        """Add what steps compute, under the names that things have in the whole."""
        plain = not scope.outer and not made.others
        for name, parts in made.parts.items():
            if name in made.others:
                continue
            memo: dict[int, Expression] = {}
            flat = scope.prefix + name

            def again(expression: Expression, parts: Parts = parts, memo: dict = memo) -> Expression:
                return expression if plain else self._renamed(made, scope, expression, parts, memo)

            self.whole.parts[flat] = tuple([(path, again(expression)) for path, expression in parts])
            self._add_asides(made, name, flat, again)
            if name in made.expressions:
                self.whole.expressions[flat] = again(made.expressions[name])
            if name in made.loops:
                self.whole.loops[flat] = made.loops[name] if plain else replace(made.loops[name], axes=tuple(
                    [replace(axis, values=tuple([self._found(scope, values, again) for values in axis.values]))
                     for axis in made.loops[name].axes]))

    def _add_asides(self, made: Draft, name: str, flat: str, again: Callable[[Expression], Expression]) -> None:
        """Add when a step runs, and how often."""
        whole, asides = self.whole, made.asides(name)
        if name in made.conditions:
            whole.conditions[flat] = again(made.conditions[name])
        if name in made.repeats:
            whole.repeats[flat] = made.repeats[name].renamed(again)
        if asides:
            whole.asides[flat] = tuple([(path, again(expression)) for path, expression in asides])

    def _found(self, scope: Scope, values: Any, again: Callable[[Expression], Expression]) -> Any:
        if not isinstance(values, Found):
            return values
        return Found(values.kind, scope.path(values.of) if values.kind == "files" else again(values.of))

    def _renamed(self, made: Draft, scope: Scope, expression: Expression, parts: Parts, memo: dict[int, Expression],
                 values: Mapping | None = None, prefixes: Mapping[str, str] = _NOTHING) -> Expression:
        """Give an expression of a document as it is in the whole, where some of its steps have prefixes of their own."""
        def at(part: Expression, message: str) -> None:
            path = next((path for path, item in parts if _inside(part, item)), None)
            if path is not None and path not in made.located.broken:
                made.located.report(path, message, offset=part.offset)

        def name(ref: Ref) -> Expression:
            if ref.name in made.others and (offered := self._offered.get(scope.prefix + ref.name)):
                at(ref, f"{ref.name!r} is a workflow; name one of its results: " + (
                    ", ".join(f"{ref.name}.{result}" for result in offered[1]) or "it has none"))
            return replace(ref, name=scope.prefix + ref.name)

        def column(part: Column) -> Expression | None:
            names = _chain(part)
            if not names or names[0] not in made.others:
                return None
            offered = self._offered.get(scope.prefix + names[0])
            result = ".".join(names[1:])
            if offered is None or result in offered[1]:
                return Ref(prefixes.get(names[0], f"{scope.prefix}{names[0]}.") + result, part.offset)
            if isinstance(part.table, Column) and any(item == ".".join(names[1:end]) for end in range(2, len(names))
                                                      for item in offered[1]):
                return None                                 # a column of a result
            if not any(item.startswith(result + ".") for item in offered[1]):
                at(part, f"{offered[0]} has no result {result!r}" + (did_you_mean(result, offered[1]) or (
                    f"; it has {', '.join(offered[1])}" if offered[1] else "; it has none")))
            return Ref(scope.prefix + ".".join(names), part.offset)

        return renamed(expression, name, column, values, memo)

    def _check_results(self, made: Draft, scope: Scope) -> None:
        """Report results that a document inside does not have."""
        for result in made.document.results:
            step, _, inner = result.removesuffix(".*").partition(".")
            offered = self._offered.get(scope.prefix + step) if step in made.others else None
            if offered is not None and inner not in offered[1]:
                made.located.report(("results", result), f"{offered[0]} has no result {inner!r}" + (
                    did_you_mean(inner, offered[1]) or f"; it has {', '.join(offered[1]) or 'none'}"), key=True)

    # Inner documents

    def _add_other(self, made: Draft, scope: Scope, name: str, other: Other) -> None:
        """Add the document that a step is, once for each instance of the step's loop."""
        located, path = made.located, ("steps", name)
        self._offered[scope.prefix + name] = None
        file = scope.path(other.file)
        source = self._source(located, (*path, "workflow"), scope, other.file, file)
        if source is None:
            return
        shown = source.file
        params = source.value.get("params", {}) if isinstance(source.value, dict) else {}
        for parameter in other.parameters:
            if isinstance(params, dict) and parameter not in params:
                located.report((*path, "with", parameter), f"{shown} has no parameter {parameter!r}" + (
                    did_you_mean(parameter, params) or f"; it has {', '.join(params) or 'none'}"), key=True)
        if located.broken_inside((*path, "with"), (*path, "for"), (*path, "zip")):
            return
        loop = made.loops.get(name)
        before = set(self.whole.steps), set(self.whole.datasets)
        prefixes: list[str] = []
        for row in loop.rows if loop else [()]:
            values = dict(zip(loop.variables, row, strict=True)) if loop else {}
            here = label(loop.variables, row) if loop else ""
            prefix = f"{scope.prefix}{name}[{here}]." if loop else f"{scope.prefix}{name}."
            prefix = prefix if prefix not in prefixes else f"{prefix[:-1]}#{len(prefixes)}."
            inner = Scope(file, shown, prefix, f"{scope.group}{name}.", ",".join(filter(None, (scope.instance, here))),
                          (*scope.outer, scope.file), prefix[:-1] if name in made.conditions else scope.guard,
                          made.policies.get(name, scope.policy))
            if not self._add_instance(made, scope, name, other, source, inner, values):
                return
            prefixes.append(prefix)
        if loop:
            self._gather(scope, name, loop, prefixes, *before)

    def _add_instance(self, made: Draft, scope: Scope, name: str, other: Other, source: Located, inner: Scope,
                      values: Mapping) -> bool:
        try:
            parameters = {key: bound(value, values) for key, value in other.parameters.items()}
            child = draft(filled(source, {}, parameters), lambda file: self._read(inner.path(file)))
        except DocumentError as error:
            made.located.problems += error.problems
            return False
        self._offered[scope.prefix + name] = inner.shown, tuple([key.removesuffix(".*") for key in child.document.results])
        self._bind(made, scope, name, other, child, inner, values)
        start = len(self.whole.steps)
        self.add(child, inner, tuple(other.inputs))
        if made.asides(name):
            self._surround(made, scope, name, child, inner, values, tuple(self.whole.steps)[start:])
        return True

    def _surround(self, made: Draft, scope: Scope, name: str, child: Draft, inner: Scope, values: Mapping,
                  members: tuple[str, ...]) -> None:
        """Add when the document that a step is runs, and how often; what it has made is called by the name of the step."""
        whole, located, key, memo = self.whole, made.located, inner.prefix[:-1], {}
        asides = made.asides(name)

        def again(expression: Expression) -> Expression:
            return self._renamed(made, scope, expression, asides, memo, values, {name: inner.prefix})

        if scope.guard:
            whole.guards[key] = scope.guard
        whole.origins[key] = located, ("steps", name)
        if scope.outer:
            whole.homes[key] = scope.file
        if inner.instance:
            whole.groups[key] = scope.group + name, inner.instance
        try:
            if name in made.conditions:
                when = again(made.conditions[name])
                whole.conditions[key] = settled(when) if is_plain(when) else when
        except FilterError as error:
            located.report(("steps", name, "when"), str(error))
        if name in made.repeats:
            for fed in made.repeats[name].feed:
                if fed not in child.document.inputs:
                    known = child.document.inputs
                    located.report(("steps", name, "repeat", "feed", fed), f"{inner.shown} has no input {fed!r}" + (
                        did_you_mean(fed, known) or f"; it has {', '.join(known) or 'none'}"), key=True)
            outputs = [inner.prefix + result.removesuffix(".*") for result in child.document.results]
            whole.repeats[key] = replace(made.repeats[name].renamed(again), members=members, outputs=tuple(
                [output for output in dict.fromkeys(outputs) if output in members]))
        whole.asides[key] = tuple([(path, again(expression)) for path, expression in asides])

    def _source(self, located: Located, path: Path, scope: Scope, written: str, file: str) -> Located | None:
        """The text of an inner document; None if it cannot be read, which is reported."""
        chain = (*scope.outer, scope.file)
        if file in chain:
            circle = " -> ".join([*chain[chain.index(file):], file])
            located.report(path, f"a workflow cannot be a step of itself: {circle}", offset=0)
            return None
        if len(chain) > MAX_DEPTH:
            located.report(path, f"workflows are nested more than {MAX_DEPTH} deep", offset=0)
            return None
        if file not in self._sources:
            shown = file if file.startswith(("/", "~")) else posixpath.normpath(
                posixpath.join(posixpath.dirname(scope.shown), written))
            try:
                self._sources[file] = unfilled(decode(self._read(file), shown), shown)
            except OSError as error:
                located.report(path, f"cannot read {shown}: {error.strerror or error}{near_file(error.filename)}", offset=0)
                return None
            except DocumentError as error:
                located.problems += error.problems
                return None
        return self._sources[file]

    def _bind(self, made: Draft, scope: Scope, name: str, other: Other, child: Draft, inner: Scope, values: Mapping) -> None:
        """Make the inputs that the step gives steps of the whole."""
        located, path = made.located, ("steps", name)
        for key, expression in other.inputs.items():
            if key not in child.document.inputs:
                known = child.document.inputs
                located.report((*path, "in", key), f"{inner.shown} has no input {key!r}" + (
                    did_you_mean(key, known) or f"; it has {', '.join(known) or 'none'}"), key=True)
                continue
            flat = inner.prefix + key
            parts: Parts = (((*path, "in", key), expression),)
            memo: dict[int, Expression] = {}
            again = self._renamed(made, scope, expression, parts, memo, values)
            self.whole.steps[flat] = ""
            self.whole.expressions[flat] = again
            self.whole.parts[flat] = ((parts[0][0], again),)
            self._note(inner, key, located, (*path, "in", key), scope.file)
        missing = [key for key in child.document.inputs if key not in other.inputs and key not in child.document.datasets]
        if missing and not located.broken_inside((*path, "in")):
            located.report(path, f"input {missing[0]!r} of {inner.shown} is missing under 'in'", key=True)

    def _gather(self, scope: Scope, name: str, loop: Loop, prefixes: Sequence[str], steps: set[str], datasets: set[str]) -> None:
        """Make what the instances of a step have in common datasets of the whole, whose blocks are theirs."""
        whole, first = self.whole, prefixes[0]
        inside = [flat.removeprefix(first) for flat in [*whole.steps, *whole.datasets]
                  if flat.startswith(first) and flat not in steps and flat not in datasets]
        results = self._offered[scope.prefix + name][1]
        for inner in inside:
            if "[" in inner or (first + inner in whole.datasets and inner not in results):
                continue
            flat = f"{scope.prefix}{name}.{inner}"
            expression = Collected(tuple([Ref(prefix + inner) for prefix in prefixes]), loop.variables, loop.rows)
            step = whole.steps.get(first + inner, "")
            whole.steps[flat] = msgspec.structs.replace(step, run="", loop={}, beside={}) if isinstance(step, Step) else step
            whole.expressions[flat], whole.parts[flat] = expression, ()
            whole.origins[flat] = whole.origins[first + inner]
            whole.homes[flat] = whole.homes[first + inner]
            if scope.instance:
                whole.groups[flat] = f"{scope.group}{name}.{inner}", scope.instance


def _chain(part: Expression) -> list[str]:
    """The names in a.b.c; none if it starts otherwise."""
    names: list[str] = []
    while isinstance(part, Column):
        names.append(part.name)
        part = part.table
    return [part.name, *reversed(names)] if isinstance(part, Ref) else []


def _inside(part: Expression, whole: Expression) -> bool:
    return any(part is item for item in walk(whole))

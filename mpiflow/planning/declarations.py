"""Whether what an operation declares is true, tried on a sample of its arguments. Pure.

A linear operation must give the same from its parts, merged, as from the whole; an elementwise one the same rows. Equal means:
but for rounding. What holds for a sample may be wrong for other data; what does not hold for it is wrong.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from mpiflow.operations.operation import Operation
from mpiflow.operations.values import Value, as_value, columns, concatenate, nbytes, ndim, rows_of
from mpiflow.planning.differences import difference, precision
from mpiflow.planning.estimates import Estimates, Expected
from mpiflow.planning.tasks import Input, Kind, Task

MIN_ROWS = 4        # of parts with fewer than two rows many operations make nothing


class Untried(Exception):
    """A declaration cannot be tried; the message says why."""


@dataclass(frozen=True)
class Call:
    """An operation and a sample of what it is called with.

    Attributes:
        operation: The operation.
        datasets: Arguments that are datasets, with their names; empty for positional ones.
        parameters: Plain arguments.
        entire: Whether the datasets are all there is, so that sizes declared as numbers must be right.
        cut: Whether the first dataset is cut into blocks.
    """

    operation: Operation
    datasets: tuple[tuple[str, Value], ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    entire: bool = False
    cut: bool = True

    def on(self, values: Sequence[Value]) -> Value:
        """Run the operation on other ``values`` for its datasets."""
        names = [name for name, _ in self.datasets]
        keywords = {name: value for name, value in zip(names, values, strict=True) if name}
        positional = [value for name, value in zip(names, values, strict=True) if not name]
        return as_value(self.operation.function(*positional, **keywords, **self.parameters))

    def closed(self, partial: Value) -> Value:
        """Finish a merged partial result."""
        operation = self.operation
        if operation.finish is None:
            return partial
        given = {**dict(self.datasets), **self.parameters}
        wanted = {name: given[name] for name in operation.closing if name in given}
        return as_value(operation.finish(partial, **(operation.defaults | wanted)))

    @property
    def values(self) -> list[Value]:
        """The datasets without their names."""
        return [value for _, value in self.datasets]


def result_of(call: Call, terms: Sequence[Value] = ()) -> Value:
    """Run an operation on a sample; a linear one on each of the ``terms`` of its first argument, if there are several.

    Raises:
        Untried: It raises.
    """
    if call.operation.parallel:
        raise Untried(f"operation {call.operation.name!r} needs several ranks")
    with _quiet(f"operation {call.operation.name!r} cannot be run on it"):
        if not call.operation.linear:
            return call.on(call.values)
        rest = call.values[1:]
        return call.closed(_merged(call.operation, [call.on([term, *rest]) for term in terms or call.values[:1]]))


def declared(operation: Operation, entire: bool = True) -> tuple[str, ...]:
    """Name the declarations that can be tried; a size that is a number only on the ``entire`` data."""
    if operation.parallel:
        return ()
    alone = not operation.neighbours                        # else part of the rows is not what it is made for
    sized = callable(operation.nbytes) or (entire and operation.nbytes is not None)
    names = (("linear", alone and operation.linear), ("combine", alone and callable(operation.combine)),
             ("elementwise", alone and operation.elementwise), ("dtype", operation.dtype is not None), ("nbytes", sized))
    return tuple(name for name, there in names if there)


def false_declarations(call: Call) -> dict[str, str]:
    """Give the declarations of an operation that do not hold for a sample, and what happens instead.

    That a linear one must not be cut into blocks, though it is linear in sums of datasets, is called "cut".
    The sample is tried as it is, and then with random numbers in the place of the dataset that is split.

    Raises:
        Untried: The operation cannot be run on the sample.
    """
    found = dict(_trial(call, ""))
    other = _varied(call.values[0]) if call.datasets else None
    if other is not None:
        try:
            again = dict(_trial(_with_first(call, other), " (of random numbers in its place)"))
        except Untried:                                     # it may be made for other numbers than these
            again = {}
        found = again | found
    return found


def wrong_sizes(call: Call) -> list[str]:
    """Say where sizes that an operation declares are not those of what it makes; the planner then works with wrong ones."""
    operation, found = call.operation, []
    if "nbytes" not in declared(operation, call.entire):
        return found
    with _quiet(f"operation {operation.name!r} cannot be run on it"):
        result = call.on(call.values)
    tasks = [Task("", Kind.LOAD, "", nbytes=nbytes(value)) for value in call.values]
    inputs = [Input(name, (number,)) for number, (name, _) in enumerate(call.datasets)]
    expected = Estimates(tasks, found.append).applied(operation, inputs, tuple(sorted(call.parameters.items())), None)
    return found or list(_size_mistakes(operation, expected, result))


def _size_mistakes(operation: Operation, expected: Expected, result: Value) -> Iterator[str]:
    sizes = {name: array.nbytes for name, array in columns(result)}
    if expected.columns is not None and expected.columns != sizes:
        yield f"operation {operation.name!r}: nbytes says {dict(expected.columns)}, but it made {sizes}"
    elif expected.columns is None and expected.nbytes != nbytes(result):
        yield f"operation {operation.name!r}: nbytes says {expected.nbytes}, but it made {nbytes(result)}"


# Trials

def _trial(call: Call, of: str) -> Iterator[tuple[str, str]]:
    operation = call.operation
    if operation.elementwise and not operation.neighbours:
        yield from _elementwise(call, of)
    if operation.linear and not operation.neighbours:
        yield from _linear(call, of)
    if operation.dtype is not None:
        yield from _dtype(call)


def _dtype(call: Call) -> Iterator[tuple[str, str]]:
    with _quiet("it raises"):
        made = {array.dtype for _, array in columns(call.on(call.values))}
    wrong = sorted(str(dtype) for dtype in made if dtype != np.dtype(call.operation.dtype))
    if wrong:
        yield "dtype", f"it makes {', '.join(wrong)}"


def _linear(call: Call, of: str) -> Iterator[tuple[str, str]]:
    x, rest = call.values[0], call.values[1:]
    rows = _rows(x)
    if rows < MIN_ROWS:
        raise Untried(f"a sample of {rows} rows is too small")
    with _quiet("it raises"):
        whole = call.closed(call.on([x, *rest]))
    for edges in ((0, rows // 2, rows), (0, rows // 3, 2 * rows // 3, rows)):
        with _quiet(f"on {edges[1]} of {rows} rows it raises"):
            partials = [call.on([_cut(x, *pair), *rest]) for pair in pairwise(edges)]
        apart = _attempt(lambda partials=partials: _apart(call, whole, _merged(call.operation, partials), partials))
        if apart:
            parts = " and ".join(str(stop - start) for start, stop in pairwise(edges))
            yield "linear" if call.cut or not _adds_up(call) else "cut", (
                f"what {parts} rows give, merged, is not what all {rows} give{of}: {apart}")
            break
    if callable(call.operation.combine):
        yield from _associative(call, partials, of)


def _associative(call: Call, partials: Sequence[Value], of: str) -> Iterator[tuple[str, str]]:
    one, two, three = (*partials, partials[0])[:3]
    merge = call.operation.merge
    with _quiet("combine raises"):
        left = call.closed(as_value(merge(as_value(merge(one, two)), three)))
    apart = _attempt(lambda: _apart(call, left, as_value(merge(one, as_value(merge(two, three)))), partials))
    if apart:
        yield "combine", f"(a b) c is not a (b c){of}: {apart}"


def _adds_up(call: Call) -> bool:
    """Whether an operation is linear over datasets, if not over rows: f(a + b) = f(a) + f(b), element by element or in groups.

    Of datasets that are in one block nothing else is needed.
    """
    (x, *rest), other = call.values, _varied(call.values[0])
    if other is None:
        return False
    try:
        with _numpy_quiet():
            partials = [call.on([x, *rest]), call.on([other, *rest])]
            merged, sums = _merged(call.operation, partials), []
            if call.operation.combine == "add":
                sums.append(as_value(x + other))
            groups = len(partials[0]) if ndim(partials[0]) and not isinstance(partials[0], dict) else 0
            if groups and len(x) % groups == 0:
                parts = [item.reshape(groups, -1, *item.shape[1:]) for item in (x, other)]
                sums.append(as_value(np.concatenate(parts, axis=1).reshape(-1, *x.shape[1:])))
            return any(not _apart(call, call.closed(call.on([both, *rest])), merged, partials) for both in sums)
    except Exception:       # user code may raise anything
        return False


def _elementwise(call: Call, of: str) -> Iterator[tuple[str, str]]:
    least = max(map(ndim, call.values)) if call.operation.broadcast else 0
    counts = [_rows(value) for value in call.values if ndim(value) >= max(least, 1)]
    rows = max(counts, default=0)
    if rows < 2:
        raise Untried(f"a sample of {rows} rows is too small")
    with _quiet("it raises"):
        whole = call.on(call.values)
    made = {array.shape[:1] for _, array in columns(whole)}
    rows = next((count for count in counts if count > 1 and made == {(count,)}), rows)     # a longer one may be given whole
    odd = next((array.shape for _, array in columns(whole) if array.shape[:1] != (rows,)), None)
    if odd is not None:
        yield "elementwise", f"for {rows} rows it gives the shape {odd}"
        return
    first = max(rows // 3, 1)
    cuts = [(0, first, rows), (first, rows, rows)]
    with _quiet(f"on {first} of {rows} rows it raises"):
        parts = [call.on([rows_of(value, cut, least) for value in call.values]) for cut in cuts]
    apart = _attempt(lambda: difference(whole, concatenate(parts), [whole], precision(call.values)))
    if apart:
        yield "elementwise", f"{first} rows alone are not what they are among {rows}{of}: {apart}"


def _apart(call: Call, whole: Value, merged: Value, partials: Sequence[Value]) -> str:
    """How far results are apart, against the size of what the parts alone would give: a sum may be near zero by chance."""
    alone = []
    for partial in partials:
        try:
            alone.append(call.closed(partial))
        except Exception:       # user code may raise anything
            continue
    return difference(whole, call.closed(merged), alone, precision([*call.values, whole]))


def _merged(operation: Operation, partials: Sequence[Value]) -> Value:
    level = list(partials)
    while len(level) > 1:
        pairs = [as_value(operation.merge(*level[i:i + 2])) for i in range(0, len(level) - 1, 2)]
        level = pairs + level[2 * len(pairs):]
    return level[0]


def _attempt(compare: Callable[[], str]) -> str:
    """What merging raises makes the declaration false: the function itself has run."""
    try:
        with _numpy_quiet():
            return compare()
    except Exception as error:       # user code may raise anything
        return f"{type(error).__name__}: {_line(error)}"


@contextmanager
def _quiet(what: str) -> Iterator[None]:
    """Make of anything that is raised a reason not to try; keep numpy's warnings to ourselves.

    Raises:
        Untried: Anything was raised.
    """
    try:
        with _numpy_quiet():
            yield
    except (Exception, SystemExit) as error:       # user code may raise anything
        raise Untried(f"{what}: {type(error).__name__}: {_line(error)}") from None


@contextmanager
def _numpy_quiet() -> Iterator[None]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]


# Samples

def _rows(value: Value) -> int:
    return min(len(array) if array.ndim else 0 for _, array in columns(value))


def _cut(value: Value, start: int, stop: int) -> Value:
    return rows_of(value, (start, stop, _rows(value)), 0)


def _with_first(call: Call, value: Value) -> Call:
    (name, _), *rest = call.datasets
    return replace(call, datasets=((name, value), *rest))


def _varied(value: Value) -> Value | None:
    """Random numbers of the same form, from the least to the greatest, in order if these were; None for what is no numbers."""
    if isinstance(value, dict) or not value.size or value.dtype.kind not in "iuf" or not np.isfinite(value).all():
        return None
    low, high = value.min(), value.max()
    random = np.random.default_rng(1)
    if value.dtype.kind in "iu":
        made = random.integers(low, high, size=value.shape, dtype=value.dtype, endpoint=True)
    else:
        made = random.uniform(low, high if high > low else low + 1, size=value.shape).astype(value.dtype)
    if value.ndim and np.all(np.diff(value, axis=0) >= 0) and high > low:
        made.sort(axis=0)
    return as_value(made)

"""The @operation decorator and what it declares."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from mpiflow.errors import did_you_mean
from mpiflow.operations.neighbours import TOLD, Halo, mistakes_in_neighbours, sides
from mpiflow.operations.values import COMBINES, Combine
from mpiflow.workflow.terms import Term, call

Amount = int | float | Mapping[str, int | float]        # of bytes or seconds; by column, of the bytes of a table
Estimate = Amount | Callable[..., Amount] | None
Unity = str | Callable[..., Any] | Mapping[str, str | Callable[..., Any]] | None
_DECLARABLE = ("linear", "elementwise", "broadcast", "halo", "pairs", "symmetric", "combine", "finish", "nbytes",
               "combine_nbytes", "finish_nbytes", "seconds", "dtype", "unit", "parallel", "name")
COMM = "comm"           # the argument by which a parallel operation gets its communicator
_SIZES = {"nbytes": 1, "combine_nbytes": 2, "finish_nbytes": 1, "seconds": 1}       # how many sizes a function gets first
_ANY_NUMBER = inspect.Parameter.VAR_POSITIONAL
_ANY_NAME = inspect.Parameter.VAR_KEYWORD


@dataclass(frozen=True)
class Operation:
    """A function that makes one dataset out of datasets; still callable as that function.

    Attributes:
        name: What documents call it.
        function: Takes arrays (read-only) and plain parameters; returns an array, a number or a dict of such.
        linear: Runs on each block and each summand of its first argument; ``combine`` merges the partial results.
        elementwise: Each row of the result needs only the same row of the arguments; the result keeps their blocks.
            An argument with another number of rows is given to each block whole.
        broadcast: It is elementwise by numpy's broadcasting rules, so that an argument with fewer dimensions is given to
            each block whole even if it happens to have as many rows.
        halo: Rows of the adjacent blocks that each block of the first argument gets with it on both sides, or the name of
            a plain argument that says how many, or two of these: before and after it. ``before`` and ``after`` among
            the parameters of the function are told how many rows there are: fewer at the ends of the dataset.
        pairs: Runs on each pair of blocks of the first two arguments, or of the first one alone. The results are the blocks
            of a matrix, or with ``linear`` partial results. ``row`` and ``column`` among the parameters of the function
            are told where the blocks begin in their datasets.
        symmetric: Exchanging the first two arguments transposes the result: of one dataset, each pair of blocks runs once.
        combine: Name in ``COMBINES`` or an associative function of two values.
        finish: Function of the merged partial result, and of any further arguments that it names.
        nbytes: Expected size of one result [bytes], or of each column of it, or a function that gives these, of the first
            input's size and of any further arguments that it names: plain ones come as they are, datasets as their sizes.
        combine_nbytes: The same of two merged partial results, or a function of their sizes.
        finish_nbytes: The same of the finished result, or a function of the merged partial result's size and arguments.
        seconds: Expected run time [s], or a function of the size of all inputs [bytes] and of arguments.
        dtype: Dtype of the result, checked when it is made.
        unit: Unit of the result: ``"same"`` (as the first argument), a name, or a function of the units of the arguments
            that it names, where plain ones come as they are; by column for a table. None: nobody knows.
        parallel: It runs on several ranks at once, each with its share of the blocks, and gets their communicator as ``comm``.
            The dataset is what all return, joined in their order; or, if this is "first", what the first one returns.
        code: Hash of the code; a part of the ids of all results.
        key: What the registry calls it, if that is not its name: another document may have another one of that name.
    """

    name: str
    function: Callable[..., Any]
    linear: bool = False
    elementwise: bool = False
    broadcast: bool = False
    halo: Halo = None
    pairs: bool = False
    symmetric: bool = False
    combine: str | Combine = "add"
    finish: Callable[..., Any] | None = None
    nbytes: Estimate = None
    combine_nbytes: Estimate = None
    finish_nbytes: Estimate = None
    seconds: Estimate = None
    dtype: str | None = None
    unit: Unity = None
    parallel: bool | str = False
    code: str = ""
    key: str = ""
    parameters: dict[str, inspect.Parameter] = field(init=False, repr=False, compare=False)

    guess = 0.0             # run time [s] besides what follows from sizes, as long as nobody knows better

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", self.key or self.name)
        parameters = dict(inspect.signature(self.function).parameters)
        comm = parameters.pop(COMM, None) if self.parallel else None        # callers do not give it
        object.__setattr__(self, "parameters", parameters)
        if self.parallel and (comm is None or comm.kind is inspect.Parameter.POSITIONAL_ONLY):
            raise ValueError(f"operation {self.name!r}: parallel needs an argument named {COMM!r}, the communicator")
        for mistake in (*self._mistakes_in_declarations(), *self._mistakes_in_arguments()):
            raise ValueError(f"operation {self.name!r}: {mistake}")

    def _mistakes_in_declarations(self) -> Iterator[str]:
        if not self.name.isidentifier():
            yield "its name must be letters, digits and _, or no expression can name it"
        if isinstance(self.combine, str) and self.combine not in COMBINES:
            yield f"combine {self.combine!r} is none of {', '.join(COMBINES)}"
        if not isinstance(self.combine, str) and not callable(self.combine):
            yield f"combine must be a name or a function, not {self.combine!r}"
        if self.parallel not in (False, True, "first"):
            yield f"parallel must be True or 'first', not {self.parallel!r}"
        if self.parallel and (self.linear or self.elementwise or self.neighbours):
            yield "a parallel operation can be neither linear nor elementwise, and has no halo or pairs"
        if self.linear and self.elementwise:
            yield "an elementwise operation needs no linear=True"
        if self.broadcast and not self.elementwise:
            yield "broadcast=True needs elementwise=True"
        if not self.linear and (self.finish or self.combine != "add"):
            yield "combine and finish need linear=True"
        if self.combine_nbytes is not None and not self.linear:
            yield "combine_nbytes needs linear=True"
        if self.finish_nbytes is not None and not self.finish:
            yield "finish_nbytes needs finish"
        yield from mistakes_in_neighbours(self)
        for what in _SIZES:
            estimate = getattr(self, what)
            table = isinstance(estimate, Mapping) and what != "seconds"
            if not (estimate is None or isinstance(estimate, (int, float)) or callable(estimate) or table):
                yield f"{what} must be a number or a function, not {estimate!r}"
        for rule in self.unit.values() if isinstance(self.unit, Mapping) else (self.unit,):
            if rule is not None and not isinstance(rule, str) and not callable(rule):
                yield f"unit must be a text or a function, not {rule!r}"
        try:
            np.dtype(self.dtype)
        except TypeError:
            yield f"numpy knows no dtype {self.dtype!r}"

    def _mistakes_in_arguments(self) -> Iterator[str]:
        kinds = {parameter.kind for parameter in self.parameters.values()}
        if _ANY_NAME in kinds:
            yield "**arguments are not possible; name each one"
        if inspect.Parameter.POSITIONAL_ONLY in kinds:
            yield "arguments that have no name for callers (before '/') are not possible"
        if (self.linear or self.neighbours) and (not self.named or self.variadic):
            split = "linear=True" if self.linear else "halo" if self.halo is not None else "pairs=True"
            yield f"{split} needs a named first argument, the one that is split"
        units = self.unit.values() if isinstance(self.unit, Mapping) else (self.unit,)
        declared = [("unit", rule, 0) for rule in units]
        declared += [(what, getattr(self, what), num) for what, num in {"finish": 1, **_SIZES}.items()]
        for what, function, num in declared:
            further = _further(function, num)
            unknown = [name for name, item in further.items()
                       if name not in self.named and item.default is inspect.Parameter.empty]
            if unknown:
                yield f"{what} asks for {', '.join(unknown)}, which the operation has not"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function; of expressions it makes an expression."""
        if any(isinstance(item, Term) for item in (*args, *kwargs.values())):
            return call(self.name, args, kwargs, self)
        return self.function(*args, **kwargs)

    @cached_property
    def variadic(self) -> bool:
        """Whether it takes any number of positional arguments."""
        return any(parameter.kind is _ANY_NUMBER for parameter in self.parameters.values())

    @property
    def first(self) -> str:
        """Name of the argument that a linear operation splits."""
        return self.named[0]

    @property
    def neighbours(self) -> bool:
        """Whether a block does not suffice, but needs its neighbours or all others."""
        return self.pairs or self.halo is not None

    @cached_property
    def sides(self) -> tuple[int | str, int | str]:
        """The rows of the halo before and after a block, or the names of arguments that say how many."""
        return sides(self.halo)

    @cached_property
    def told(self) -> tuple[str, ...]:
        """Parameters of the function that no caller gives: they say what of the dataset a task has."""
        names = TOLD["halo"] if self.halo is not None else TOLD["pairs"] if self.pairs else ()
        return tuple(name for name in names if name in self.parameters)

    @property
    def apart(self) -> bool:
        """Whether it takes each summand of its first argument by itself."""
        return self.linear and not self.pairs

    @property
    def split(self) -> tuple[str, ...]:
        """Arguments that must be datasets, since their blocks are taken apart."""
        num = 2 if self.pairs else int(self.linear or self.halo is not None)
        return self.named[:num]

    @property
    def blockwise(self) -> bool:
        """Whether the partial results, joined in order, are the result: nothing need be gathered."""
        return self.elementwise or (self.linear and self.combine == "concatenate" and self.finish is None)

    @property
    def additive(self) -> bool:
        """Whether Op(A + B) = Op(A) + Op(B) literally, so that an outer linear operation can be split over it."""
        return self.linear and self.combine == "add" and self.finish is None and not self.pairs

    @property
    def merge(self) -> Combine:
        """The function that merges two partial results."""
        return COMBINES[self.combine] if isinstance(self.combine, str) else self.combine

    @property
    def closing(self) -> tuple[str, ...]:
        """Arguments that ``finish`` wants besides the partial result."""
        return tuple(name for name in _further(self.finish) if name in self.named)

    @cached_property
    def estimated_by(self) -> dict[str, tuple[str, ...]]:
        """Arguments that the functions ``nbytes``, ``combine_nbytes``, ``finish_nbytes`` and ``seconds`` want besides sizes."""
        return {what: tuple(name for name in _further(getattr(self, what), num) if name in self.named)
                for what, num in _SIZES.items()}

    @cached_property
    def united_by(self) -> tuple[tuple[str, str | Callable[..., Any], tuple[str, ...]], ...]:
        """What ``unit`` says: column (empty if it is no table), rule, and the arguments that the rule wants."""
        rules = self.unit.items() if isinstance(self.unit, Mapping) else (("", self.unit),)
        return tuple([(column, rule, tuple(name for name in _further(rule, 0) if name in self.named))
                      for column, rule in rules if rule is not None])

    @property
    def defaults(self) -> dict[str, Any]:
        """What ``finish`` gets for the arguments in ``closing`` that a call leaves out."""
        return {name: self.parameters[name].default for name in self.closing}

    @cached_property
    def named(self) -> tuple[str, ...]:
        """Arguments that can be given by name."""
        return tuple(name for name, parameter in self.parameters.items()
                     if parameter.kind is not _ANY_NUMBER and name not in self.told)

    def bind(self, num_positional: int, keywords: Sequence[str]) -> tuple[str, ...]:
        """Give the names of ``num_positional`` positional arguments; all empty if there may be any number of them.

        Raises:
            TypeError: Arguments are too many, missing or given twice; the message says which.
        """
        key = (num_positional, *keywords)
        if key not in self._bindings:
            self._bindings[key] = self._bind(num_positional, keywords)
        return self._bindings[key]

    @cached_property
    def _bindings(self) -> dict[tuple, tuple[str, ...]]:
        """What ``bind`` has given: documents call an operation thousands of times in a few ways."""
        return {}

    def _bind(self, num_positional: int, keywords: Sequence[str]) -> tuple[str, ...]:
        names = self.named
        if num_positional > len(names) and not self.variadic:
            several = "s" if len(names) != 1 else ""
            raise TypeError(f"{self.name} takes {len(names)} argument{several} ({', '.join(names)}), not {num_positional}")
        before = itertools.takewhile(lambda name: self.parameters[name].kind is not _ANY_NUMBER,
                                     (name for name in self.parameters if name not in self.told))
        positional = tuple(itertools.islice(before, num_positional))
        twice = sorted(set(positional) & set(keywords))
        if twice:
            raise TypeError(f"{self.name}: argument {twice[0]!r} is given twice")
        spared = names[1:2] if self.pairs else ()           # pairs of one dataset
        for name in names:
            given = name in (*positional, *keywords, *spared)
            if self.parameters[name].default is inspect.Parameter.empty and not given:
                raise TypeError(f"{self.name}: argument {name!r} is missing; it takes {', '.join(self.parameters)}")
        return ("",) * num_positional if self.variadic else positional


def _further(function: Any, num: int = 1) -> dict[str, inspect.Parameter]:
    """The parameters of a function behind the first ``num``; a ufunc's are numpy's own, and a class's its own affair."""
    if not callable(function) or isinstance(function, (np.ufunc, type)):
        return {}
    try:
        parameters = list(inspect.signature(function).parameters.items())[num:]
    except (ValueError, TypeError):                         # written in C, and says nothing of itself
        return {}
    return {name: item for name, item in parameters if item.kind not in (_ANY_NUMBER, _ANY_NAME)}


def operation(function: Callable[..., Any] | None = None, **declared: Any) -> Any:
    """Make a function an operation, plain or with declarations: ``@operation(linear=True, combine="add")``.

    Args:
        function: What to run; see ``Operation`` for what it takes and returns.
        **declared: Any of the fields of ``Operation``: linear, elementwise, halo, pairs, combine, finish, nbytes and so on.

    Raises:
        TypeError: A declaration is unknown.
        ValueError: Declarations contradict each other.
    """
    def wrap(function: Callable[..., Any]) -> Operation:
        unknown = sorted(set(declared) - set(_DECLARABLE))
        if unknown:
            raise TypeError(f"@operation has no {unknown[0]!r}" + did_you_mean(unknown[0], _DECLARABLE))
        return Operation(**{"name": function.__name__, **declared}, function=function)

    return wrap(function) if function is not None else wrap

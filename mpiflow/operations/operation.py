"""The @operation decorator and what it declares."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mpiflow.errors import did_you_mean
from mpiflow.operations.values import COMBINES, Combine

Estimate = int | float | Callable[[int], float] | None
_DECLARABLE = ("linear", "elementwise", "broadcast", "combine", "finish", "nbytes", "seconds", "dtype", "name")
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
        combine: Name in ``COMBINES`` or an associative function of two values.
        finish: Function of the merged partial result, and of any further arguments that it names.
        nbytes: Expected size of one result [bytes], or a function of the first input's size.
        seconds: Expected run time [s], or a function of the size of all inputs [bytes].
        dtype: Dtype of the result, checked when it is made.
        code: Hash of the code; a part of the ids of all results.
    """

    name: str
    function: Callable[..., Any]
    linear: bool = False
    elementwise: bool = False
    broadcast: bool = False
    combine: str | Combine = "add"
    finish: Callable[..., Any] | None = None
    nbytes: Estimate = None
    seconds: Estimate = None
    dtype: str | None = None
    code: str = ""
    parameters: dict[str, inspect.Parameter] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", dict(inspect.signature(self.function).parameters))
        for mistake in (*self._mistakes_in_declarations(), *self._mistakes_in_arguments()):
            raise ValueError(f"operation {self.name!r}: {mistake}")

    def _mistakes_in_declarations(self) -> Iterator[str]:
        if not self.name.isidentifier():
            yield "its name must be letters, digits and _, or no expression can name it"
        if isinstance(self.combine, str) and self.combine not in COMBINES:
            yield f"combine {self.combine!r} is none of {', '.join(COMBINES)}"
        if not isinstance(self.combine, str) and not callable(self.combine):
            yield f"combine must be a name or a function, not {self.combine!r}"
        if self.linear and self.elementwise:
            yield "an elementwise operation needs no linear=True"
        if self.broadcast and not self.elementwise:
            yield "broadcast=True needs elementwise=True"
        if not self.linear and (self.finish or self.combine != "add"):
            yield "combine and finish need linear=True"
        for what, estimate in (("nbytes", self.nbytes), ("seconds", self.seconds)):
            if not (estimate is None or isinstance(estimate, (int, float)) or callable(estimate)):
                yield f"{what} must be a number or a function, not {estimate!r}"
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
        if self.linear and (not self.parameters or self.variadic):
            yield "linear=True needs a named first argument, the one that is split"
        unknown = [name for name, item in _further(self.finish).items()
                   if name not in self.parameters and item.default is inspect.Parameter.empty]
        if unknown:
            yield f"finish asks for {', '.join(unknown)}, which the operation has not"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    @property
    def variadic(self) -> bool:
        """Whether it takes any number of positional arguments."""
        return any(parameter.kind is _ANY_NUMBER for parameter in self.parameters.values())

    @property
    def first(self) -> str:
        """Name of the argument that a linear operation splits."""
        return next(iter(self.parameters))

    @property
    def blockwise(self) -> bool:
        """Whether the partial results, joined in order, are the result: nothing need be gathered."""
        return self.elementwise or (self.linear and self.combine == "concatenate" and self.finish is None)

    @property
    def additive(self) -> bool:
        """Whether Op(A + B) = Op(A) + Op(B) literally, so that an outer linear operation can be split over it."""
        return self.linear and self.combine == "add" and self.finish is None

    @property
    def merge(self) -> Combine:
        """The function that merges two partial results."""
        return COMBINES[self.combine] if isinstance(self.combine, str) else self.combine

    @property
    def closing(self) -> tuple[str, ...]:
        """Arguments that ``finish`` wants besides the partial result."""
        return tuple(name for name in _further(self.finish) if name in self.parameters)

    @property
    def defaults(self) -> dict[str, Any]:
        """What ``finish`` gets for the arguments in ``closing`` that a call leaves out."""
        return {name: self.parameters[name].default for name in self.closing}

    @property
    def named(self) -> tuple[str, ...]:
        """Arguments that can be given by name."""
        return tuple(name for name, parameter in self.parameters.items() if parameter.kind is not _ANY_NUMBER)

    def bind(self, num_positional: int, keywords: Sequence[str]) -> tuple[str, ...]:
        """Give the names of ``num_positional`` positional arguments; all empty if there may be any number of them.

        Raises:
            TypeError: Arguments are too many, missing or given twice; the message says which.
        """
        names = self.named
        if num_positional > len(names) and not self.variadic:
            raise TypeError(f"{self.name} takes {len(names)} arguments ({', '.join(names)}), not {num_positional}")
        before = itertools.takewhile(lambda name: self.parameters[name].kind is not _ANY_NUMBER, self.parameters)
        positional = tuple(itertools.islice(before, num_positional))
        twice = sorted(set(positional) & set(keywords))
        if twice:
            raise TypeError(f"{self.name}: argument {twice[0]!r} is given twice")
        for name in names:
            if self.parameters[name].default is inspect.Parameter.empty and name not in (*positional, *keywords):
                raise TypeError(f"{self.name}: argument {name!r} is missing; it takes {', '.join(self.parameters)}")
        return ("",) * num_positional if self.variadic else positional


def _further(finish: Callable[..., Any] | None) -> dict[str, inspect.Parameter]:
    """The parameters of ``finish`` behind the partial result; a ufunc's are numpy's own."""
    if finish is None or isinstance(finish, np.ufunc):
        return {}
    parameters = list(inspect.signature(finish).parameters.items())[1:]
    return {name: item for name, item in parameters if item.kind not in (_ANY_NUMBER, _ANY_NAME)}


def operation(function: Callable[..., Any] | None = None, **declared: Any) -> Any:
    """Make a function an operation, plain or with declarations: ``@operation(linear=True, combine="add")``.

    Args:
        function: What to run; see ``Operation`` for what it takes and returns.
        **declared: Any of linear, elementwise, broadcast, combine, finish, nbytes, seconds, dtype and name.

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

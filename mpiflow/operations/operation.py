"""The @operation decorator and what it declares."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mpiflow.operations.values import COMBINES, Combine

Estimate = int | float | Callable[[int], float] | None
_VARIADIC = inspect.Parameter.VAR_POSITIONAL


@dataclass(frozen=True)
class Operation:
    """A function that makes one dataset out of datasets; still callable as that function.

    Attributes:
        name: What documents call it.
        function: Takes arrays (read-only) and plain parameters; returns an array, a number or a dict of such.
        linear: Runs on each block and each summand of its first argument; ``combine`` merges the partial results.
        elementwise: Each row of the result needs only the same row of the arguments; the result keeps their blocks.
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
    combine: str | Combine = "add"
    finish: Callable[..., Any] | None = None
    nbytes: Estimate = None
    seconds: Estimate = None
    dtype: str | None = None
    code: str = ""
    parameters: dict[str, inspect.Parameter] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", dict(inspect.signature(self.function).parameters))
        if isinstance(self.combine, str) and self.combine not in COMBINES:
            raise ValueError(f"operation {self.name!r}: combine {self.combine!r} is none of {', '.join(COMBINES)}")
        if self.linear and self.elementwise:
            raise ValueError(f"operation {self.name!r}: an elementwise operation needs no linear=True")
        if not self.linear and (self.finish or self.combine != "add"):
            raise ValueError(f"operation {self.name!r}: combine and finish need linear=True")
        if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in self.parameters.values()):
            raise ValueError(f"operation {self.name!r}: **arguments are not possible; name each one")
        if self.linear and (not self.parameters or self.variadic):
            raise ValueError(f"operation {self.name!r}: linear=True needs a named first argument, the one that is split")
        unknown = set(self.closing) - set(self.parameters)
        if unknown:
            raise ValueError(f"operation {self.name!r}: finish asks for {sorted(unknown)}, which the operation has not")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    @property
    def variadic(self) -> bool:
        """Whether it takes any number of positional arguments."""
        return any(p.kind is _VARIADIC for p in self.parameters.values())

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
        if self.finish is None:
            return ()
        return tuple(inspect.signature(self.finish).parameters)[1:]

    def bind(self, num_positional: int, keywords: Sequence[str]) -> tuple[str, ...]:
        """Give the names of ``num_positional`` positional arguments.

        Raises:
            TypeError: Arguments are missing, unknown or given twice; the message says which.
        """
        names = [n for n, p in self.parameters.items() if p.kind is not _VARIADIC]
        if self.variadic:
            positional = tuple("" for _ in range(num_positional))
        elif num_positional > len(names):
            raise TypeError(f"{self.name} takes {len(names)} arguments ({', '.join(names)}), not {num_positional}")
        else:
            positional = tuple(names[:num_positional])
        twice = sorted(set(positional) & set(keywords))
        if twice:
            raise TypeError(f"{self.name}: argument {twice[0]!r} is given twice")
        required = [n for n in names if self.parameters[n].default is inspect.Parameter.empty]
        missing = [n for n in required if n not in positional and n not in keywords]
        if missing:
            raise TypeError(f"{self.name}: argument {missing[0]!r} is missing; it takes {', '.join(names)}")
        return positional


def operation(function: Callable[..., Any] | None = None, **declared: Any) -> Any:
    """Make a function an operation, plain or with declarations: ``@operation(linear=True, combine="add")``.

    Args:
        function: What to run; see ``Operation`` for what it takes and returns.
        **declared: Any of linear, elementwise, combine, finish, nbytes, seconds, dtype and name.

    Raises:
        TypeError: A declaration is unknown.
        ValueError: Declarations contradict each other.
    """
    def wrap(function: Callable[..., Any]) -> Operation:
        unknown = set(declared) - {"linear", "elementwise", "combine", "finish", "nbytes", "seconds", "dtype", "name"}
        if unknown:
            raise TypeError(f"@operation has no {sorted(unknown)[0]!r}")
        return Operation(**{"name": function.__name__, **declared}, function=function)

    return wrap(function) if function is not None else wrap

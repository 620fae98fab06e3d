"""The built-in operations by name: ``mf.builtin.mean(handle)`` is an expression, and of arrays it is a value."""

from __future__ import annotations

from mpiflow.errors import did_you_mean
from mpiflow.operations.operation import Operation
from mpiflow.operations.registry import BUILTIN, INTERNAL, builtin_operations

_ALL = {name: item for name, item in builtin_operations().items() if name not in INTERNAL and item.code == BUILTIN}


def __getattr__(name: str) -> Operation:
    if name in _ALL:
        return _ALL[name]
    raise AttributeError(f"no built-in operation {name!r}" + did_you_mean(name, _ALL))


def __dir__() -> list[str]:
    return sorted(_ALL)

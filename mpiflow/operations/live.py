"""Operations that live in a running Python program: in a script, a notebook or a function; and ids that tell the truth of them.

The code of such an operation is the bytecode of its function, together with all that this reads from around it: defaults,
closures, globals, other functions. What has no form that stays the same is named, so that nothing is saved or taken that
may not be what it seems.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mpiflow.operations.operation import Operation
from mpiflow.operations.registry import texts

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), range, slice)
_DECLARED = ("linear", "elementwise", "broadcast", "halo", "pairs", "symmetric", "dtype", "parallel", "combine", "finish")
_INSTALLED = tuple(sorted({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}))


def module_file(operation: Operation) -> Path | None:
    """Give the file of the module that an operation is from, if a document can name it: one by itself, imported, not run."""
    module = sys.modules.get(getattr(operation.function, "__module__", ""))
    file = getattr(module, "__file__", None)
    if file is None or module.__name__ in ("__main__", "__mp_main__") or "." in module.__name__ or not file.endswith(".py"):
        return None
    return Path(file) if getattr(module, operation.name, None) is operation else None


def known(operation: Operation) -> tuple[Operation, tuple[str, ...]]:
    """Give a live operation with the hash of its code, and what it reads of which nobody can tell whether it has changed."""
    seen = _Seen()
    parts = [(name, seen.value(name, getattr(operation, name))) for name in _DECLARED]
    text = repr((seen.function(operation.function), parts))
    return replace(operation, code=hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()), \
        tuple(dict.fromkeys(seen.unknown))


class _Seen:
    """Walks through what a function is made of."""

    def __init__(self) -> None:
        self.unknown: list[str] = []
        self._functions: dict[int, int] = {}

    def function(self, function: Callable[..., Any]) -> object:
        """Give what tells a function from others."""
        function = getattr(function, "__wrapped__", function)
        if isinstance(function, types.MethodType):
            return self.function(function.__func__), self.value("self", function.__self__)
        if isinstance(function, functools.partial):
            return self.function(function.func), self.value("partial", (function.args, function.keywords))
        if not isinstance(function, types.FunctionType) or _installed(function.__code__.co_filename):
            if not isinstance(function, (types.FunctionType, types.BuiltinFunctionType, np.ufunc)):
                self.unknown.append(type(function).__name__)
            return getattr(function, "__module__", ""), getattr(function, "__qualname__", repr(type(function)))
        if id(function) in self._functions:                 # it calls itself, or others that do
            return "again", self._functions[id(function)]
        self._functions[id(function)] = len(self._functions)
        code = function.__code__
        names = [name for name in sorted(_names(code)) if name in function.__globals__]
        around = [(name, self.value(name, function.__globals__[name])) for name in names]
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        around += [(name, self.value(name, cell.cell_contents)) for name, cell in cells]
        given = self.value("defaults", function.__defaults__), self.value("defaults", function.__kwdefaults__)
        return _bytecode(code), around, given

    def value(self, name: str, value: Any) -> object:
        """Give what tells a value from others; what cannot be told is noted."""
        if isinstance(value, _PLAIN) or (isinstance(value, (type, np.ufunc, np.dtype)) and _is_installed(value)):
            return repr(value)
        if isinstance(value, Operation):
            return [self.function(value.function), *[self.value(name, getattr(value, name)) for name in _DECLARED]]
        if isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
            return str(value.dtype), value.shape, hashlib.blake2b(np.ascontiguousarray(value).tobytes()).hexdigest()
        if isinstance(value, (list, tuple)):
            return type(value).__name__, [self.value(name, item) for item in value]
        if isinstance(value, (dict, types.MappingProxyType)):
            return [(repr(key), self.value(name, item)) for key, item in value.items()]
        if isinstance(value, (set, frozenset)):
            return sorted(repr(self.value(name, item)) for item in value)
        if isinstance(value, types.ModuleType):
            return self._module(value)
        if callable(value) and not isinstance(value, type):
            return self.function(value)
        self.unknown.append(f"{name} ({type(value).__name__})")
        return type(value).__name__

    def _module(self, module: types.ModuleType) -> object:
        file = getattr(module, "__file__", None)
        if file is None or _installed(file) or not file.endswith(".py"):
            return module.__name__
        try:
            return module.__name__, sorted(texts(Path(file)).items())
        except OSError:
            self.unknown.append(f"{module.__name__} (module)")
            return module.__name__


def _installed(file: str) -> bool:
    return file.startswith(_INSTALLED)


def _is_installed(value: Any) -> bool:
    """Whether a class or the like comes with Python or a package."""
    module = sys.modules.get(getattr(value, "__module__", None) or "numpy")
    file = getattr(module, "__file__", None)
    return module is None or module.__name__ == "builtins" or (file is not None and _installed(file))


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yield a code and those of the functions inside it."""
    yield code
    for item in code.co_consts:
        if isinstance(item, types.CodeType):
            yield from _codes(item)


def _names(code: types.CodeType) -> set[str]:
    return {name for inner in _codes(code) for name in inner.co_names}


def _bytecode(code: types.CodeType) -> list[object]:
    """What the code does, wherever it stands; sets among its constants have no order."""
    return [(inner.co_code, inner.co_names, inner.co_varnames, inner.co_freevars,
             [sorted(map(repr, item)) if isinstance(item, frozenset) else repr(item) for item in inner.co_consts
              if not isinstance(item, types.CodeType)]) for inner in _codes(code)]

"""The operations that a document may name: the built-in ones and those of its own modules."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
import traceback
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mpiflow.errors import did_you_mean
from mpiflow.operations import arrays, reductions
from mpiflow.operations.operation import Operation

Registry = dict[str, Operation]
BUILTIN = "mpiflow-1"       # raise it when a built-in operation gives other values


class ModuleError(Exception):
    """A module of operations cannot be used; the message says why."""


def builtin_operations() -> Registry:
    """Give the operations that every document has."""
    found = {}
    for module in (arrays, reductions):
        for item in vars(module).values():
            if isinstance(item, Operation):
                found[item.name] = dataclasses.replace(item, code=BUILTIN)
    return found


def load_module(path: Path, registry: Registry) -> str:
    """Run the Python file ``path`` and add its operations to ``registry``; they hide built-in ones. Local.

    No bytecode is written, so that many ranks do not race for a cache on a shared file system.

    Returns:
        Hash of the file, the ``code`` of its operations.

    Raises:
        ModuleError: It cannot be read or run, holds no operation, or one that another module has already.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ModuleError(f"cannot read {path}: {error.strerror}") from None
    code = hashlib.blake2b(source, digest_size=16).hexdigest()
    module = types.ModuleType(f"_mpiflow_{path.stem}_{code[:8]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    with _importable(path.parent):
        try:
            exec(compile(source, str(path), "exec"), module.__dict__)
        except (Exception, SystemExit) as error:             # user code may raise anything
            raise ModuleError(f"{path} cannot be imported: {_last_place(error, path)}") from None
    own = [item for item in vars(module).values() if isinstance(item, Operation)]
    if not own:
        raise ModuleError(f"{path} has no @operation function")
    for item in own:
        hidden = registry.get(item.name)
        if hidden and hidden.code not in (BUILTIN, code):
            raise ModuleError(f"{path}: operation {item.name!r} is defined by another module already")
        registry[item.name] = dataclasses.replace(item, code=code)
    return code


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let a module import its neighbours, for as long as the program runs; the module's own folder comes last."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    yield


def _last_place(error: BaseException, path: Path) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = error.lineno if isinstance(error, SyntaxError) else (lines or [None])[-1]
    return f"{type(error).__name__}: {error}" + (f" (line {line})" if line else "")


def unknown_operation(name: str, registry: Registry) -> str:
    """Say that there is no operation ``name``."""
    return f"no operation {name!r}" + (did_you_mean(name, registry) or "; built-in ones are listed in docs/workflow.md")

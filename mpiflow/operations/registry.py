"""The operations that a document may name: the built-in ones and those of its own modules."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib.abc
import importlib.machinery
import sys
import traceback
import types
from collections.abc import Iterable
from pathlib import Path

from mpiflow.errors import did_you_mean, near_file
from mpiflow.operations import arrays, neighbours, reductions, replaying
from mpiflow.operations.operation import Operation
from mpiflow.workflow.parsing import BINARY, COMPARE, UNARY

Registry = dict[str, Operation]
BUILTIN = "mpiflow-1"       # raise it when a built-in operation gives other values
_BUILTIN_MODULES = (arrays, reductions, replaying)
_ROWS = Operation("_rows", neighbours.rows, code=BUILTIN)
_BESIDE = Operation("_beside", neighbours.beside, code=BUILTIN)
INTERNAL = {item.name: item for item in (_ROWS, _BESIDE)}       # that only tasks name
RESERVED = frozenset({*BINARY.values(), *COMPARE.values(), *UNARY.values(), "column", "row"})     # what signs and loops stand for


class ModuleError(Exception):
    """A module of operations cannot be used; the message says why."""


def builtin_operations() -> Registry:
    """Give the operations that every document has."""
    found = [item for module in _BUILTIN_MODULES for item in vars(module).values() if isinstance(item, Operation)]
    return {item.name: dataclasses.replace(item, code=BUILTIN) for item in found} | INTERNAL


def load_module(path: Path, registry: Registry) -> str:
    """Run the Python file ``path`` and add its operations to ``registry``; they hide built-in ones. Local.

    No bytecode is written, so that many ranks do not race for a cache on a shared file system. The file's folder
    becomes the last one in the search path, so that the module can import its neighbours. These are what they are now,
    however late they are imported: ids of what their code makes have to tell the truth.

    Returns:
        Hash of the file and of the neighbours that it imports, the ``code`` of its operations.

    Raises:
        ModuleError: It cannot be read or run, holds no operation, or one that there is already.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ModuleError(f"cannot read {path}: {error.strerror}{near_file(path)}") from None
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        found = _with_neighbours(source, path.parent)
        code = hashlib.blake2b(repr(sorted(found.items())).encode(), digest_size=16).hexdigest()
        _pin(found, path.parent)
        module = types.ModuleType(f"_mpiflow_{path.stem}_{code[:8]}")
        module.__file__ = str(path)
        sys.modules[module.__name__] = module
        exec(compile(source, str(path), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:                 # user code may raise anything
        raise ModuleError(f"{path} cannot be imported: {_last_place(error, path)}") from None
    _register(path, module, code, registry)
    return code


def _register(path: Path, module: types.ModuleType, code: str, registry: Registry) -> None:
    items = {id(item): item for item in vars(module).values() if isinstance(item, Operation) and not is_builtin(item)}
    if not items:
        raise ModuleError(f"{path} has no @operation function")
    names: set[str] = set()
    for item in items.values():
        hidden = registry.get(item.name)
        if item.name in INTERNAL:
            raise ModuleError(f"{path}: {item.name!r} is an operation of mpiflow itself; choose another name")
        if item.name in RESERVED:
            raise ModuleError(f"{path}: operation {item.name!r} is what a sign or a loop stands for; choose another name")
        if item.name in names:
            raise ModuleError(f"{path}: operation {item.name!r} is defined twice")
        if hidden and hidden.code not in (BUILTIN, code):
            raise ModuleError(f"{path}: operation {item.name!r} is defined by another module already")
        names.add(item.name)
        registry[item.name] = dataclasses.replace(item, code=code)


def add_operation(item: Operation, registry: Registry) -> None:
    """Add an operation that lives in a Python program, and has the hash of its code already.

    Raises:
        ModuleError: Its name is taken.
    """
    hidden = registry.get(item.name)
    reserved = item.name in INTERNAL or item.name in RESERVED
    if reserved or (hidden and hidden.code not in (BUILTIN, item.code)):
        why = "what a sign or a loop stands for" if reserved else "defined by a module already"
        raise ModuleError(f"operation {item.name!r} is {why}; choose another name")
    registry[item.name] = item


def is_builtin(item: Operation) -> bool:
    """A module may import a built-in operation to call it, without making it its own."""
    return getattr(item.function, "__module__", None) in {module.__name__ for module in _BUILTIN_MODULES}


def adopt(registry: Registry, others: Registry) -> dict[str, str]:
    """Add the operations of an inner document to ``registry``; give the key there of each that it can name.

    Where two operations share a name, the later one has the start of its code in its key.
    """
    keys = {}
    for name, item in others.items():
        key = name
        if name in registry and registry[name].code != item.code:
            key = f"{name}@{item.code[:8] if item.code != BUILTIN else BUILTIN}"
        registry.setdefault(key, dataclasses.replace(item, key=key))
        keys[name] = key
    return keys


def texts(path: Path) -> dict[str, bytes]:
    """Give the text of a module, under no name, and by name those of its neighbours that it imports, directly or not. Local.

    Raises:
        OSError: One of them cannot be read.
    """
    return _with_neighbours(path.read_bytes(), path.parent)


def _with_neighbours(source: bytes, folder: Path) -> dict[str, bytes]:
    """Give a module's text, under no name, and that of the files in ``folder`` that it imports, directly or not."""
    found = {"": source}
    waiting = [source]
    while waiting:
        for name in sorted(_imports(waiting.pop()) - set(found)):
            file = folder / f"{name}.py"
            if file.is_file():
                found[name] = file.read_bytes()
                waiting.append(found[name])
    return found


class _Pinned(importlib.machinery.SourceFileLoader):
    """Loads a module from a text that was read before."""

    def __init__(self, name: str, file: str, text: bytes) -> None:
        super().__init__(name, file)
        self._text = text

    def get_code(self, fullname: str) -> types.CodeType:
        """Compile it anew: a file of bytecode may be of another text."""
        return self.source_to_code(self._text, self.path)


class _Neighbours(importlib.abc.MetaPathFinder):
    """Finds neighbours of modules, by their files, where Python would find them."""

    def __init__(self) -> None:
        self.texts: dict[str, bytes] = {}
        self._names: set[str] = set()

    def pin(self, name: str, file: str, text: bytes) -> None:
        """From now on ``file`` is ``text``."""
        self.texts[file] = text
        self._names.add(name)

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        """Say how to import ``fullname`` if it is such a neighbour."""
        spec = importlib.machinery.PathFinder.find_spec(fullname) if fullname in self._names else None
        if spec is None or spec.origin not in self.texts:
            return None
        spec.loader = _Pinned(fullname, spec.origin, self.texts[spec.origin])
        return spec


_neighbours = _Neighbours()


def _pin(found: dict[str, bytes], folder: Path) -> None:
    if _neighbours not in sys.meta_path:
        places = [i for i, item in enumerate(sys.meta_path) if item is importlib.machinery.PathFinder]
        sys.meta_path.insert(places[0] if places else len(sys.meta_path), _neighbours)
    for name, text in found.items():
        if name:
            _neighbours.pin(name, str(folder / f"{name}.py"), text)


def _imports(source: bytes) -> set[str]:
    """The top-level names of what a module imports, wherever in its text; none if that is not Python."""
    names: set[str] = set()
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):                        # importing it will tell more
        return names
    for node in nodes:
        if isinstance(node, ast.Import):
            names.update(item.name.partition(".")[0] for item in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def _last_place(error: BaseException, path: Path) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == str(path) else (lines or [None])[-1]
    return f"{type(error).__name__}: {error}" + (f" (line {line})" if line else "")


def unknown_operation(name: str, known: Iterable[str]) -> str:
    """Say that there is no operation ``name``."""
    return f"no operation {name!r}" + (did_you_mean(name, known) or "; built-in ones are listed in docs/workflow.md")

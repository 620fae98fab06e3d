"""External programs as operations: found on this node, and known by what they are."""

from __future__ import annotations

import hashlib
import inspect
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mpiflow.errors import near_file
from mpiflow.operations.operation import Operation
from mpiflow.workflow.programs import PLAIN

VERSION = "program-1"       # raise it when a program is given, or read, in another way
_EMPTY = inspect.Parameter.empty


class ProgramError(Exception):
    """A program cannot be used here; the message says why."""


@dataclass(frozen=True)
class Program(Operation):
    """An operation that runs a program; what it takes and gives, its plain arguments say.

    Attributes:
        file: Where it is on this node.
        inputs: Names of its datasets.
    """

    file: str = ""
    inputs: tuple[str, ...] = ()

    guess = 1.0             # run time [s] as long as nobody knows better: seconds, not microseconds

    def __post_init__(self) -> None:
        named = {f"in.{name}": _EMPTY for name in self.inputs} | dict.fromkeys(PLAIN, _EMPTY)
        object.__setattr__(self, "key", self.key or self.name)
        object.__setattr__(self, "parameters", {
            name: inspect.Parameter("given", inspect.Parameter.KEYWORD_ONLY, default=default) for name, default in named.items()})

    def _mistakes_in_declarations(self) -> Iterator[str]:
        return iter(())


def find_program(name: str, word: str, inputs: Sequence[str], folder: Path) -> Program:
    """Look for a program on this node. Local.

    Args:
        name: What its operation is called.
        word: What the document calls it: a name to be found along PATH, or a path, from ``folder`` on if it is relative.
        inputs: Names of the datasets that it gets.
        folder: That of the document.

    Raises:
        ProgramError: It is not there, or cannot be run or read.
    """
    if "/" in word:
        file = os.path.abspath(folder / os.path.expanduser(word))
        if not os.path.isfile(file):
            raise ProgramError(f"no program {file}{near_file(file)}")
        if not os.access(file, os.X_OK):
            raise ProgramError(f"{file} may not be run; chmod +x makes a program of it")
    else:
        found = shutil.which(word)
        if found is None:
            raise ProgramError(f"no program {word!r} along PATH")
        file = os.path.abspath(found)
    try:
        status = os.stat(file)
        code = _hashed(file, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise ProgramError(f"cannot read {file}: {error.strerror}") from None
    return Program(name, _not_called, code=code, file=file, inputs=tuple(inputs))


def _not_called() -> None:
    """Stand where an operation has its function."""


@cache
def _hashed(file: str, size: int, mtime_ns: int) -> str:
    """Hash what a program is: nodes may have it at different places, and of different times."""
    with open(file, "rb") as opened:
        digest = hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=16))
    return hashlib.blake2b(f"{VERSION} {digest.hexdigest()}".encode(), digest_size=16).hexdigest()

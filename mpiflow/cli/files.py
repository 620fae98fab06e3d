"""Files that verbs read and write."""

from __future__ import annotations

from pathlib import Path

from mpiflow.errors import DocumentError, LaunchError, Problem, near_file
from mpiflow.report.console import say


def read_bytes(file: Path) -> bytes:
    """Give the content of a file.

    Raises:
        DocumentError: It cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise DocumentError([Problem(str(file), 0, 0, f"cannot be read: {error.strerror}{near_file(file)}")]) from None


def deliver(text: str, file: Path | None, what: str) -> None:
    """Print ``text``; or write it to a file, and say what is in it.

    Raises:
        LaunchError: The file cannot be written.
    """
    if file is None:
        say(text.rstrip("\n"))
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LaunchError(f"cannot write {file}: {error.strerror}") from None
    say(f"{file}: {what}")

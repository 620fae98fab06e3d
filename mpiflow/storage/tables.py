"""Values as CSV files, for spreadsheets and for reading with numpy or pandas."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from mpiflow.errors import MachineError, OperationError
from mpiflow.operations.values import Value, columns
from mpiflow.storage.results import replace_file
from mpiflow.storage.sources import reason

_ROWS = 10_000          # become text at a time


def write_csv(file: Path, name: str, value: Value) -> None:
    """Write a value: a heading, and a line for each row; numbers with as many digits as give the same when read again. Local.

    Args:
        file: Where; it appears when it is complete.
        name: The heading of a plain array, of which each column has its number as well.
        value: An array of up to two dimensions, or a table of columns of one length.

    Raises:
        OperationError: It has no such form.
        MachineError: The file cannot be written.
    """
    arrays = columns(value)
    if len({array.shape[:1] for _, array in arrays}) > 1 or any(array.ndim > 2 for _, array in arrays):
        shapes = ", ".join(f"{column or name} {array.shape}" for column, array in arrays[:4])
        raise OperationError(f"{file}: a CSV file holds arrays of one or two dimensions, or a table of columns of one length, "
                             f"not {shapes}; use .h5" + ("" if isinstance(value, dict) else " or .npy"))
    heads, parts = [], []
    for column, array in arrays:
        heads += _heads(column or name, array)
        parts.append(array.reshape(len(array), -1) if array.ndim else array.reshape(1, 1))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, lambda aside: _write(aside, heads, parts))
    except OSError as error:
        raise MachineError(f"cannot write {file}: {reason(error)}") from None


def _heads(name: str, array: np.ndarray) -> list[str]:
    return [f"{name}_{number}" for number in range(array.shape[1])] if array.ndim == 2 else [name]


def _write(file: Path, heads: list[str], parts: list[np.ndarray]) -> None:
    with open(file, "w", encoding="utf-8", newline="") as opened:
        rows = csv.writer(opened, lineterminator="\n")
        rows.writerow(heads)
        for start in range(0, len(parts[0]), _ROWS):
            rows.writerows(np.concatenate([_text(part[start:start + _ROWS]) for part in parts], axis=1).tolist())


def _text(part: np.ndarray) -> np.ndarray:
    """Numpy writes each number as shortly as gives the same when it is read again."""
    return np.char.decode(part, "utf-8", "replace") if part.dtype.kind == "S" else part.astype(str)

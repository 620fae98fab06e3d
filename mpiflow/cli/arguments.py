"""Arguments that several verbs share."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from mpiflow.errors import LaunchError

_UNITS = {"": 1} | {f"{letter}{end}": base ** power for power, letter in enumerate("KMGTP", 1)
                    for end, base in (("", 1024), ("IB", 1024), ("B", 1000))} | {"B": 1}


def add_workflow(parser: argparse.ArgumentParser) -> None:
    """Add the document and its parameters."""
    parser.add_argument("workflow", type=Path, help="the workflow document (YAML)")
    parser.add_argument("--set", dest="overrides", metavar="NAME=VALUE", action="append", default=[],
                        help="give a parameter of the document another value; may be repeated")


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add the place where runs leave what later ones may use."""
    parser.add_argument("--store", type=Path, default=Path(".mpiflow"), metavar="DIR",
                        help="where runs leave blocks, run times and sizes for later ones (default: .mpiflow)")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add a form for programs."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_memory(parser: argparse.ArgumentParser) -> None:
    """Add the memory of each rank."""
    parser.add_argument("--memory", metavar="SIZE", type=nbytes, help="what blocks may take on each rank, e.g. 4GB or 512MiB")


def nbytes(word: str) -> int:
    """A size such as 4GB (10^9), 4GiB or, as in SLURM, 4G (both 2^30)."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([a-z]*)", word.strip().lower())
    if not match or match[2].upper() not in _UNITS or float(match[1]) <= 0:
        raise argparse.ArgumentTypeError(f"{word!r} is no size; write for example 4GB, 512MiB or 2G")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def overrides(chosen: argparse.Namespace) -> dict[str, str]:
    """Give the parameters set on the command line.

    Raises:
        LaunchError: One is not of the form NAME=VALUE.
    """
    found = {}
    for text in chosen.overrides:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise LaunchError(f"--set {text}: must have the form NAME=VALUE")
        found[name] = value
    return found

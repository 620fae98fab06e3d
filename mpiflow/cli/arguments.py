"""Arguments that several verbs share."""

from __future__ import annotations

import argparse
from pathlib import Path

from mpiflow.errors import LaunchError
from mpiflow.workflow.policies import parse_nbytes


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
    try:
        return parse_nbytes(word)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


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

"""``schema``: print the JSON Schema of workflow documents."""

from __future__ import annotations

import argparse
import json

from mpiflow.report.console import say
from mpiflow.workflow.schema import json_schema

HELP = "print the JSON Schema of workflow documents, for editors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this verb: none."""


def execute(chosen: argparse.Namespace) -> int:
    """Print the schema."""
    say(json.dumps(json_schema(), indent=2))
    return 0

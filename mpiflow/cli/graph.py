"""``graph``: the DAG of a workflow as a picture or as text, without MPI and without running anything of it."""

from __future__ import annotations

import argparse
from pathlib import Path

from mpiflow.cli.arguments import add_json, add_workflow, overrides
from mpiflow.cli.files import deliver
from mpiflow.errors import DocumentError, LaunchError, Problem, did_you_mean, near_file
from mpiflow.peer.reading import Local, drafted
from mpiflow.report.dag import boxes, kinds
from mpiflow.report.drawing import to_dot, to_json, to_mermaid, to_svg
from mpiflow.report.summary import count
from mpiflow.storage.pack import PackError
from mpiflow.workflow.reading import Workflow

HELP = "draw the DAG of a workflow: SVG, DOT or Mermaid"
EPILOG = """\
examples:
  mpiflow graph workflow.yaml -o dag.svg          a picture, for a browser
  mpiflow graph workflow.yaml -o dag.dot          for Graphviz
  mpiflow graph workflow.yaml --format mermaid    text for a README or a notebook

Instances of a loop are one box with their number. If there are very many
steps, those of a layer that do the same are one box as well; --all draws each.
"""
_FORMATS = {"svg": to_svg, "dot": to_dot, "mermaid": to_mermaid, "json": to_json}
_SUFFIXES = {".svg": "svg", ".dot": "dot", ".gv": "dot", ".mmd": "mermaid", ".json": "json"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this verb."""
    add_workflow(parser)
    parser.add_argument("-o", dest="output", type=Path, metavar="FILE", help="where it goes (default: printed)")
    parser.add_argument("--format", choices=list(_FORMATS), help="what it becomes (default: as FILE ends, or mermaid)")
    parser.add_argument("--all", action="store_true", help="draw every step, however many there are")
    add_json(parser)


def execute(chosen: argparse.Namespace) -> int:
    """Read the document, and draw it.

    Raises:
        DocumentError: With every problem of the document; modules and data are not looked at.
        LaunchError: There is no such format, or the file cannot be written.
    """
    workflow = _read(chosen.workflow, overrides(chosen))
    graph = boxes(workflow, chosen.all)
    found = kinds(graph)
    deliver(_FORMATS[_format(chosen)](graph), chosen.output,
            f"{count(found['dataset'], 'dataset')}, {count(found['step'], 'step')} in {count(len(graph), 'box', 'boxes')}")
    return 0


def _format(chosen: argparse.Namespace) -> str:
    if chosen.json or chosen.format or chosen.output is None:
        return "json" if chosen.json else chosen.format or "mermaid"
    suffix = chosen.output.suffix.lower()
    if suffix not in _SUFFIXES:
        raise LaunchError(f"-o {chosen.output}: cannot draw {suffix or 'a file without suffix'}"
                          f"{did_you_mean(suffix, _SUFFIXES) or ' (but .svg, .dot, .mmd); or choose a --format'}")
    return _SUFFIXES[suffix]


def _read(file: Path, given: dict[str, str]) -> Workflow:
    try:
        workflow, _ = drafted(file, str(file), given, Local())
    except OSError as error:
        raise DocumentError([Problem(str(file), 0, 0, f"cannot read the workflow: {error.strerror}{near_file(file)}")]) from None
    except PackError as error:
        raise DocumentError([Problem(str(file), 0, 0, str(error))]) from None
    workflow.finish()
    return workflow

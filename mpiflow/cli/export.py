"""``export``: give the record of a run in a format that other tools read."""

from __future__ import annotations

import argparse
import getpass
import json
from pathlib import Path
from typing import Any

from mpiflow.cli.arguments import add_store, nbytes
from mpiflow.cli.crating import make_crate
from mpiflow.cli.files import deliver, read_bytes
from mpiflow.cli.runs import chosen_run
from mpiflow.errors import LaunchError
from mpiflow.report.console import say
from mpiflow.report.prov import to_prov
from mpiflow.report.provenance import provenance
from mpiflow.report.rocrate import NO_LICENSE
from mpiflow.report.wfformat import to_wfformat
from mpiflow.storage.runs import RECORD, run_folder, runs

HELP = "give a run as RO-Crate, PROV-JSON or WfFormat"
EPILOG = """\
examples:
  mpiflow export rocrate record.json -o crate     a folder with workflow, code, results, record, and the provenance of all of them
  mpiflow export prov record.json -o prov.json    the provenance as PROV-JSON of the W3C
  mpiflow export wfformat record.json             WfFormat 1.5 of WfCommons

record.json is what 'run --record record.json' has written; 'last' is the last
run of the store, and the beginning of a run's name is that run.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this verb."""
    parser.add_argument("format", choices=["rocrate", "prov", "wfformat"], help="the format to write")
    parser.add_argument("record", metavar="RUN|RECORD", help="a run of the store, 'last', or what run --record has written")
    add_store(parser)
    parser.add_argument("-o", "--output", type=Path, metavar="FILE",
                        help="where it goes (default: printed); of rocrate, a folder that is made")
    crate = parser.add_argument_group("rocrate")
    crate.add_argument("--author", metavar="NAME", help="who ran it (default: the name of the user)")
    crate.add_argument("--affiliation", default="", metavar="NAME", help="organization that the author belongs to")
    crate.add_argument("--license", default=NO_LICENSE, metavar="URL", help="license of what is in the crate")
    crate.add_argument("--inputs", type=nbytes, default=1 << 20, metavar="SIZE",
                       help="copy input files of at most SIZE together (default: 1MiB); of others the place is told")
    crate.add_argument("--workflow", type=Path, metavar="FILE", help="where the workflow is now, if it has been moved")
    parser.add_argument("--json", action="store_true", help="print JSON; the formats are JSON in any case")


def execute(chosen: argparse.Namespace) -> int:
    """Read the record and write what is wanted.

    Raises:
        DocumentError: It is no record; or the workflow cannot be read any more.
        LaunchError: The output cannot be written, or is there already.
    """
    file = _record(chosen.record, chosen.store)
    data = read_bytes(file)
    if chosen.format == "rocrate":
        return _rocrate(chosen, data, file)
    instance, what = _instance(chosen.format, data, str(file))
    text = json.dumps(instance, indent=1, ensure_ascii=False) + "\n"
    deliver(text, chosen.output, what)
    return 0


def _instance(format: str, data: bytes, file: str) -> tuple[dict[str, Any], str]:
    if format == "prov":
        instance = to_prov(provenance(data, file))
        return instance, f"{len(instance['entity'])} entities, {len(instance['activity'])} activities"
    instance = to_wfformat(data, file)
    return instance, f"{len(instance['workflow']['specification']['tasks'])} tasks"


def _record(name: str, store: Path) -> Path:
    """The file that is meant: itself, or the record in the folder of a run."""
    if Path(name).exists() or not runs(store):
        return Path(name)
    return run_folder(store, chosen_run(store, None if name == "last" else name, over=True)) / RECORD


def _rocrate(chosen: argparse.Namespace, data: bytes, file: Path) -> int:
    if chosen.output is None:
        raise LaunchError("export rocrate writes a folder: say where with -o DIR")
    made = make_crate(provenance(data, str(file)), data, chosen.output, chosen.workflow,
                      chosen.author or getpass.getuser(), chosen.license, chosen.inputs, chosen.affiliation)
    said = {"crate": str(chosen.output), "entities": made.num_entities, "files": made.num_files, "left_out": made.left_out}
    say(json.dumps(said) if chosen.json else f"{chosen.output}: {made.num_files} files, {made.num_entities} entities")
    for file, why in {} if chosen.json else made.left_out.items():
        say(f"not in it: {file}, {why}")
    return 0

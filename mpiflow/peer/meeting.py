"""How ranks meet: each says what it sees, and all refuse together what does not fit."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Sequence

import numpy as np

import mpiflow
from mpiflow.catalog.entries import Complaint, Hello, SourceEntry
from mpiflow.errors import DocumentError, InternalError, LaunchError, Problem, ranges
from mpiflow.peer.epochs import Epochs, exchange
from mpiflow.peer.outcome import Request
from mpiflow.peer.reach import own_addresses
from mpiflow.peer.reading import Local
from mpiflow.planning.history import concerning
from mpiflow.planning.plan import Plan
from mpiflow.storage.history import read_history


def greet(local: Local, request: Request, rank: int) -> Hello:
    """Say what this rank sees. Local."""
    digest = ""
    if local.workflow:
        options = (local.workflow.digest, str(request.results), request.keep_going, request.replan, request.resume,
                   request.forced, request.grace, request.watch, request.unreachable, request.silence, request.keep,
                   request.share, request.embedded, request.again)
        digest = hashlib.blake2b(repr(options).encode(), digest_size=16).hexdigest()
    return Hello(rank, socket.gethostname(), mpiflow.__version__, digest, tuple(local.code),
                 tuple(map(_encodable, local.complaints)), local.sources,
                 concerning(read_history(request.store)[0], local.registry), _token(), local.absent,
                 own_addresses())


def _token() -> str:
    """Name a run that is like no other: by the time of day, and by chance."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.urandom(4).hex()}"


def _encodable(complaint: Complaint) -> Complaint:
    """File names may hold bytes that are no text, and then have no wire form."""
    file, message = (text.encode("utf-8", "backslashreplace").decode() for text in (complaint.file, complaint.message))
    return Complaint(file, complaint.line, complaint.column, message)


def agree(hellos: Sequence[Hello], request: Request, local: Local, sources: Sequence[SourceEntry]) -> None:
    """Raise the same error on every rank if any rank has one, or if they see different things."""
    complaints: dict[Complaint, list[int]] = {}
    for hello in hellos:
        for complaint in hello.complaints:
            complaints.setdefault(complaint, []).append(hello.rank)
    if complaints:
        problems = [Problem(c.file, c.line, c.column, c.message + _where(ranks, hellos)) for c, ranks in complaints.items()]
        alike = len({hello.workflow for hello in hellos}) == 1
        raise DocumentError(problems + (local.problems(complaints, sources) if alike else []))
    for what, seen in (("versions of mpiflow", [hello.version for hello in hellos]),
                       (f"contents of {request.file} (or other options)", [hello.workflow for hello in hellos]),
                       ("contents of the operation modules or programs", [" ".join(hello.code) for hello in hellos])):
        if len(set(seen)) > 1:
            groups = {value: [hello.rank for hello, own in zip(hellos, seen, strict=True) if own == value] for value in seen}
            listed = "; ".join(f"ranks {ranges(ranks, ',')} on {hellos[ranks[0]].host}" for ranks in groups.values())
            raise LaunchError(f"ranks see different {what}: {listed}. All ranks must see the same files")


def agree_on(plan: Plan, epochs: Epochs) -> None:
    """See that all ranks have the same plan, before any of them follows its own. **Collective**.

    Raises:
        LaunchError: They do not expect the same of an operation; on every rank.
        InternalError: Their plans differ in something else.
    """
    if len(set(exchange(epochs, plan.digest.encode()))) == 1:
        return
    tasks, estimates = plan.graph.tasks, plan.estimates
    parts = exchange(epochs, np.array([estimates.nbytes, estimates.seconds], "<f8").tobytes())
    if len({len(part) for part in parts}) == 1:
        expected = np.frombuffer(b"".join(parts), "<f8").reshape(len(parts), 2, len(tasks))
        for what, unit, found in (("size", "bytes", expected[:, 0]), ("run time", "s", expected[:, 1])):
            for number in np.flatnonzero((found != found[0]).any(axis=0))[:1]:      # others may only follow from it
                task, each = tasks[number], found[:, number]
                raise LaunchError(
                    f"step {task.step!r}: ranks expect another {what} of the same block, from {each.min():.15g} to "
                    f"{each.max():.15g} {unit}: what operation {task.operation!r} declares must follow from its arguments alone, "
                    "on each rank alike")
    raise InternalError("ranks have made different plans of the same tasks")


def _where(ranks: list[int], hellos: Sequence[Hello]) -> str:
    """Say which ranks have a problem, unless all have."""
    if len(ranks) == len(hellos):
        return ""
    hosts = sorted({hellos[rank].host for rank in ranks})
    return f" (on rank{'s' if len(ranks) > 1 else ''} {ranges(ranks, ',')}, {', '.join(hosts)})"

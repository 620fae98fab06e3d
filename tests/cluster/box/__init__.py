"""A cluster in a box: several hosts on one machine, with a network between them that can be slow, cut and counted.

    with Box(4, rate=200_000_000) as box:
        ended = box.run(2, [sys.executable, "-m", "mpiflow", box.shared / "workflow.yaml"])
        print(box.counters()["h3"].sent)

A host is a network namespace with a link to a common bridge, and a first process with hostname, processes, shared memory, /tmp
and scratch directory of its own. Hosts can read the file system of the machine, as nodes of a cluster can read the software
of the site; they can write to ``shared``, the one directory that they have in common, and to what is their own.
Needs root, iproute2 and util-linux; nothing of it is visible outside: no device, no mount, no route.
"""

from box.cluster import Box
from box.network import Counters
from box.processes import BoxError, Ended

__all__ = ["Box", "BoxError", "Counters", "Ended"]

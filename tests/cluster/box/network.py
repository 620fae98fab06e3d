"""The network of a box: a namespace for each host, and one for the switch, a bridge to which all links lead."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from box.processes import BoxError, system

# Nobody listens there, so whoever gets through is refused.
_KNOCK = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 9), 1).close()
except OSError as error:
    print(error)
"""
_REACHED = 20.0                     # seconds that a node may need to be reached again
HEAD = "head"                       # where launchers run; it holds no ranks
NET = "10.77.0"
_SWITCH = "switch"
_QUEUE = 0.02                       # seconds of bytes that wait at each end of a link before packets are dropped
_LEAST_QUEUE, _LEAST_BURST = 131_072, 16_000        # bytes: two of the largest packets that TCP hands down; a few frames
_SETTINGS = {"ipv4/tcp_congestion_control": "reno",     # every kernel has it, and its namespaces may choose it
             "ipv6/conf/all/disable_ipv6": "1"}         # or neighbours are looked for now and then, and counted


@dataclass(frozen=True, slots=True)
class Counters:
    """What the kernel counted on the link of a host: whole frames [bytes], and their number.

    Up to some 500 Mbit/s these are the frames on the wire. Above, the kernel hands on up to 64 kB as one frame.
    """

    sent: int
    received: int
    frames_sent: int
    frames_received: int

    def __sub__(self, before: Counters) -> Counters:
        return Counters(self.sent - before.sent, self.received - before.received,
                        self.frames_sent - before.frames_sent, self.frames_received - before.frames_received)


class Network:
    """Namespaces, links and counters. Names of hosts are h1, h2, ...; their addresses end in the same numbers.

    Args:
        name: Begins the names of all namespaces.
        hosts: The hosts besides the head.
    """

    def __init__(self, name: str, hosts: Sequence[str]) -> None:
        self._name = name
        self._nodes = (*hosts, HEAD)

    def namespace(self, node: str) -> Path:
        """The file that stands for the network namespace of a node."""
        return Path("/run/netns") / f"{self._name}-{node}"

    def address(self, node: str) -> str:
        """The address of a node."""
        return f"{NET}.{254 if node == HEAD else int(node[1:])}"

    def up(self) -> None:
        """Make the switch and a link to each node.

        Raises:
            BoxError: The system refused.
        """
        switch = self._add(_SWITCH)
        system("ip", "-n", switch, "link", "add", "br0", "type", "bridge", "stp_state", 0, "forward_delay", 0)
        system("ip", "-n", switch, "link", "set", "br0", "up")
        for node in self._nodes:
            own = self._add(node)
            system("ip", "link", "add", "eth0", "netns", own, "type", "veth", "peer", "name", node, "netns", switch)
            system("ip", "-n", switch, "link", "set", node, "master", "br0", "up")
            system("ip", "-n", own, "addr", "add", f"{self.address(node)}/24", "dev", "eth0")
            system("ip", "-n", own, "link", "set", "lo", "up")
            system("ip", "-n", own, "link", "set", "eth0", "up")

    def _add(self, node: str) -> str:
        own = self.namespace(node)
        system("ip", "netns", "add", own.name)
        for setting, value in _SETTINGS.items():
            system("nsenter", f"--net={own}", "sh", "-c", f"echo {value} > /proc/sys/net/{setting}")
        return own.name

    def down(self) -> None:
        """Remove everything; harmless if there is nothing."""
        for node in (*self._nodes, _SWITCH):
            if self.namespace(node).exists():
                system("ip", "netns", "del", self.namespace(node).name)

    def limit(self, rate: int) -> None:
        """Limit every link, in each direction, to ``rate`` [bits/s]; 0 for no limit."""
        for node in self._nodes:
            for namespace, device in ((node, "eth0"), (_SWITCH, node)):
                where = ("-n", self.namespace(namespace).name, "qdisc", "replace", "dev", device, "root")
                if rate:
                    burst, queue = max(rate // 8000, _LEAST_BURST), max(int(rate / 8 * _QUEUE), _LEAST_QUEUE)
                    system("tc", *where, "tbf", "rate", f"{rate}bit", "burst", burst, "limit", queue)
                else:
                    system("tc", *where, "pfifo", "limit", 10_000)

    def connect(self, node: str, connected: bool) -> None:
        """Plug in, or pull out, the cable of a node at the switch: the node's own processes and routes see no change."""
        system("ip", "-n", self.namespace(_SWITCH).name, "link", "set", node, "up" if connected else "down")

    def wait_for(self, node: str) -> None:
        """Wait until a node can reach the head again, which takes a second or so when its cable was out for long.

        Raises:
            BoxError: It cannot.
        """
        until = time.monotonic() + _REACHED
        while "refused" not in system("nsenter", f"--net={self.namespace(node)}", sys.executable, "-I", "-S", "-c", _KNOCK,
                                      self.address(HEAD)):
            if time.monotonic() > until:
                raise BoxError(f"{node} cannot be reached {_REACHED} s after its cable was plugged in")

    def counters(self) -> dict[str, Counters]:
        """Give what each node has sent and received so far, as the switch counts it."""
        found = json.loads(system("ip", "-n", self.namespace(_SWITCH).name, "-s", "-j", "link"))
        ports = {port["ifname"]: port["stats64"] for port in found}
        return {node: Counters(port["rx"]["bytes"], port["tx"]["bytes"], port["rx"]["packets"], port["tx"]["packets"])
                for node in self._nodes if (port := ports[node])}

    def processes(self, node: str) -> list[int]:
        """Give the processes in the network namespace of a node."""
        return [int(word) for word in system("ip", "netns", "pids", self.namespace(node).name).split()]


def forget(prefix: str) -> None:
    """Remove what boxes left behind whose process was killed: names of namespaces, in which nothing runs any more."""
    for line in system("ip", "netns", "list").splitlines():
        name = line.split()[0]
        owner = name.removeprefix(prefix).split("-")[0]
        if name.startswith(prefix) and owner.isdigit() and not os.path.exists(f"/proc/{owner}"):
            try:
                system("ip", "netns", "del", name)
            except BoxError:
                if Path("/run/netns", name).exists():       # else another process was faster
                    raise

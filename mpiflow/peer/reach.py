"""Whether other nodes still answer, by what the kernel knows of the TCP connections of this process.

A kernel acknowledges what arrives whatever its processes do: it does for one that is stopped, that computes for hours, or that
keeps the interpreter to itself. So if nothing is acknowledged for long, no rank is busy: its node is down or cut off. Where
messages do not go over TCP there is nothing to be seen here, and MPI's own calls must fail.

Source: tcp(7); struct tcp_info of linux/tcp.h; netdevice(7).
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

_INFO = struct.Struct("=2x2B20xI28xI")      # retransmissions, probes, packets in flight, time since an acknowledgement [ms]
_ADDRESSES = {socket.AF_INET: slice(4, 8), socket.AF_INET6: slice(8, 24)}       # within a struct sockaddr
_ADDRESS_OF = 0x8915    # SIOCGIFADDR
_SLACK = 0.5            # seconds by which two looks may differ in when something was acknowledged last


class Connection(NamedTuple):
    """A TCP connection of this process.

    Attributes:
        name: Tells it from others.
        address: The other end.
        waits: Whether something was sent there, and once more, and is not acknowledged.
        silence: How long ago anything was acknowledged last [s].
    """

    name: str
    address: str
    waits: bool
    silence: float


def tcp_connections() -> Iterator[Connection]:
    """Ask the kernel for those of this process, MPI's among them; none where there is no /proc."""
    libc = ctypes.CDLL(None)
    for number in _descriptors():
        with contextlib.suppress(OSError):          # it has just been closed
            name = os.readlink(f"/proc/self/fd/{number}")
            info, peer = ctypes.create_string_buffer(256), ctypes.create_string_buffer(128)
            if (name.startswith("socket:") and _fill(libc.getpeername, number, peer)
                    and _fill(libc.getsockopt, number, socket.IPPROTO_TCP, socket.TCP_INFO, info)):
                again, probes, num_open, silence = _INFO.unpack_from(info.raw)
                yield Connection(name, _address(peer.raw), bool(again and num_open) or probes > 1, silence / 1000)


def _descriptors() -> list[str]:
    with contextlib.suppress(OSError):
        return sorted(os.listdir("/proc/self/fd"))
    return []


def _fill(call: Callable[..., int], number: str, *arguments: object) -> bool:
    """Let a C function write to the buffer that is its last argument but one; whether it did."""
    return call(int(number), *arguments, ctypes.byref(ctypes.c_uint(len(arguments[-1])))) == 0


def _address(peer: bytes) -> str:
    family, = struct.unpack_from("=H", peer)
    text = socket.inet_ntop(family, peer[_ADDRESSES[family]])
    return text.removeprefix("::ffff:")


def own_addresses() -> tuple[str, ...]:
    """Give the addresses of this node, without those by which it knows itself only."""
    found = set()
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, device in socket.if_nameindex():
            with contextlib.suppress(OSError):      # it has none
                answer = fcntl.ioctl(any_socket, _ADDRESS_OF, struct.pack("256s", device.encode()[:15]))
                found.add(socket.inet_ntop(socket.AF_INET, answer[20:24]))
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/if_inet6").read_text().splitlines():
            found.add(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(line.split()[0])))
    return tuple(sorted(address for address in found if not address.startswith("127.") and address != "::1"))


class Reach:
    """Remembers which connections are stuck. Local."""

    def __init__(self, connections: Callable[[], Iterable[Connection]] = tcp_connections) -> None:
        """Know nothing yet."""
        self._connections = connections
        self._stuck: dict[str, tuple[str, float]] = {}      # address, and since when; by name

    def look(self, now: float) -> None:
        """See what is stuck at the time ``now`` [s]."""
        before, self._stuck = self._stuck, {}
        for name, address, waits, silence in self._connections():
            if waits:
                _, since = before.get(name, (address, now))
                self._stuck[name] = address, since if now - silence < since + _SLACK else now

    def lost(self, now: float, least: float) -> list[str]:
        """Give the addresses from which nothing was acknowledged for ``least`` [s] or more while somebody looked."""
        return sorted({address for address, since in self._stuck.values() if now - since >= least})

    def forget(self) -> None:
        """Begin anew."""
        self._stuck.clear()

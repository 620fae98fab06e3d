"""A shared directory over the network, as good as one can be: ``file_server.py ADDRESS SCRATCH`` serves; ``Files`` is the client.

One thread a client, all files in memory, no metadata, no locks, one round trip a file. To read a file that is not there yet is
to wait for it, so nobody needs to look again and again. A request is a kind, the length of a name, and the name. R reads, C asks
for the server's own counters; the answer is a size and that many bytes. W writes: a size and that many bytes follow, and the
answer is one byte.
"""

from __future__ import annotations

import socket
import struct
import sys
import threading
from pathlib import Path

import numpy as np
from link import counters

PORT = 2049
_HEAD, _SIZE = struct.Struct("<cB"), struct.Struct("<Q")


def _receive(connection: socket.socket, nbytes: int) -> bytearray:
    """Receive exactly so many bytes; EOFError if the other has gone."""
    data = bytearray(nbytes)
    view, got = memoryview(data), 0
    while got < nbytes:
        more = connection.recv_into(view[got:])
        if not more:
            raise EOFError
        got += more
    return data


class Files:
    """The shared directory as a client sees it.

    Args:
        address: Of the server.
    """

    def __init__(self, address: str) -> None:
        self._connection = socket.create_connection((address, PORT))
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _ask(self, kind: bytes, name: str) -> None:
        self._connection.sendall(_HEAD.pack(kind, len(name)) + name.encode())

    def _answer(self) -> bytearray:
        size, = _SIZE.unpack(_receive(self._connection, _SIZE.size))
        return _receive(self._connection, size)

    def read(self, name: str, dtype: str) -> np.ndarray:
        """Give a file as an array, as soon as there is one."""
        self._ask(b"R", name)
        return np.frombuffer(self._answer(), dtype)

    def write(self, name: str, array: np.ndarray) -> None:
        """Write a file."""
        self._ask(b"W", name)
        self._connection.sendall(_SIZE.pack(array.nbytes))
        self._connection.sendall(memoryview(array).cast("B"))
        _receive(self._connection, 1)

    def counters(self) -> np.ndarray:
        """Give what the server's link has carried so far, as ``link.counters`` does."""
        self._ask(b"C", "")
        return np.frombuffer(self._answer(), np.int64)


class Server:
    """The files and those who wait for them.

    Args:
        scratch: Where the files are that are there from the start (.npy).
    """

    def __init__(self, scratch: Path) -> None:
        self._files = {file.stem: memoryview(np.load(file)).cast("B") for file in scratch.glob("*.npy")}
        self._changed = threading.Condition()

    def _read(self, name: str) -> memoryview:
        with self._changed:
            self._changed.wait_for(lambda: name in self._files)
            return self._files[name]

    def _write(self, name: str, data: bytearray) -> None:
        with self._changed:
            self._files[name] = memoryview(data)
            self._changed.notify_all()

    def serve(self, connection: socket.socket) -> None:
        """Answer one client until it goes."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                kind, length = _HEAD.unpack(_receive(connection, _HEAD.size))
                name = _receive(connection, length).decode()
                if kind == b"W":
                    size, = _SIZE.unpack(_receive(connection, _SIZE.size))
                    self._write(name, _receive(connection, size))
                    connection.sendall(b"k")
                else:
                    data = self._read(name) if kind == b"R" else memoryview(counters()).cast("B")
                    connection.sendall(_SIZE.pack(data.nbytes))
                    connection.sendall(data)
            except (EOFError, ConnectionError):
                return


def main() -> None:
    """Serve until killed; say when clients may come."""
    address, server = sys.argv[1], Server(Path(sys.argv[2]))
    with socket.create_server((address, PORT), backlog=64) as listening:
        print("ready", flush=True)
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=server.serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()

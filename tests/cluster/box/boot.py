"""The first process of a host: makes it look like one, then waits for its end. ``boot.py HOST STATE KEPT...``

Started as root in new UTS, IPC, PID and mount namespaces. STATE is the directory of the box; KEPT are directories below /tmp that
the host must go on seeing. Prints the number by which the rest of the machine knows this process when the host is up.
"""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path


def mount(*words):
    """Run mount(8); it must not keep a list of its own, on a file system that may be read-only."""
    subprocess.run(["mount", "-n", *map(str, words)], check=True)


def private_tmp(aside, kept):
    """Put an empty /tmp in place of the machine's, in which only the kept directories are to be seen."""
    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", aside)
    for folder in kept:
        if folder.is_relative_to("/tmp"):
            place = aside / folder.relative_to("/tmp")
            place.mkdir(parents=True, exist_ok=True)
            mount("--rbind", folder, place)
    mount("--move", aside, "/tmp")


def main():
    """Mount what is the host's own; reap what is left to the first process; never return."""
    host, state, kept = sys.argv[1], Path(sys.argv[2]), [Path(word) for word in sys.argv[2:]]
    number = os.readlink("/proc/self")              # before the host has a /proc of its own
    own = state / "hosts" / host
    socket.sethostname(host)
    mount("--bind", state / "names", "/etc/hosts")
    mount("--bind", own / "scratch", state / "scratch")
    mount("--bind", state / "shared", state / "shared")
    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/dev/shm")
    mount("-o", "remount,bind,ro", "/")             # the binds from before stay writable
    private_tmp(own / "tmp", kept)
    mount("-t", "sysfs", "sysfs", "/sys")           # MPI looks here for the network devices
    mount("-t", "proc", "proc", "/proc")
    os.chdir("/")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)   # the kernel reaps
    print(number, flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()

"""The hosts of a box: starting and killing them, running commands and MPI jobs on them."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from box.launchers import LAUNCHERS, write_agent
from box.network import HEAD, Counters, Network, forget
from box.processes import MORTAL, BoxError, Ended, kill_group, require, started

ROOT = Path(__file__).resolve().parents[3]
_PREFIX = "mpiflow-box-"
_NAMESPACES = ("--net", "--uts", "--ipc", "--mount", "--pid")
_serial = itertools.count()


class Box:
    """Hosts h1, h2, ... on one machine; a context manager.

    To be used in one thread: what it starts ends with the thread that started it.

    Args:
        num_hosts: How many; 1 to 64.
        rate: Limit of each link in each direction [bits/s]; 0 for none.

    Attributes:
        hosts: Names of the hosts.
        shared: The directory that all hosts can write to; here and on hosts under the same path.
        scratch: Where each host has a directory of its own, under the same path; ``outside`` says where it is seen from here.
    """

    def __init__(self, num_hosts: int, rate: int = 0) -> None:
        if not 1 <= num_hosts <= 64:
            raise ValueError(f"{num_hosts} hosts: must be 1 to 64")
        name = f"{_PREFIX}{os.getpid()}-{next(_serial)}"
        self.hosts = tuple(f"h{number}" for number in range(1, num_hosts + 1))
        self._rate = rate
        self._network = Network(name, self.hosts)
        self._state = Path(tempfile.gettempdir()).resolve() / name
        self.shared, self.scratch = self._state / "shared", self._state / "scratch"
        self._first: dict[str, tuple[subprocess.Popen, int]] = {}

    def __enter__(self) -> Box:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def up(self) -> None:
        """Start the network and all hosts; harmless if they are up.

        Raises:
            BoxError: This is not root, something is not installed, or the system refused.
        """
        if self._first:
            return
        require()
        _forget_others()
        try:
            for name in ("shared", "scratch", "first", "cut",
                         *(f"hosts/{host}/{own}" for host in self.hosts for own in ("scratch", "tmp"))):
                (self._state / name).mkdir(parents=True)
            names = ["127.0.0.1 localhost", *(f"{self._network.address(node)} {node}" for node in (*self.hosts, HEAD))]
            (self._state / "names").write_text("\n".join(names) + "\n")
            self._network.up()
            self._network.limit(self._rate)
            for host in self.hosts:
                self.boot(host)
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """End everything and remove every trace; harmless if nothing is up."""
        for host in self.hosts:
            self.kill(host)
        self._network.down()
        shutil.rmtree(self._state, ignore_errors=True)

    def outside(self, host: str) -> Path:
        """Give the scratch directory of a host as it is seen from outside."""
        return self._state / "hosts" / host / "scratch"

    # Hosts

    @property
    def up_hosts(self) -> tuple[str, ...]:
        """The hosts that have not been killed."""
        return tuple(host for host in self.hosts if host in self._first)

    def boot(self, host: str) -> None:
        """Start a host that is down; /tmp is empty then, scratch is as it was.

        Raises:
            BoxError: It does not come up.
        """
        kept = [ROOT, sys.prefix, sys.base_prefix]
        words = [*MORTAL, "nsenter", f"--net={self._network.namespace(host)}", "unshare", "--uts", "--ipc", "--mount", "--pid",
                 "--fork", "--kill-child", "--propagation", "private", sys.executable, "-I", "-S",
                 Path(__file__).with_name("boot.py"), host, self._state, *kept]
        parent = subprocess.Popen(list(map(str, words)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, start_new_session=True)
        number = parent.stdout.readline().strip()
        if not number.isdigit():
            raise BoxError(f"host {host} does not come up: {parent.communicate()[1].strip()}")
        self._first[host] = parent, int(number)
        self._file("first", host).write_text(number)

    def kill(self, host: str) -> None:
        """Kill a host: all its processes at once, so that its kernel closes their connections. Harmless if it is down."""
        self._file("first", host).unlink(missing_ok=True)
        if host in self._first:
            parent, _ = self._first.pop(host)
            parent.kill()                   # and the kernel takes the first process along, and with it all others
            parent.communicate()            # the pipes close when the last of them has gone

    def cut(self, host: str) -> None:
        """Pull out the cable of a host: its processes go on, nothing goes in or out."""
        self._file("cut", host).touch()
        self._network.connect(host, False)

    def heal(self, host: str) -> None:
        """Plug the cable in again, and wait until the host can be reached; harmless if it is plugged in.

        Raises:
            BoxError: It cannot be reached.
        """
        if self._file("cut", host).exists():
            self._network.connect(host, True)
            self._network.wait_for(host)
            self._file("cut", host).unlink()

    def limit(self, rate: int) -> None:
        """Limit all links anew [bits/s]; 0 for no limit."""
        self._network.limit(rate)

    def counters(self) -> dict[str, Counters]:
        """Give what each host has sent and received since it came up."""
        return {host: counted for host, counted in self._network.counters().items() if host != HEAD}

    def processes(self, host: str) -> list[int]:
        """Give what runs on a host besides its first process, as numbers outside."""
        parent, first = self._first[host]
        return [number for number in self._network.processes(host) if number not in (parent.pid, first)]

    def address(self, host: str) -> str:
        """Give the address of a host."""
        return self._network.address(host)

    def _file(self, kind: str, host: str) -> Path:
        return self._state / kind / self._network.address(host)

    # Commands

    @contextlib.contextmanager
    def starting_on(self, host: str, command: Sequence[object]) -> Iterator[subprocess.Popen]:
        """Start a command on a host, in the shared directory; what is left of it at the end is killed.

        Raises:
            BoxError: The host is down.
        """
        if host not in self._first:
            raise BoxError(f"host {host} is down")
        inside = ["nsenter", "--target", self._first[host][1], *_NAMESPACES, f"--wd={self.shared}"]
        with started([*inside, *command], env={"TMPDIR": "/tmp"}) as process:
            yield process

    def execute(self, host: str, command: Sequence[object], timeout: float = 60) -> Ended:
        """Run a command on a host, in the shared directory, to its end.

        Raises:
            BoxError: The host is down.
            subprocess.TimeoutExpired: It took longer than ``timeout`` [s].
        """
        with self.starting_on(host, command) as process:
            out, err = process.communicate(timeout=timeout)
            return Ended(process.returncode, out, err)

    @contextlib.contextmanager
    def starting(self, num_per_host: int, command: Sequence[object], hosts: Sequence[str] | None = None,
                 launcher: str = "mpich", environment: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen]:
        """Start an MPI job on hosts and give its launcher; what is left of the launcher at the end is killed.

        Ranks are numbered host by host and start in the shared directory. Arguments as for ``run``.
        """
        places = [(self._network.address(host), num_per_host) for host in hosts or self.hosts]
        settings = {"TMPDIR": "/tmp", "PYTHONPATH": str(ROOT), **(environment or {})}
        launch = LAUNCHERS[launcher](Path(command[0]), write_agent(self._state), places, settings)
        head = ["nsenter", f"--net={self._network.namespace(HEAD)}", "unshare", "--mount", "--propagation", "private", "sh", "-c",
                'mount --bind "$0" /etc/hosts && exec "$@"', self._state / "names"]
        scratch = tempfile.mkdtemp(dir=self._state)             # launchers leave files there when they are killed
        with started([*head, *launch, *command], self.shared, {"TMPDIR": scratch}) as process:
            yield process

    def run(self, num_per_host: int, command: Sequence[object], hosts: Sequence[str] | None = None,
            launcher: str = "mpich", timeout: float = 120, environment: Mapping[str, str] | None = None) -> Ended:
        """Run an MPI job on hosts to its end; one that takes longer is ended from outside, on all hosts.

        Args:
            num_per_host: Ranks on each host.
            command: What each rank is; the first word is the path of a Python, beside which the launcher lies.
            hosts: Where; None for all.
            launcher: mpich or openmpi: what kind the launcher beside the Python is.
            timeout: Seconds after which the job is given up.
            environment: Variables for the ranks.

        Returns:
            How it ended; ``status`` is None if it was given up.
        """
        with self.starting(num_per_host, command, hosts, launcher, environment) as job:
            return self.finish(job, timeout)

    def finish(self, job: subprocess.Popen, timeout: float) -> Ended:
        """Wait for a job that ``starting`` has started; after ``timeout`` [s] end it from outside, on all hosts.

        Returns:
            How it ended; ``status`` is None if it was given up.
        """
        try:
            out, err = job.communicate(timeout=timeout)
            return Ended(job.returncode, out, err)
        except subprocess.TimeoutExpired:
            self.end_jobs()
            kill_group(job)
            return Ended(None, *job.communicate())

    def end_jobs(self) -> None:
        """Kill and start again every host that is up: no launcher can be trusted with hosts that it cannot reach."""
        for host in self.up_hosts:
            self.kill(host)
            self.boot(host)


def _forget_others() -> None:
    """Remove what is left of boxes whose process was killed; their hosts have died with it."""
    forget(_PREFIX)
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        owner = folder.name.removeprefix(_PREFIX).split("-")[0]
        if owner.isdigit() and not os.path.exists(f"/proc/{owner}"):
            shutil.rmtree(folder, ignore_errors=True)

"""A real SLURM with several nodes on this machine, which ends with the block that it was asked for in.

    with slurm(num_nodes=4) as cluster:
        job = cluster.submit("job.sh")
        assert cluster.ended(job).state == "COMPLETED"

    python tests/cluster/slurm.py 4          # a shell in which sinfo, sbatch, srun ... find such a cluster

One process holds all of it, as the first of a process namespace. It ends with whoever asked for the cluster, however that ends,
and takes every daemon, every job and the cluster's directory with it. Each node is a namespace below, with a hostname, a
/dev/shm, and a scratch directory (``cluster.scratch``) of its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("munge", "slurmctld", "slurmd", "slurm-client", "slurm-wlm-basic-plugins", "libpmix2")
PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "unshare")
PMIX = Path(f"/usr/lib/{os.uname().machine}-linux-gnu/pmix2/lib")
CPUS, MEMORY = 4, 4000                  # that each node claims; memory in MB
STARTED, REACTED = 60.0, 20.0           # how long the cluster may take to come up, a command to be answered [s]
FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE", "BOOT_FAIL")

# The first process of all: it ends when its input does, and the kernel ends whatever is below.
_HEAD = """\
set -e
hostname head
mount --bind {dir}/hosts /etc/hosts
mkdir {dir}/pmix && ln -s libpmix.so.2 {dir}/pmix/libpmix.so
mount -t overlay pmix -o lowerdir={dir}/pmix:{pmix} {pmix}      # Debian's slurmd opens libpmix.so, a link of the -dev package
munged --foreground --key-file={dir}/key --socket={dir}/munge --pid-file={dir}/munge.pid --log-file={dir}/log/munged \\
    --seed-file={dir}/seed &
until [ -S {dir}/munge ]; do sleep 0.02; done
slurmctld -D &
for node in {nodes}; do
    unshare --mount --uts --ipc --pid --fork --kill-child=KILL --mount-proc bash -e {dir}/node.sh $node &
done
read -r line || true
kill -KILL -1       # all but this one, in this namespace
wait
rm -rf {dir}
"""
# The first process of a node. It stays when slurmd ends, to collect what jobs leave.
_NODE = """\
hostname $1
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t tmpfs -o mode=1777 scratch {dir}/scratch
slurmd -D -N $1
"""
_CONF = """\
ClusterName=test
SlurmctldHost=head(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
# A requeued job waits as long as credentials last, 120 s unless said otherwise.
AuthInfo=socket={dir}/munge,cred_expire=5
StateSaveLocation={dir}/state
SlurmctldPidFile={dir}/slurmctld.pid
SlurmctldLogFile={dir}/log/slurmctld
SlurmdSpoolDir={dir}/spool/%n
SlurmdPidFile={dir}/%n.pid
SlurmdLogFile={dir}/log/%n
# PMIx makes a directory with the same name on every node.
TmpFS={dir}/tmp/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0,batch_sched_delay=0
SlurmdTimeout=30
MessageTimeout=30
KillWait=5
ReturnToService=2
# What no node could ever run is refused at once, as most sites do.
EnforcePartLimits=ALL
NodeName=node[1-{num}] NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES DefaultTime=10 MaxTime=INFINITE DefMemPerCPU={per_cpu} State=UP
"""


class SlurmMissing(RuntimeError):
    """There is no SLURM here, or it cannot be started; the message says what to do."""


@dataclass(frozen=True)
class Job:
    """A job that has ended."""

    number: int
    state: str
    status: int         # exit status of the job script
    restarts: int       # how often it was requeued


@dataclass(frozen=True)
class Cluster:
    """A running cluster."""

    directory: Path

    @property
    def scratch(self) -> Path:
        """A directory that is another one on each node."""
        return self.directory / "scratch"

    @property
    def environment(self) -> dict[str, str]:
        """What commands and jobs need to find the cluster."""
        ours = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "SBATCH"))}
        return {**ours, "SLURM_CONF": str(self.directory / "slurm.conf"), "TMPDIR": str(self.scratch)}

    def command(self, *words: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
        """Run one of SLURM's commands and give what it prints.

        Raises:
            subprocess.CalledProcessError: It ends with another status than 0.
        """
        done = subprocess.run(list(map(str, words)), cwd=cwd, env={**self.environment, **(env or {})}, text=True,
                              capture_output=True, timeout=REACTED)
        if done.returncode:
            raise subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr)
        return done.stdout.strip()

    def submit(self, *words: object, **options) -> int:
        """``sbatch words``; give the job's number."""
        return int(self.command("sbatch", "--parsable", *words, **options).partition(";")[0])

    def fields(self, job: int) -> dict[str, str]:
        """Give what ``scontrol`` knows of a job."""
        return dict(re.findall(r"(\S+?)=(\S*)", self.command("scontrol", "show", "job", "--oneliner", job)))

    def ended(self, job: int, seconds: float = 60.0) -> Job:
        """Wait for the end of a job."""
        def final() -> Job | None:
            now = self.fields(job)
            status = int(now["ExitCode"].partition(":")[0])
            return Job(job, now["JobState"], status, int(now["Restarts"])) if now["JobState"] in FINAL else None
        return until(final, f"job {job} to end", seconds)


def until(fact, what: str, seconds: float):
    """Ask until the answer is true, and give it.

    Raises:
        TimeoutError: It still was not after this time.
    """
    end = time.monotonic() + seconds
    while not (answer := fact()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(0.1)
    return answer


@contextlib.contextmanager
def slurm(num_nodes: int = 4) -> Iterator[Cluster]:
    """Bring a cluster up, and take it down with the block.

    Raises:
        SlurmMissing: Packages or permissions are missing, or it does not come up.
    """
    check_parts()
    directory = Path(tempfile.mkdtemp(prefix="slurm.", dir="/tmp"))       # socket paths have a limit of 107 characters
    nodes = [f"node{number}" for number in range(1, num_nodes + 1)]
    _write(directory, nodes)
    cluster = Cluster(directory)
    with open(directory / "log" / "head", "wb") as log:
        head = subprocess.Popen(["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child=KILL", "--mount-proc",
                                 "bash", str(directory / "head.sh")], stdin=subprocess.PIPE, stdout=log, stderr=log,
                                env=cluster.environment, start_new_session=True)
    try:
        _wait_for_nodes(cluster, head, num_nodes)
        yield cluster
    finally:
        head.stdin.close()
        head.wait(REACTED)
        shutil.rmtree(directory, ignore_errors=True)        # what is left if it did not come up


def check_parts() -> None:
    """See that everything is here that a cluster needs.

    Raises:
        SlurmMissing: Something is not.
    """
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [name for name in PROGRAMS if not shutil.which(name, path=path)]
    missing += [] if (PMIX / "libpmix.so.2").exists() else ["libpmix.so.2"]
    if missing:
        raise SlurmMissing(f"the tests of jobscripts need a SLURM; {', '.join(missing)} not found. Install it with\n"
                           f"    apt-get install --no-install-recommends {' '.join(PACKAGES)}")
    if os.geteuid() != 0:
        raise SlurmMissing("the tests of jobscripts start a SLURM with several nodes on this machine, which only root may")


def _write(directory: Path, nodes: Sequence[str]) -> None:
    """Write all that the daemons read."""
    directory.chmod(0o755)
    for name in ("log", "state", "scratch", "spool", *(f"{part}/{node}" for part in ("spool", "tmp") for node in nodes)):
        (directory / name).mkdir(parents=True)
    port = _free_ports(len(nodes) + 1)
    names = {"dir": directory, "pmix": PMIX, "nodes": " ".join(nodes), "num": len(nodes), "port": port, "first": port + 1,
             "last": port + len(nodes), "cpus": CPUS, "memory": MEMORY, "per_cpu": MEMORY // CPUS}
    hosts = [Path("/etc/hosts").read_text().rstrip("\n"), *(f"127.0.0.1 {name}" for name in ("head", *nodes))]
    files = {"head.sh": _HEAD.format_map(names), "node.sh": _NODE.format_map(names), "slurm.conf": _CONF.format_map(names),
             "hosts": "\n".join(hosts) + "\n",
             # No cgroups: naming the old plugin keeps slurmd from asking systemd for them.
             "cgroup.conf": "CgroupPlugin=cgroup/v1\n",
             # Open MPI 5 can crash in MPI_Init with the tree (open-mpi/ompi#12495).
             "mpi.conf": "PMIxCollFence=ring\n"}
    for name, text in files.items():
        (directory / name).write_text(text)
    (directory / "key").write_bytes(os.urandom(128))
    (directory / "key").chmod(0o400)


def _free_ports(num: int) -> int:
    """The first of some consecutive ports that nobody uses, below those that the kernel gives away."""
    for first in range(17000 + os.getpid() % 100 * 100, 32000, num):
        with contextlib.ExitStack() as opened, contextlib.suppress(OSError):
            for port in range(first, first + num):
                opened.enter_context(socket.socket()).bind(("", port))
            return first
    raise SlurmMissing(f"no {num} free ports in a row")


def _wait_for_nodes(cluster: Cluster, head: subprocess.Popen, num_nodes: int) -> None:
    """Wait until every node is idle."""
    def idle() -> bool:
        if head.poll() is not None:
            raise SlurmMissing(f"SLURM does not start:\n{_logs(cluster.directory)}")
        with contextlib.suppress(subprocess.CalledProcessError):
            return cluster.command("sinfo", "-h", "-N", "-o", "%T").split() == ["idle"] * num_nodes
        return False

    try:
        until(idle, f"{num_nodes} nodes", STARTED)
    except TimeoutError as error:
        raise SlurmMissing(f"{error}:\n{_logs(cluster.directory)}") from None


def _logs(directory: Path) -> str:
    """The last lines of each log."""
    return "\n".join(f"{file.name}: {line}" for file in sorted((directory / "log").iterdir())
                     for line in file.read_text(errors="replace").splitlines()[-8:])


if __name__ == "__main__":
    with slurm(int(sys.argv[1]) if len(sys.argv) > 1 else 4) as here:
        sys.exit(subprocess.run(sys.argv[2:] or [os.environ.get("SHELL", "bash")], env=here.environment).returncode)

"""How the launcher of each MPI is told to start ranks on the hosts, and what it uses instead of ssh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from box.network import NET

# Like ssh it starts from an environment that has next to nothing, and lets a shell put the words together. Like ssh it tells
# nothing of a host whose cable is out, not even that a command there has ended.
_AGENT = """\
#!/bin/sh
while case "$1" in -*) true ;; *) false ;; esac; do shift; done
address=$1; shift
first=$(cat '{state}'/first/"$address") || {{ echo "no host $address" >&2; exit 255; }}
env -i HOME=/root PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin TMPDIR=/tmp \\
    nsenter --target "$first" --net --uts --ipc --mount --pid sh -c "cd; $*"
status=$?
while [ -e '{state}'/cut/"$address" ]; do sleep 0.1; done
[ $status -gt 128 ] && status=255
exit $status
"""


def write_agent(state: Path) -> Path:
    """Write the program that launchers take for ssh, and give its place."""
    agent = state / "agent"
    agent.write_text(_AGENT.format(state=state))
    agent.chmod(0o755)
    return agent


def mpich(program: Path, agent: Path, places: Sequence[tuple[str, int]], environment: Mapping[str, str]) -> list[object]:
    """Give the command of Hydra up to the program; it hands on its own environment.

    Args:
        program: A program of the environment whose MPI is used.
        agent: What stands for ssh.
        places: Address and number of ranks of each host.
        environment: Variables for the ranks.
    """
    settings = [word for name, value in environment.items() for word in ("-genv", name, value)]
    hosts = ",".join(f"{address}:{num}" for address, num in places)
    return [program.with_name("mpiexec.hydra"), *settings, "-launcher", "ssh", "-launcher-exec", agent, "-iface", "eth0",
            "-hosts", hosts, "-n", sum(num for _, num in places)]


def openmpi(program: Path, agent: Path, places: Sequence[tuple[str, int]], environment: Mapping[str, str]) -> list[object]:
    """Give the command of Open MPI 5 up to the program; arguments as for ``mpich``."""
    settings = [word for name, value in environment.items() for word in ("-x", f"{name}={value}")]
    hosts = ",".join(f"{address}:{num}" for address, num in places)
    return [program.with_name("mpirun"), "--allow-run-as-root", *settings, "--prtemca", "plm_ssh_agent", agent,
            "--prtemca", "prte_if_include", f"{NET}.0/24", "--mca", "btl_tcp_if_include", f"{NET}.0/24", "--bind-to", "none",
            "--host", hosts, "-np", sum(num for _, num in places)]


LAUNCHERS = {"mpich": mpich, "openmpi": openmpi}

"""Names the Debian packages of the cluster's programs, and installs missing packages."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

from hack.localcluster.errors import ClusterError
from hack.localcluster.progress import say

PACKAGE_OF = {
    "etcd": "etcd-server",
    "openssl": "openssl",
    "setpriv": "util-linux",
    "mount": "mount",
    "nsenter": "util-linux",
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "bridge": "containernetworking-plugins",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "buildah": "buildah netavark",  # since Debian 13 it needs netavark, but only recommends it
    "debootstrap": "debootstrap debian-archive-keyring",  # Ubuntu has the keys in another package
    "prometheus": "prometheus",
}


def packages_of(programs: Sequence[str]) -> tuple[str, ...]:
    """The packages that contain `programs`, each once, sorted."""
    return tuple(sorted({package for program in programs for package in PACKAGE_OF[program].split()}))


def command_for(packages: Sequence[str]) -> str:
    """The command with which a person installs `packages`."""
    sudo = "" if os.geteuid() == 0 else "sudo "
    return f"{sudo}apt-get update && {sudo}apt-get install -y --no-install-recommends {' '.join(packages)}"


def install_programs(programs: Sequence[str]) -> None:
    """Install the packages of `programs` with apt, as root on Debian.

    Raises ClusterError: elsewhere with the command for a person, and with apt's message where apt fails.
    """
    packages = packages_of(programs)
    remedy = command_for(packages)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ClusterError(f"missing programs: {', '.join(programs)}", remedy)
    say(f"installing Debian packages: {' '.join(packages)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # The update comes first: with an old index, apt does not find packages.
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
    ):
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"apt-get could not install {' '.join(packages)}: {done.stderr.strip()[-500:]}", remedy)

"""Debian packages that the cluster's programs come from, and how a missing one is installed."""

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
    "buildah": "buildah netavark",  # from Debian 13 on it starts only where netavark is, and merely recommends it
    "debootstrap": "debootstrap debian-archive-keyring",  # Ubuntu has the keys apart; without them nothing is verified
    "prometheus": "prometheus",
}


def packages_of(programs: Sequence[str]) -> tuple[str, ...]:
    """The packages that bring `programs`, each once, sorted."""
    return tuple(sorted({package for program in programs for package in PACKAGE_OF[program].split()}))


def command_for(packages: Sequence[str]) -> str:
    """What a person types to get `packages`."""
    sudo = "" if os.geteuid() == 0 else "sudo "
    return f"{sudo}apt-get update && {sudo}apt-get install -y --no-install-recommends {' '.join(packages)}"


def install_programs(programs: Sequence[str]) -> None:
    """Install what brings `programs`: by apt where this is root on Debian. Raises ClusterError naming the command
    otherwise, or with apt's words when it fails."""
    packages = packages_of(programs)
    remedy = command_for(packages)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ClusterError(f"missing programs: {', '.join(programs)}", remedy)
    say(f"installing Debian packages: {' '.join(packages)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # Only what names a package that does not exist fails for good; a stale index is mended by the update before it.
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
    ):
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"apt-get could not install {' '.join(packages)}: {done.stderr.strip()[-500:]}", remedy)

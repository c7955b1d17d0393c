"""Records everything that a cluster could leave on the machine. Two records are equal when nothing was left."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from hack.localcluster import cgroups, network
from hack.localcluster.node_init import KUBELET_SYSCTLS
from hack.localcluster.processes import marked_processes
from hack.localcluster.settings import state_root

OURS = ("andt", "andante-cluster:", "/andante-")


@dataclass(frozen=True, slots=True)
class Machine:
    """Everything that a cluster could leave on a machine, without the things of other running clusters."""

    mounts: frozenset[str]
    links: frozenset[str]
    routes: frozenset[str]
    rules: frozenset[str]
    cgroups: frozenset[str]
    processes: frozenset[int]
    folders: frozenset[str]
    kernel_settings: tuple[str, ...]

    def difference(self, later: Machine) -> str:
        """What `later` has or lacks, as text for a failing test; empty where nothing changed."""
        lines = []
        for field in dataclasses.fields(self):
            mine, theirs = getattr(self, field.name), getattr(later, field.name)
            if mine != theirs:
                if isinstance(mine, tuple):
                    lines.append(f"{field.name}: {mine} became {theirs}")
                else:
                    lines.append(f"{field.name}: more {sorted(theirs - mine)}, less {sorted(mine - theirs)}")
        return "; ".join(lines)


def picture(name: str) -> Machine:
    """The present state of everything that cluster `name` could have changed."""
    mine = (network.link_name(name), f"andante-cluster:{name}", f"/andante-{name}")

    def relevant(line: str) -> bool:
        return any(mark in line for mark in mine) or not any(mark in line for mark in OURS)

    def lines(*command: str) -> frozenset[str]:
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return frozenset(line for line in text.splitlines() if line.startswith("-A") and relevant(line))

    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
    # os.walk ignores folders that other clusters remove meanwhile.
    groups = [folder for folder, _, _ in os.walk("/sys/fs/cgroup") if "andante" in Path(folder).name]
    places = ("/run", "/var/run/netns", "/var/log", "/var/lib", "/etc", "/opt", "/usr/libexec", str(state_root()))
    folders = [str(path) for place in places if Path(place).is_dir() for path in Path(place).iterdir()]
    settings = ("net/ipv4/ip_forward", *KUBELET_SYSCTLS)
    return Machine(
        mounts=frozenset(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        links=frozenset(path.name for path in Path("/sys/class/net").iterdir() if relevant(path.name)),
        routes=frozenset(line for line in routes.splitlines() if relevant(line)),
        rules=lines("iptables-save"),
        cgroups=frozenset(path for path in groups if relevant(path)),
        processes=frozenset(marked_processes(state_root() / name) | cgroups.processes(name)),
        folders=frozenset(path for path in folders if not path.startswith(f"{state_root()}/") or path.endswith(name)),
        kernel_settings=tuple((Path("/proc/sys") / setting).read_text() for setting in settings),
    )

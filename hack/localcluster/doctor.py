"""Says what this machine can do, what is missing, and which command fixes it. Changes nothing."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hack.localcluster import backends, cgroups, debian, docker, needs
from hack.localcluster.binaries import CONTROL_PLANE, HELM, KUBERNETES, NODE, missing
from hack.localcluster.errors import ClusterError
from hack.localcluster.settings import cluster_name, state_root

_CAPABILITIES = {"CAP_SYS_ADMIN": 21, "CAP_NET_ADMIN": 12, "CAP_MKNOD": 27, "CAP_SYS_CHROOT": 18}
_CONTROLLERS = ("cpu", "cpuset", "memory", "pids")


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. `remedy` is empty where all is well; `fatal`: a native node cannot run without it."""

    subject: str
    verdict: str
    remedy: str = ""
    fatal: bool = False


def examine(name: str | None = None) -> tuple[Finding, ...]:
    """Check everything that a cluster on this machine needs."""
    return (*_backends(name), *_machine(), *_programs(), *_leftovers())


def node_findings() -> tuple[Finding, ...]:
    """Check quickly whether the kernel and this process's privileges allow a native node."""
    return (_capabilities(), _controllers()) if platform.system() == "Linux" else ()


def report(findings: Sequence[Finding]) -> str:
    """A table of the findings. The remedies come last, one a line, so that they can be copied to a shell."""
    width = max(len(f.subject) for f in findings)
    rows = [
        f"{'ok  ' if not f.remedy else 'MISS' if f.fatal else 'note'} {f.subject:{width}}  {f.verdict}"
        for f in findings
    ]
    remedies = list(dict.fromkeys(f.remedy for f in findings if f.remedy))
    if not remedies:
        return "\n".join([*rows, "", "nothing is missing: make cluster-up"])
    return "\n".join([*rows, "", "to fix it:", *(f"  {remedy}" for remedy in remedies)])


def _backends(name: str | None) -> list[Finding]:
    chosen = cluster_name(name)
    given = os.environ.get("ANDANTE_KUBECONFIG")
    candidates = (
        backends.GivenKubeconfig(chosen, Path(given) if given else None),
        backends.Native(chosen),
        backends.Kind(chosen),
    )
    findings = []
    for candidate in candidates:
        reason = candidate.blocked()
        asked = " with --backend kind" if candidate.kind == "kind" else ""
        findings.append(Finding(f"way: {candidate.kind}", f"can be used{asked}" if reason is None else f"no: {reason}"))
    if all(candidate.blocked() for candidate in candidates if candidate.kind in backends.AUTOMATIC):
        remedy = "; or ".join(backends.alternatives())
        fatal = all(candidate.blocked() for candidate in candidates)
        findings.append(Finding("way", "none can be used without --backend", remedy, fatal=fatal))
    return findings


def _machine() -> list[Finding]:
    findings = [Finding("python", platform.python_version()), _memory(), _disk()]
    if platform.system() == "Linux":
        findings += [_capabilities(), _controllers(), _overlay()]
    return findings


def _memory() -> Finding:
    gib = needs.memory_gib()
    few = gib < needs.MEMORY_GIB
    remedy = f"use a machine with {needs.MEMORY_GIB:.0f} GiB or more, or your own cluster: --kubeconfig" if few else ""
    return Finding("memory", f"{gib:.1f} GiB", remedy)


def _disk() -> Finding:
    wanted = needs.of_native_node()
    short = needs.shortages(wanted)
    remedy = "free space there, or set ANDANTE_CACHE to a folder on a larger disk" if short else ""
    verdict = f"enough for the {sum(need.gib for need in wanted):.0f} GiB that a native node and its engines still need"
    return Finding("disk", "; ".join(map(str, short)) or verdict, remedy)


def _capabilities() -> Finding:
    text = Path("/proc/self/status").read_text()
    held = int(next(line.split()[1] for line in text.splitlines() if line.startswith("CapEff")), 16)
    lacking = [name for name, bit in _CAPABILITIES.items() if not held >> bit & 1]
    if not lacking:
        return Finding("privileges", "enough for a native node")
    remedy = "sudo make cluster-up" if os.geteuid() else "run the container with --privileged, or use --kubeconfig"
    return Finding("privileges", f"lacking {', '.join(lacking)}", remedy, fatal=True)


def _controllers() -> Finding:
    root = Path("/sys/fs/cgroup")
    if cgroups.is_version_2():
        available = (root / "cgroup.controllers").read_text().split()
        version = 2
    else:
        available = [name for name in _CONTROLLERS if (root / name).exists()]
        version = 1
    lacking = [name for name in _CONTROLLERS if name not in available]
    if lacking:
        remedy = f"boot with cgroup controllers {', '.join(lacking)} on, or use --kubeconfig"
        return Finding("cgroups", f"version {version}, without {', '.join(lacking)}", remedy, fatal=True)
    kept = cgroups.not_delegated(_CONTROLLERS)
    if kept:
        remedy = "run it outside of the container, or use --kubeconfig"
        return Finding("cgroups", f"this container does not pass on {', '.join(kept)}", remedy, fatal=True)
    return Finding("cgroups", f"version {version}")


def _overlay() -> Finding:
    known = "overlay" in Path("/proc/filesystems").read_text()
    return (
        Finding("overlay", "known to the kernel", "") if known else Finding("overlay", "not loaded", "modprobe overlay")
    )


def _programs() -> list[Finding]:
    if platform.system() != "Linux":
        return []
    findings = []
    system = [name for name in (*CONTROL_PLANE, *NODE) if name not in KUBERNETES]
    absent = missing(system)
    if absent:
        command = debian.command_for(debian.packages_of(absent))
        note = " (make cluster-up installs them)" if os.geteuid() == 0 else ""
        findings.append(Finding("programs", f"missing: {', '.join(absent)}{note}", command, fatal=True))
    else:
        findings.append(Finding("programs", f"all {len(system)} are there"))
    absent = missing(("buildah", "debootstrap"))
    if absent and docker.why_not():
        command = debian.command_for(debian.packages_of(absent))
        verdict = f"need Docker or {' and '.join(absent)} (build-image installs them as root)"
        findings.append(Finding("image builds", verdict, command))
    absent = missing((*KUBERNETES, *HELM))
    if absent:
        verdict = f"not in the cache yet: {', '.join(absent)} (built from the Go module proxy: about 15 minutes)"
        findings.append(Finding("kubernetes", verdict, "make cluster-binaries helm"))
    else:
        findings.append(Finding("kubernetes", "all programs and helm are in the cache"))
    return findings


def _leftovers() -> list[Finding]:
    """Recorded clusters that do not answer, as after a crash or a reboot."""
    findings = []
    for folder in sorted(state_root().glob("*/")):
        made = backends.recorded(folder.name)
        try:
            alive = made is not None and made.running()
        except ClusterError:
            alive = False
        if alive and made is not None:
            findings.append(Finding(f"cluster {folder.name}", f"up ({made.kind})"))
        else:
            remedy = f"python3 -m hack.localcluster down --name {folder.name}"
            findings.append(Finding(f"cluster {folder.name}", "was not taken down, and does not answer", remedy))
    return findings

"""Is process 1 of the native node: `python3 -m hack.localcluster.node_init NODE.json` inside the node's namespaces.

The node has its own pid, mount, network, host name and IPC namespaces. So the kernel cleans up: when this process ends,
by any signal, every process of the node ends, and then its mounts, pod networks and iptables rules. containerd and
kubelet also write outside the state folder: there this mount namespace has file systems in memory. The kubelet requires
some kernel settings: it reads them from files that are mounted over the real ones, and the machine's settings stay.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from hack.localcluster import node_config
from hack.localcluster.node_config import NodeSpec
from hack.localcluster.statefiles import PUBLIC, write_whole

SHADOWED = ("/run", "/var/log", "/var/lib/cni")
"""Folders on which the node has a file system in memory."""

# The kubelet would set these for the whole machine (a panic would reboot it). A file with the wanted value is mounted
# over each of them: the kubelet then changes nothing, and the machine keeps its own values.
KUBELET_SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}

_RESTART_SECONDS = 1.0
_CONTAINERD_SECONDS = 60.0


def main(arguments: Sequence[str]) -> None:
    """Set the namespaces up, then run containerd, kubelet and kube-proxy until killed."""
    spec = NodeSpec.from_json(Path(arguments[0]).read_text())
    _wait_for_link(spec)
    resolver = _resolver()
    _shadow_folders()
    _show_kubelet_sysctls(spec)
    _write_configs(spec, resolver)
    socket.sethostname(spec.name)
    _supervise(
        {
            "containerd": node_config.containerd_command(spec),
            "kubelet": node_config.kubelet_command(spec),
            "kube-proxy": node_config.kube_proxy_command(spec),
        },
        logs=spec.state / "logs",
        containerd_socket=spec.containerd_socket,
    )


def _wait_for_link(spec: NodeSpec) -> None:
    """Wait for the host: it sets up the link when it knows this process, and then starts the API server."""
    go = spec.folder / "go"
    while not go.exists():
        time.sleep(0.05)


def _resolver() -> str:
    """Name servers for pods; systemd-resolved's stub listens on the host's loopback, which a pod cannot reach."""
    for candidate in ("/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"):
        with contextlib.suppress(OSError):
            return Path(candidate).read_text()
    return ""


def _shadow_folders() -> None:
    _mount("--make-rshared", "/")  # only among the node's own mounts: the namespace is private
    for folder in SHADOWED:
        Path(folder).mkdir(parents=True, exist_ok=True)
        _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", folder)


def _show_kubelet_sysctls(spec: NodeSpec) -> None:
    shown = spec.folder / "sysctls"
    shown.mkdir(parents=True, exist_ok=True)
    for name, value in KUBELET_SYSCTLS.items():
        target = Path("/proc/sys") / name
        if target.exists():
            source = shown / name.replace("/", ".")
            write_whole(source, f"{value}\n", mode=PUBLIC)
            _mount("--bind", str(source), str(target))


def _write_configs(spec: NodeSpec, resolver: str) -> None:
    spec.config("cni").mkdir(parents=True, exist_ok=True)
    write_whole(spec.resolv_conf, resolver, mode=PUBLIC)
    snapshotter = "overlayfs" if _overlay_works(spec.folder) else "native"
    write_whole(spec.config("containerd.toml"), node_config.containerd_config(spec, snapshotter=snapshotter))
    for path, document in (
        (spec.config("cni") / "10-andante.conflist", node_config.cni_config(spec)),
        (spec.config("kubelet.json"), node_config.kubelet_config(spec)),
        (spec.config("kube-proxy.json"), node_config.kube_proxy_config(spec)),
    ):
        write_whole(path, json.dumps(document, indent=2), mode=PUBLIC)


def _overlay_works(folder: Path) -> bool:
    """Whether overlay mounts work on the state folder's file system. Inside a container they often do not."""
    probe = folder / "overlay-probe"
    parts = {part: probe / part for part in ("lower", "upper", "work", "merged")}
    for part in parts.values():
        part.mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={parts['lower']},upperdir={parts['upper']},workdir={parts['work']}"
    command = ["mount", "-t", "overlay", "overlay", "-o", options, str(parts["merged"])]
    works = subprocess.run(command, capture_output=True, check=False).returncode == 0
    if works:
        subprocess.run(["umount", str(parts["merged"])], check=True)
    shutil.rmtree(probe)
    return works


def _supervise(commands: Mapping[str, Sequence[str]], *, logs: Path, containerd_socket: Path) -> None:
    """Keep every command running, and reap orphaned processes, whose parent is process 1."""
    containerd_socket.unlink(missing_ok=True)
    running: dict[int, str] = {}
    for name, command in commands.items():
        running[_spawn(command, logs / f"{name}.log")] = name
        if name == "containerd":
            _wait_for_socket(containerd_socket)
    while True:
        pid, status = os.wait()
        name = running.pop(pid, "")
        if name:
            print(f"{name} ended ({os.waitstatus_to_exitcode(status)}); starting it again", flush=True)
            time.sleep(_RESTART_SECONDS)
            running[_spawn(commands[name], logs / f"{name}.log")] = name


def _wait_for_socket(path: Path) -> None:
    deadline = time.monotonic() + _CONTAINERD_SECONDS
    while not path.exists():
        if time.monotonic() > deadline:
            sys.exit(
                f"containerd did not listen within {_CONTAINERD_SECONDS:.0f} s; see containerd.log beside this log"
            )
        time.sleep(0.05)


def _spawn(command: Sequence[str], log: Path) -> int:
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files = [(os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o600), (os.POSIX_SPAWN_DUP2, 1, 2)]
    return os.posix_spawn(command[0], list(command), dict(os.environ), file_actions=files, setsid=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])

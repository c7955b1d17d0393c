"""Chooses how to get a cluster: the kubeconfig that the user names, else the native node; kind only if requested.

A backend says why it cannot work on this machine (`blocked`), and starts and stops its cluster. `up` records the
chosen backend, so that every later command works on the same cluster.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hack.free_ports import free_ports
from hack.localcluster import docker, downloads, gobuild, images, proxies, record
from hack.localcluster.binaries import CONTROL_PLANE, NODE, ensure_binaries, find
from hack.localcluster.control_plane import ControlPlaneProcesses, ControlPlaneSpec
from hack.localcluster.errors import ClusterError
from hack.localcluster.native import NativeCluster
from hack.localcluster.progress import say
from hack.localcluster.settings import KIND_VERSION, cache, state_root
from hack.localcluster.statefiles import write_whole


class Backend(Protocol):
    """One way to get a cluster."""

    @property
    def kind(self) -> str:
        """Its name on the command line and in the record."""

    def blocked(self) -> str | None:
        """Why the backend cannot work on this machine; None where it can."""

    def up(self) -> None:
        """Start the cluster, or continue an interrupted start. Raises ClusterError."""

    def down(self) -> None:
        """Remove the cluster; do nothing where there is none. Raises ClusterError."""

    def running(self) -> bool:
        """Whether the cluster's API server answers now."""

    def load_image(self, archive: Path) -> tuple[str, ...]:
        """Make an image archive available to pods; returns the image names. Raises ClusterError."""


def api_answers(kubeconfig: Path) -> bool:
    kubectl = find("kubectl") or Path(shutil.which("kubectl") or "kubectl")
    command = [str(kubectl), f"--kubeconfig={kubeconfig}", "--request-timeout=5s", "get", "--raw", "/readyz"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=15)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


@dataclass(frozen=True, slots=True)
class GivenKubeconfig:
    """The user's own cluster. `up` creates nothing in it; it copies the kubeconfig's current context."""

    name: str
    source: Path | None
    kind: str = "kubeconfig"

    @property
    def state(self) -> Path:
        return state_root() / self.name

    def blocked(self) -> str | None:
        if self.source is None:
            return "no kubeconfig was named (--kubeconfig or $ANDANTE_KUBECONFIG)"
        return None if self.source.is_file() else f"{self.source} is not a file"

    def up(self) -> None:
        if self.source is None:
            raise ClusterError("no kubeconfig was named", "up --kubeconfig FILE")
        kubectl = ensure_binaries(("kubectl",)).path("kubectl")
        flags = ["config", "view", "--raw", "--minify", "--flatten", "-o", "json"]
        done = subprocess.run(
            [str(kubectl), f"--kubeconfig={self.source}", *flags], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise ClusterError(f"{self.source}: {done.stderr.strip()}", f"kubectl --kubeconfig {self.source} get nodes")
        self.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(self.state / "kubeconfig", done.stdout)
        if not self.running():
            remedy = f"kubectl --kubeconfig {self.source} get --raw /readyz"
            raise ClusterError(f"the cluster in {self.source} does not answer", remedy)

    def down(self) -> None:
        if self.state.exists():
            shutil.rmtree(self.state)

    def running(self) -> bool:
        return api_answers(self.state / "kubeconfig")

    def load_image(self, archive: Path) -> tuple[str, ...]:
        names = ", ".join(images.image_names(archive))
        remedy = 'make install-local ARGS="--kubeconfig FILE --registry HOST/PATH" pushes it to a registry'
        raise ClusterError(f"cannot load {names} into your own cluster: it pulls its images", remedy)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind cluster in Docker."""

    name: str
    kind: str = "kind"

    @property
    def state(self) -> Path:
        return state_root() / self.name

    @property
    def cluster(self) -> str:
        return f"andante-{self.name}"

    def blocked(self) -> str | None:
        return docker.why_not()

    def up(self) -> None:
        self.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        kubeconfig = str(self.state / "kubeconfig")
        if self.cluster in self._run("get", "clusters").split():
            self._run("export", "kubeconfig", "--name", self.cluster, "--kubeconfig", kubeconfig)
            return
        say(f"creating the kind cluster {self.cluster}")
        self._run("create", "cluster", "--name", self.cluster, "--kubeconfig", kubeconfig, "--wait", "180s")

    def down(self) -> None:
        if self.blocked() is None:
            self._run("delete", "cluster", "--name", self.cluster)
        if self.state.exists():
            shutil.rmtree(self.state)

    def has_containers(self) -> bool:
        """Whether Docker has containers of the cluster, running or stopped."""
        label = f"label=io.x-k8s.kind.cluster={self.cluster}"
        command = ["docker", "ps", "--all", "--quiet", "--filter", label]
        return bool(subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip())

    def running(self) -> bool:
        proxies.bypass_server_of(self.state / "kubeconfig")
        return api_answers(self.state / "kubeconfig")

    def load_image(self, archive: Path) -> tuple[str, ...]:
        names = images.image_names(archive)
        say(f"loading {', '.join(names)} into {self.cluster}")
        self._run("load", "image-archive", str(archive), "--name", self.cluster)
        return names

    def _run(self, *arguments: str) -> str:
        done = subprocess.run([str(_find_kind()), *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ClusterError(f"kind {' '.join(arguments)}: {done.stderr.strip()[-800:]}")
        return done.stdout


@dataclass(frozen=True, slots=True)
class Native:
    """The native node (native.py)."""

    name: str
    kind: str = "native"

    @property
    def cluster(self) -> NativeCluster:
        return NativeCluster(name=self.name, state=state_root() / self.name)

    def blocked(self) -> str | None:
        if platform.system() != "Linux":
            return f"the native node needs Linux, this is {platform.system()}"
        return None if os.geteuid() == 0 else "the native node needs root, and you are not root"

    def up(self) -> None:
        self.cluster.up(ensure_binaries((*CONTROL_PLANE, *NODE)))

    def down(self) -> None:
        self.cluster.down()

    def running(self) -> bool:
        proxies.bypass_server_of(self.cluster.state / "kubeconfig")
        return self.cluster.sandbox.alive() and api_answers(self.cluster.state / "kubeconfig")

    def load_image(self, archive: Path) -> tuple[str, ...]:
        return images.import_into_containerd(archive, socket=self.cluster.containerd_socket)


@dataclass(frozen=True, slots=True)
class ControlPlaneOnly:
    """API server, etcd and controllers on loopback, without a node; needs no root."""

    name: str
    kind: str = "control-plane"

    @property
    def state(self) -> Path:
        return state_root() / self.name

    def blocked(self) -> str | None:
        return (
            None if platform.system() == "Linux" else f"etcd and kube-apiserver need Linux, this is {platform.system()}"
        )

    def up(self) -> None:
        document = record.read(self.state) or {}
        if "ports" not in document:
            record.refuse_unknown_state(self.state)
            document = {"backend": self.kind, "ports": list(free_ports(3))}
            record.write(self.state, document)
        spec = ControlPlaneSpec.without_node(name=self.name, state=self.state, ports=document["ports"], scheduler=True)
        ControlPlaneProcesses(spec, ensure_binaries(CONTROL_PLANE)).start()

    def down(self) -> None:
        NativeCluster(name=self.name, state=self.state).down()

    def running(self) -> bool:
        proxies.bypass_server_of(self.state / "kubeconfig")
        return api_answers(self.state / "kubeconfig")

    def load_image(self, archive: Path) -> tuple[str, ...]:
        raise ClusterError(f"there is no node to load {archive} into", "make cluster-down, then make cluster-up")


BACKENDS = ("auto", "kubeconfig", "kind", "native", "control-plane")
AUTOMATIC = ("kubeconfig", "native")  # kind only if requested: an installed Docker must not change the choice


def backend(kind: str, *, name: str, kubeconfig: Path | None = None) -> Backend:
    """The backend called `kind`."""
    made: dict[str, Backend] = {
        b.kind: b for b in (GivenKubeconfig(name, kubeconfig), Kind(name), Native(name), ControlPlaneOnly(name))
    }
    return made[kind]


def select(*, name: str, wanted: str = "auto", kubeconfig: Path | None = None) -> Backend:
    """The backend of cluster `name`: the recorded one, else `wanted`, else the first that works here.

    Raises ClusterError where the cluster exists with another backend, or where no backend works here.
    """
    if wanted == "auto" and kubeconfig:
        wanted = "kubeconfig"
    existing = recorded(name)
    if existing is not None and wanted not in {"auto", existing.kind}:
        raise ClusterError(
            f"cluster {name} exists already ({existing.kind}), but {wanted} is requested",
            f"python3 -m hack.localcluster down --name {name}, or another --name",
        )
    if existing is not None:
        wanted = existing.kind
    document = record.read(state_root() / name) or {}
    source = kubeconfig or (Path(document["source"]) if "source" in document else None)
    kinds = AUTOMATIC if wanted == "auto" else (wanted,)
    return choose([backend(kind, name=name, kubeconfig=source) for kind in kinds])


def choose(backends: Sequence[Backend]) -> Backend:
    """The first of `backends` that works here. Raises ClusterError with every reason where none does."""
    reasons = []
    for candidate in backends:
        reason = candidate.blocked()
        if reason is None:
            return candidate
        reasons.append(f"{candidate.kind}: {reason}")
    raise ClusterError("no backend works on this machine\n  " + "\n  ".join(reasons), "; or ".join(alternatives()))


def alternatives() -> list[str]:
    """The commands that would work on this machine, at once or after one step, where the first choice is blocked."""
    ways = []
    if platform.system() == "Linux":
        ways.append(f"{'' if os.geteuid() == 0 else 'sudo '}make demo (a native node, as root)")
    reason = docker.why_not()
    if reason is None:
        ways.append('make demo DEMO_ARGS="--backend kind" (Docker works here)')
    elif platform.system() != "Linux":
        ways.append(f'start Docker, then make demo DEMO_ARGS="--backend kind" ({reason})')
    ways.append('make demo DEMO_ARGS="--kubeconfig FILE --registry HOST/PATH" (your own cluster)')
    return ways


def recorded(name: str) -> Backend | None:
    """The backend that `up` recorded for the cluster, or None."""
    document = record.read(state_root() / name)
    return backend(document["backend"], name=name) if document else None


def backend_of_remains(name: str) -> Backend:
    """The backend of a cluster whose record cannot be read: kind where Docker has its containers, else native.

    The native backend finds everything else that a cluster can leave behind.
    """
    kind = Kind(name)
    return kind if kind.blocked() is None and kind.has_containers() else Native(name)


def _find_kind() -> Path:
    on_path = shutil.which("kind")
    if on_path:
        return Path(on_path)
    folder = cache() / "kind" / KIND_VERSION / "bin"
    if not (folder / "kind").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        if not downloads.kind(version=KIND_VERSION, to=folder / "kind"):
            gobuild.kind(version=KIND_VERSION, to=folder)
    return folder / "kind"

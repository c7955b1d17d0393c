"""Where programs come from: KUBEBUILDER_ASSETS, the cache, the official download, one builder at a time."""

from __future__ import annotations

import hashlib
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hack.localcluster import binaries, debian, downloads, gobuild
from hack.localcluster.errors import ClusterError
from hack.localcluster.settings import KUBERNETES_VERSION, REPOSITORY, go_arch

PROGRAM = b"#!/bin/sh\necho a program\n"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A download site on loopback; the folder that it serves for this version and machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path / "site"))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    folder = tmp_path / "site" / KUBERNETES_VERSION / "bin" / "linux" / go_arch()
    folder.mkdir(parents=True)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("ANDANTE_KUBERNETES_MIRROR", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setenv("ANDANTE_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
        yield folder
        server.shutdown()
        thread.join()


def publish(folder: Path, name: str, *, digest: str | None = None) -> None:
    (folder / name).write_bytes(PROGRAM)
    (folder / f"{name}.sha256").write_text(digest or hashlib.sha256(PROGRAM).hexdigest())


def test_missing_program_is_downloaded_into_the_cache(mirror: Path, tmp_path: Path) -> None:
    publish(mirror, "kubectl")
    path = binaries.ensure_binaries(("kubectl",)).path("kubectl")
    assert path == tmp_path / "cache" / "kubernetes" / KUBERNETES_VERSION / "bin" / "kubectl"
    assert subprocess.run([str(path)], capture_output=True, check=True).stdout == b"a program\n"


def test_cached_program_is_not_fetched_again(mirror: Path) -> None:
    publish(mirror, "kubectl")
    first = binaries.ensure_binaries(("kubectl",)).path("kubectl").stat()
    publish(mirror, "kubectl", digest="0" * 64)
    assert binaries.ensure_binaries(("kubectl",)).path("kubectl").stat().st_mtime_ns == first.st_mtime_ns


def test_download_that_does_not_match_its_digest_is_an_error_and_not_kept(mirror: Path) -> None:
    publish(mirror, "kubectl", digest="0" * 64)
    with pytest.raises(ClusterError, match="SHA-256"):
        binaries.ensure_binaries(("kubectl",))
    assert binaries.find("kubectl") is None


def test_site_without_the_program_means_the_next_way(mirror: Path, tmp_path: Path) -> None:
    assert downloads.kubernetes("kubectl", version=KUBERNETES_VERSION, to=tmp_path / "kubectl") is False


@pytest.mark.parametrize(("version", "taken"), [("v1.34.7", True), ("v1.33.2", False), ("v1.340.1", False)])
def test_kubebuilder_assets_are_taken_in_our_minor_version_only(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, taken: bool
) -> None:
    assets = tmp_path / "assets"
    assets.mkdir()
    (assets / "kube-apiserver").write_text(f"#!/bin/sh\necho Kubernetes {version}\n")
    (assets / "kube-apiserver").chmod(0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    assert binaries.find("kube-apiserver") == (assets / "kube-apiserver" if taken else None)


def test_two_runs_at_once_fetch_once(mirror: Path) -> None:
    publish(mirror, "kubectl")
    command = [sys.executable, "-m", "hack.localcluster", "binaries", "kubectl"]
    runs = [
        subprocess.Popen(command, cwd=REPOSITORY, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    said = [run.communicate(timeout=60) for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert len({out for out, _ in said}) == 1
    assert sum(err.count(b"downloading") for _, err in said) == 1


def test_go_compiler_that_is_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for path, version in ((old, "go1.19.8"), (new, "go1.99.0")):
        path.mkdir()
        (path / "go").write_text(f"#!/bin/sh\necho {version}\n")
        (path / "go").chmod(0o755)
    monkeypatch.setenv("ANDANTE_GO", str(old / "go"))
    monkeypatch.setenv("PATH", f"{new}:{os.environ['PATH']}")
    assert gobuild.find_go() == new / "go"


def test_programs_that_debian_brings_are_named_with_their_packages() -> None:
    system = [name for name in (*binaries.CONTROL_PLANE, *binaries.NODE) if name not in binaries.KUBERNETES]
    packages = debian.packages_of(system)
    assert {"etcd-server", "containerd", "runc", "containernetworking-plugins", "iptables"} <= set(packages)
    assert debian.packages_of(("debootstrap",)) == ("debian-archive-keyring", "debootstrap")
    assert debian.command_for(packages).endswith(" ".join(packages))

"""What `make demo` and `make install-local` say in the first second where they cannot work."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hack.localcluster import needs, preflight
from hack.localcluster.errors import ClusterError
from hack.localcluster.settings import REPOSITORY
from hack.localcluster.target import Target

from cluster.programs import program


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cluster is recorded, and no way to one is named."""
    monkeypatch.setenv("ANDANTE_STATE", str(tmp_path / "state"))
    for name in ("ANDANTE_BACKEND", "ANDANTE_KUBECONFIG", "ANDANTE_CLUSTER", "ANDANTE_PREFLIGHT"):
        monkeypatch.delenv(name, raising=False)


def make(*words: str, **changes: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")} | changes
    return subprocess.run(
        ["make", *words], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120, env=environment
    )


@pytest.mark.parametrize("command", [("demo", "DEMO_ARGS"), ("install-local", "ARGS")])
def test_kubeconfig_without_a_registry_is_refused_before_anything_is_done(
    tmp_path: Path, command: tuple[str, str]
) -> None:
    (tmp_path / "config").write_text("{}")
    said = make(command[0], f"{command[1]}=--kubeconfig {tmp_path / 'config'}")
    assert said.returncode != 0
    assert "--registry is missing" in said.stderr
    assert "--kubeconfig FILE --registry HOST/PATH" in said.stderr
    assert not (tmp_path / "state").exists()


def test_help_of_the_demo_names_the_ways_to_a_cluster() -> None:
    said = make("demo", "DEMO_ARGS=--help")
    assert said.returncode == 0, said.stderr
    for flag in ("--backend", "--kubeconfig", "--registry", "--engine-image"):
        assert flag in said.stdout


def test_disk_that_is_too_small_is_told_with_both_figures(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    script = f"mount -t tmpfs -o size=64m none {small} && exec {sys.executable} -m hack.localcluster preflight"
    said = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False,
        env={**os.environ, "ANDANTE_CACHE": str(small / "cache")},
    )  # fmt: skip
    assert said.returncode == 1
    assert re.search(r"\d+ GiB are needed on the disk of ", said.stderr)
    assert "0.1 are free" in said.stderr
    assert "ANDANTE_CACHE" in said.stderr


def test_what_is_in_the_cache_needs_no_disk_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANDANTE_CACHE", str(tmp_path))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    before = sum(need.gib for need in needs.of_native_node())
    recipe = tmp_path / "engine-env" / "vllm-0.32.0-py3.13" / ".andante-recipe"
    recipe.parent.mkdir(parents=True)
    recipe.touch()
    assert before - sum(need.gib for need in needs.of_native_node()) >= 7


def test_memory_that_is_too_little_is_told_with_both_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "memory_gib", lambda: 2.0)
    with pytest.raises(ClusterError, match=r"memory: 4 GiB are needed, 2\.0 are there"):
        preflight.check(Target())


def test_shortage_can_be_overruled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "memory_gib", lambda: 2.0)
    monkeypatch.setenv("ANDANTE_PREFLIGHT", "warn")
    assert "native" in preflight.check(Target())


def test_who_is_not_root_hears_it_before_anything_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match="you are not root"):
        preflight.check(Target())


def test_python_without_a_vllm_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "python3.14", prints="3 14")
    monkeypatch.setenv("ANDANTE_ENGINE_PYTHON", str(tmp_path / "python3.14"))
    with pytest.raises(ClusterError, match=r"needs Python 3\.11, 3\.12 or 3\.13, and .*python3\.14 is 3\.14"):
        preflight.check(Target())


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Target(registry="reg.example.com/team"), "--registry is for your own cluster"),
        (Target(engine_image="a/b:1"), "--engine-image is for kind and --kubeconfig"),
    ],
)
def test_flag_that_does_not_belong_to_the_native_node_is_refused(wanted: Target, said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        preflight.check(wanted)


def test_backend_of_the_environment_that_does_not_exist_is_refused() -> None:
    said = make("demo", ANDANTE_BACKEND="minikube")
    assert said.returncode != 0
    assert "ANDANTE_BACKEND=minikube is none of auto, kubeconfig, kind, native" in said.stderr

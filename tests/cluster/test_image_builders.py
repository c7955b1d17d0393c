"""Which program builds an image. Scripts stand in for docker and podman, which cannot run in every place of a test."""

from __future__ import annotations

from pathlib import Path

import pytest
from hack.localcluster.buildimage import choose_builder
from hack.localcluster.errors import ClusterError


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An otherwise empty PATH; the folder on it. This user is root."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return tmp_path


def program(folder: Path, name: str, *, status: int = 0) -> None:
    (folder / name).write_text(f"#!/bin/sh\n[ {status} = 0 ] || echo 'no daemon' >&2\nexit {status}\n")
    (folder / name).chmod(0o755)


def test_docker_builds_where_it_answers(programs: Path) -> None:
    for name in ("docker", "podman", "buildah", "debootstrap"):
        program(programs, name)
    assert choose_builder() == "docker"


def test_a_docker_that_does_not_answer_is_passed_over(programs: Path) -> None:
    program(programs, "docker", status=1)
    program(programs, "podman")
    assert choose_builder() == "podman"


def test_without_both_root_builds_on_a_base_of_its_own(programs: Path) -> None:
    program(programs, "docker", status=1)
    for name in ("buildah", "debootstrap"):
        program(programs, name)
    assert choose_builder() == "buildah"


def test_one_that_is_asked_for_is_taken(programs: Path) -> None:
    program(programs, "docker")
    program(programs, "podman")
    assert choose_builder("podman") == "podman"


def test_without_root_it_is_said_what_each_one_lacks(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    program(programs, "docker", status=1)
    with pytest.raises(ClusterError, match=r"no daemon(?s:.*)podman is not installed(?s:.*)needs root") as refused:
        choose_builder()
    assert "install Docker or podman" in refused.value.remedy


def test_an_unknown_builder_is_refused_with_those_that_exist() -> None:
    with pytest.raises(ClusterError, match="docker, podman, buildah"):
        choose_builder("kaniko")

"""Which way to a cluster is taken. Recording scripts stand in for Docker and kind; their own work is not tested."""

from __future__ import annotations

from pathlib import Path

import pytest
from hack.localcluster.backends import GivenKubeconfig, Kind, Native, choose
from hack.localcluster.errors import ClusterError
from hack.localcluster.images import TinyImage, write_docker_archive


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An otherwise empty PATH; the folder on it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}")
    monkeypatch.setenv("ANDANTE_STATE", str(tmp_path / "state"))
    return folder


def program(folder: Path, name: str, *, prints: str = "", status: int = 0) -> Path:
    """A script that notes its arguments and answers; the file with the notes."""
    notes = folder / f"{name}.called"
    answer = "true" if status == 0 else "echo 'no daemon' >&2"
    script = f"#!/bin/sh\necho \"$@\" >> {notes}\nprintf '{prints}'\n{answer}\nexit {status}\n"
    (folder / name).write_text(script)
    (folder / name).chmod(0o755)
    return notes


def test_a_named_kubeconfig_comes_before_everything_else(programs: Path, tmp_path: Path) -> None:
    program(programs, "docker")
    (tmp_path / "config").write_text("{}")
    mine = GivenKubeconfig("any", tmp_path / "config")
    assert choose([mine, Kind("any"), Native("any")]) == mine


def test_kind_comes_before_the_native_node_where_docker_answers(programs: Path) -> None:
    program(programs, "docker")
    assert choose([GivenKubeconfig("any", None), Kind("any"), Native("any")]) == Kind("any")


def test_docker_without_a_daemon_is_passed_over_with_its_words(programs: Path) -> None:
    program(programs, "docker", status=1)
    assert Kind("any").blocked() == "Docker does not answer: no daemon"
    assert choose([Kind("any"), Native("any")]) == Native("any")


def test_every_reason_is_told_when_nothing_works(programs: Path, tmp_path: Path) -> None:
    with pytest.raises(ClusterError) as refused:
        choose([GivenKubeconfig("any", tmp_path / "gone"), Kind("any")])
    assert "kubeconfig: " in str(refused.value)
    assert "kind: Docker is not installed" in str(refused.value)


def test_kind_cluster_is_created_once(programs: Path, tmp_path: Path) -> None:
    program(programs, "docker")
    notes = program(programs, "kind")
    Kind("one").up()
    kubeconfig = tmp_path / "state" / "one" / "kubeconfig"
    created = f"create cluster --name andante-one --kubeconfig {kubeconfig} --wait 180s"
    assert notes.read_text().splitlines() == ["get clusters", created]
    notes.unlink()
    program(programs, "kind", prints="andante-one\\n")
    Kind("one").up()
    assert created not in notes.read_text().splitlines()


def test_images_are_loaded_into_the_kind_cluster(programs: Path, tmp_path: Path) -> None:
    notes = program(programs, "kind")
    write_docker_archive(TinyImage(tag="a:1"), tmp_path / "a.tar")
    assert Kind("one").load_image(tmp_path / "a.tar") == ("a:1",)
    assert notes.read_text().splitlines() == [f"load image-archive {tmp_path / 'a.tar'} --name andante-one"]


def test_image_for_a_cluster_of_the_users_is_refused_with_what_to_do(tmp_path: Path) -> None:
    write_docker_archive(TinyImage(tag="a:1"), tmp_path / "a.tar")
    with pytest.raises(ClusterError, match="registry"):
        GivenKubeconfig("any", None).load_image(tmp_path / "a.tar")

"""Which way to a cluster is taken. Recording scripts stand in for Docker and kind; their own work is not tested."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hack.localcluster.backends import GivenKubeconfig, Kind, Native, select
from hack.localcluster.errors import ClusterError
from hack.localcluster.images import TinyImage, write_docker_archive

from cluster.programs import program


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An otherwise empty PATH; the folder on it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}")
    monkeypatch.setenv("ANDANTE_STATE", str(tmp_path / "state"))
    return folder


@pytest.fixture
def somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not root."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def test_a_named_kubeconfig_comes_before_everything_else(programs: Path, tmp_path: Path) -> None:
    program(programs, "docker")
    (tmp_path / "config").write_text("{}")
    assert select(name="any", kubeconfig=tmp_path / "config") == GivenKubeconfig("any", tmp_path / "config")


@pytest.mark.parametrize("status", [0, 1])
def test_docker_that_answers_or_not_changes_nothing_for_root(programs: Path, status: int) -> None:
    notes = program(programs, "docker", status=status)
    assert select(name="any") == Native("any")
    assert not notes.exists()


def test_kind_is_taken_where_it_is_asked_for(programs: Path) -> None:
    program(programs, "docker")
    assert select(name="any", wanted="kind") == Kind("any")


def test_kind_without_a_daemon_is_refused_with_docker_s_words_and_a_way_on(programs: Path) -> None:
    program(programs, "docker", status=1)
    with pytest.raises(ClusterError) as refused:
        select(name="any", wanted="kind")
    assert "kind: Docker does not answer: no daemon" in str(refused.value)
    assert "make demo (a native node, as root)" in refused.value.remedy


@pytest.mark.usefixtures("somebody")
def test_who_is_not_root_is_told_what_would_work(programs: Path) -> None:
    with pytest.raises(ClusterError) as refused:
        select(name="any")
    assert "the native node needs root, and you are not root" in str(refused.value)
    assert "sudo make demo" in refused.value.remedy
    assert "--kubeconfig FILE --registry HOST/PATH" in refused.value.remedy
    assert "--backend kind" not in refused.value.remedy


@pytest.mark.usefixtures("somebody")
def test_kind_is_offered_to_who_is_not_root_where_docker_answers(programs: Path) -> None:
    program(programs, "docker")
    with pytest.raises(ClusterError) as refused:
        select(name="any")
    assert '--backend kind" (Docker works here)' in refused.value.remedy


def test_every_reason_is_told_when_nothing_works(programs: Path, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"kubeconfig: .*gone is not a file"):
        select(name="any", kubeconfig=tmp_path / "gone")


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


def test_image_for_a_cluster_of_the_users_is_refused_with_the_flags_that_push_it(tmp_path: Path) -> None:
    write_docker_archive(TinyImage(tag="a:1"), tmp_path / "a.tar")
    with pytest.raises(ClusterError, match=r"--kubeconfig FILE --registry HOST/PATH"):
        GivenKubeconfig("any", None).load_image(tmp_path / "a.tar")

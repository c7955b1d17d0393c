"""What each way to a cluster is given to run: recorded from docker and kind, whose own work is not tested."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hack import cluster_images
from hack.localcluster.backends import Kind
from hack.localcluster.settings import REPOSITORY
from hack.localcluster.target import Target

SAVE = """
import sys; from pathlib import Path; from hack.localcluster.images import TinyImage, write_docker_archive
write_docker_archive(TinyImage(tag=sys.argv[2]), Path(sys.argv[1]))
"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with what docker and kind are asked for, in order. docker answers, and saves without a build."""
    notes = tmp_path / "asked"
    folder = tmp_path / "bin"
    folder.mkdir()
    answers = f'version) echo 28.0.0 ;; save) exec {sys.executable} -c "{SAVE}" "$3" "$4" ;;'
    for name, cases in (("docker", answers), ("kind", "")):
        (folder / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {notes}\ncase "$1" in {cases} esac\n')
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("ANDANTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ANDANTE_STATE", str(tmp_path / "state"))
    return notes


def test_kind_is_loaded_with_the_operator_and_a_plain_vllm(asked: Path) -> None:
    values = cluster_images.chart_values(Target(cluster="one", backend="kind"), Kind("one"))
    lines = asked.read_text().splitlines()
    built = [line for line in lines if line.startswith("docker build")]
    loaded = [line for line in lines if line.startswith("kind load image-archive")]
    assert len(built) == len(loaded) == 2
    assert built[0].endswith(f"-f {REPOSITORY}/operator/Dockerfile {REPOSITORY}")
    assert built[1].endswith(f"-f {REPOSITORY}/engine_image/cpu-base.Dockerfile {REPOSITORY}")
    assert all(line.endswith("--name andante-one") for line in loaded)
    assert values["engineImage"] == cluster_images.ENGINE_IMAGE
    assert values["engineImagePullPolicy"] == values["image"]["pullPolicy"] == "Never"


def test_engine_image_that_is_named_is_not_built(asked: Path) -> None:
    wanted = Target(cluster="one", backend="kind", engine_image="reg.example.com/vllm-cpu:1")
    values = cluster_images.chart_values(wanted, Kind("one"))
    assert "cpu-base.Dockerfile" not in asked.read_text()
    assert values["engineImage"] == "reg.example.com/vllm-cpu:1"
    assert values["engineImagePullPolicy"] == "IfNotPresent"


def test_no_engine_pod_on_kind_mounts_the_machine(asked: Path) -> None:
    values = cluster_images.chart_values(Target(cluster="one", backend="kind", engine_image="a/b:1"), Kind("one"))
    assert asked.exists()
    assert "enginePodTemplate" not in values


def test_size_and_time_are_said_before_an_engine_image_is_built(
    asked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster_images.chart_values(Target(cluster="one", backend="kind"), Kind("one"))
    assert asked.exists()
    said = capsys.readouterr().err
    before = said.partition("building andante-vllm-cpu")[0]
    assert "15 minutes" in before
    assert "7 GB" in before

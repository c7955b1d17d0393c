"""What a release takes from the repository: notes, the image in the chart, names of registries."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from hack.localcluster.errors import ClusterError
from hack.localcluster.settings import REPOSITORY
from hack.release import source
from hack.release.chart import naming
from hack.release.dry_run import empty, release_notes
from hack.release.registry import parse

CHANGELOG = "# Changelog\n\n## Unreleased\n\n* later\n\n## 0.2.0 - 2026-01-01\n\n* this\n\n## 0.1.0\n\n"
DIGEST = f"sha256:{'a' * 64}"


def test_notes_are_the_section_of_the_version() -> None:
    assert release_notes(CHANGELOG, "0.2.0") == "# Andante 0.2.0\n\n* this\n"


@pytest.mark.parametrize("version", ["0.3.0", "0.2", "0.1.0"], ids=["absent", "a part of another", "empty"])
def test_a_version_that_the_changelog_does_not_describe_is_refused(version: str) -> None:
    with pytest.raises(ClusterError, match=rf"CHANGELOG\.md .*{version}"):
        release_notes(CHANGELOG, version)


def test_the_chart_names_the_image_and_keeps_its_comments() -> None:
    before = (REPOSITORY / "charts/andante-operator/values.yaml").read_text()
    after = naming(before, f"registry.example.com/team/andante-operator@{DIGEST}")
    image = yaml.safe_load(after)["image"]
    assert image["repository"] == "registry.example.com/team/andante-operator"
    assert image["digest"] == DIGEST
    assert [line.partition("#")[2] for line in after.splitlines()] == [
        line.partition("#")[2] for line in before.splitlines()
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("https://registry.example.com/team", "scheme"),
        ("registry.example.com", "no path"),
        ("registry/team", "not a registry's host"),
        ("registry.example.com/Team", "lower-case"),
        ("registry.example.com:port/team", "not a registry's host"),
        ("docker.io/team", "Docker Hub"),
        ("", "not a registry's host"),
    ],
)
def test_a_registry_that_cannot_be_one_is_refused(text: str, says: str) -> None:
    with pytest.raises(ClusterError, match=says):
        parse(text)


@pytest.mark.parametrize("text", ["localhost/a", "10.0.0.1:5000/a/b", "registry.example.com/team_x/y-z/"])
def test_a_registry_is_a_host_and_a_path(text: str) -> None:
    assert str(parse(text)) == text.rstrip("/")


def test_an_authority_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="CA="):
        parse("registry.example.com/team", ca=tmp_path / "absent.pem")


@pytest.mark.parametrize(
    ("url", "label"),
    [
        ("git@forge.example.com:team/andante.git", "https://forge.example.com/team/andante"),
        ("https://user:secret@forge.example.com/team/andante.git", "https://forge.example.com/team/andante"),
        ("/srv/git/andante", None),
    ],
    ids=["ssh", "with a login", "a folder"],
)
def test_the_source_label_is_an_address_without_a_login(tmp_path: Path, url: str, label: str | None) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.0"\n')
    for command in (["init", "-q"], ["remote", "add", "origin", url]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    assert source.read(tmp_path).labels().get("org.opencontainers.image.source") == label


def test_the_time_of_the_source_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1234567890")
    assert source.read().created == 1234567890


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    (tmp_path / "SHA256SUMS").write_text("")
    with pytest.raises(ClusterError, match=r"thesis\.tex"):
        empty(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2

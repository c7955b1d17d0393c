"""When an image has to be built again: exactly when something that goes into it changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from hack.localcluster.buildimage import ImageBuild, copied_sources, digest_of
from hack.localcluster.errors import ClusterError

DOCKERFILE = """\
ARG BASE=python:3.12-slim
FROM ${BASE} AS build
COPY --chown=1:1 pyproject.toml README.md ./
COPY operator \\
     /src/operator
FROM ${BASE}
COPY --from=build /src /src
"""


@pytest.fixture
def request_(tmp_path: Path) -> ImageBuild:
    (tmp_path / "operator" / "andante").mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "operator/andante/a.py", "unrelated.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    return ImageBuild(dockerfile=tmp_path / "Dockerfile", context=tmp_path, tag="a:1", arguments={"X": "1"})


def test_sources_are_those_from_the_context() -> None:
    assert copied_sources(DOCKERFILE) == ("pyproject.toml", "README.md", "operator")


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "operator/andante/a.py").write_text("changed"),
        lambda folder: (folder / "operator/andante/new.py").write_text(""),
        lambda folder: (folder / "operator/andante/a.py").rename(folder / "operator/andante/b.py"),
        lambda folder: (folder / "operator/andante/a.py").chmod(0o755),
        lambda folder: (folder / "Dockerfile").write_text(DOCKERFILE + "USER 1\n"),
    ],
    ids=["edited", "added", "renamed", "executable", "dockerfile"],
)
def test_a_change_of_an_input_changes_the_digest(request_: ImageBuild, change: Callable[[Path], object]) -> None:
    before = digest_of(request_, "docker")
    change(request_.context)
    assert digest_of(request_, "docker") != before


@pytest.mark.parametrize(
    "field",
    [{"tag": "a:2"}, {"arguments": {"X": "2"}}, {"labels": {"X": "2"}}, {"created": 1}],
    ids=["tag", "argument", "label", "time"],
)
def test_a_change_of_the_request_changes_the_digest(request_: ImageBuild, field: dict[str, object]) -> None:
    assert digest_of(dataclasses.replace(request_, **field), "docker") != digest_of(request_, "docker")


def test_what_is_not_copied_changes_nothing(request_: ImageBuild) -> None:
    before = digest_of(request_, "docker")
    (request_.context / "unrelated.txt").write_text("changed")
    (request_.context / "operator" / "__pycache__").mkdir()
    (request_.context / "operator" / "__pycache__" / "a.pyc").write_text("")
    assert digest_of(request_, "docker") == before


def test_copy_of_a_missing_file_is_refused_with_its_name(request_: ImageBuild) -> None:
    (request_.context / "README.md").unlink()
    with pytest.raises(ClusterError, match=r"README\.md"):
        digest_of(request_, "docker")

"""Image archives: written by hand, read back, and refused when they are none."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from hack.localcluster.errors import ClusterError
from hack.localcluster.images import TinyImage, image_names, write_docker_archive

IMAGE = TinyImage(
    tag="localhost/andante/test:1",
    folders={"tmp": 0o1777, "var/cache/andante": 0o777},
    links={"bin": "usr/bin"},
    texts={"etc/passwd": "root:x:0:0::/:/bin/sh\n"},
)


def layer(archive: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(archive) as tar:
        member = tar.extractfile("layer.tar")
        assert member is not None
        with tarfile.open(fileobj=io.BytesIO(member.read())) as inner:
            return {info.name: info for info in inner.getmembers()}


def test_archive_holds_folders_links_and_texts(tmp_path: Path) -> None:
    write_docker_archive(IMAGE, tmp_path / "image.tar")
    entries = layer(tmp_path / "image.tar")
    assert entries["tmp"].mode == 0o1777
    assert entries["bin"].linkname == "usr/bin"
    assert entries["var/cache"].isdir()
    assert entries["etc/passwd"].size == len(IMAGE.texts["etc/passwd"])


def test_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        write_docker_archive(IMAGE, tmp_path / name)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_names_of_a_docker_archive(tmp_path: Path) -> None:
    write_docker_archive(IMAGE, tmp_path / "image.tar")
    assert image_names(tmp_path / "image.tar") == ("localhost/andante/test:1",)


def test_names_of_an_oci_archive(tmp_path: Path) -> None:
    note = {"org.opencontainers.image.ref.name": "andante-operator:1"}
    index = json.dumps({"manifests": [{"annotations": note}]}).encode()
    with tarfile.open(tmp_path / "oci.tar", "w") as tar:
        info = tarfile.TarInfo("index.json")
        info.size = len(index)
        tar.addfile(info, io.BytesIO(index))
    assert image_names(tmp_path / "oci.tar") == ("andante-operator:1",)


@pytest.mark.parametrize("content", [b"", b"no archive", b"\0" * 10240])
def test_file_that_is_no_image_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.tar").write_bytes(content)
    with pytest.raises(ClusterError, match=r"file\.tar"):
        image_names(tmp_path / "file.tar")


def test_missing_archive_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"gone\.tar"):
        image_names(tmp_path / "gone.tar")

"""Writing a state file whole, and reading one that is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hack.localcluster.errors import ClusterError
from hack.localcluster.statefiles import PUBLIC, read_json, require_own, write_whole


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", '{"a": "\u00e9"}')
    assert read_json(tmp_path / "file") == {"a": "\u00e9"}


@pytest.mark.parametrize("content", [b"", b'{"a', b"\xff\xfe\x00{", b"[" * 100_000, b"word"])
def test_broken_file_reads_as_nothing_known(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert read_json(tmp_path / "file") is None


def test_file_that_is_not_there_reads_as_nothing_known(tmp_path: Path) -> None:
    assert read_json(tmp_path / "none") is None


def test_file_is_the_owners_alone_unless_it_may_be_public_whatever_was_there(tmp_path: Path) -> None:
    for name, mode in (("secret", 0o600), ("public", PUBLIC)):
        (tmp_path / name).touch(mode=0o666)
        write_whole(tmp_path / name, "text", mode=mode)
        assert (tmp_path / name).stat().st_mode & 0o777 == mode


def test_write_that_fails_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_whole(tmp_path / "file", "old")

    def full(_descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "file", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "old")]


def test_folder_that_everybody_may_write_to_is_refused_with_a_way_out(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(ClusterError, match="everybody may write to") as refused:
        require_own(tmp_path)
    assert "ANDANTE_STATE" in refused.value.remedy


@pytest.mark.parametrize("mode", [0o700, 0o775, 0o1777])
def test_folder_in_which_nobody_else_can_exchange_a_file_is_accepted(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    require_own(tmp_path)


def test_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(ClusterError, match=r"another user \(uid 65534\) may write to"):
        require_own(tmp_path)

"""Writing a state file whole, and reading one that is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hack.localcluster.statefiles import PUBLIC, read_json, write_whole


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

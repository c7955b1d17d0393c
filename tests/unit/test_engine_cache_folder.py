"""Where the engine keeps its cache when nobody mounted a folder for it."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from andante_vllm import cli

CONFIG = "{model: {id: tiny, source: synthetic, servedName: tiny}, virtualGpu: {profile: llama-3-8b-1xh100}}"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The temporary folder of a process that cannot write to the default cache folder."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(cli, "DEFAULT_CACHE", tmp_path / "file" / "andante")
    monkeypatch.delenv(cli.CACHE_VARIABLE, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    handler = signal.getsignal(signal.SIGTERM)  # the command sets its own
    yield tmp_path
    signal.signal(signal.SIGTERM, handler)


def _started(folder: Path) -> int:
    config = folder / "engine.yaml"
    config.write_text(CONFIG)
    return cli.main(["serve", "--config", str(config), "--print-command"])


def test_a_folder_of_its_own_in_the_temporary_one(temporary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _started(temporary) == 0
    (folder,) = temporary.glob("andante-engine-cache-*")
    assert folder.stat().st_mode & 0o077 == 0
    assert f"{folder}/vllm" in capsys.readouterr().out


def test_a_folder_that_others_may_write_to_is_refused(temporary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _started(temporary) == 0
    (folder,) = temporary.glob("andante-engine-cache-*")
    folder.chmod(0o777)
    assert _started(temporary) == cli.BAD_CONFIG
    assert f"others may write to {folder}" in capsys.readouterr().err


def test_a_link_in_its_place_is_refused(temporary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _started(temporary) == 0
    (folder,) = temporary.glob("andante-engine-cache-*")
    folder.rename(temporary / "elsewhere")
    folder.symlink_to(temporary / "elsewhere")
    assert _started(temporary) == cli.BAD_CONFIG
    assert "others may write" in capsys.readouterr().err

"""The image's notes about models reach the engine's cache, and nothing that goes wrong with them stops a start."""

from __future__ import annotations

from pathlib import Path

import pytest

from andante_vllm import model_notes


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "image"
    folder.mkdir()
    (folder / "llama.json").write_text("of the image")
    monkeypatch.setenv(model_notes.FOLDER_VARIABLE, str(folder))
    return folder


def test_an_empty_cache_gets_them(image: Path, tmp_path: Path) -> None:
    model_notes.hand_on(tmp_path / "cache")
    made = tmp_path / "cache" / "modelinfos"
    assert [(file.name, file.read_text()) for file in made.iterdir()] == [("llama.json", "of the image")]


def test_what_vllm_found_out_itself_stays(image: Path, tmp_path: Path) -> None:
    own = tmp_path / "cache" / "modelinfos" / "llama.json"
    own.parent.mkdir(parents=True)
    own.write_text("of an earlier start")
    model_notes.hand_on(tmp_path / "cache")
    assert own.read_text() == "of an earlier start"


def test_an_image_without_notes_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(model_notes.FOLDER_VARIABLE, raising=False)
    model_notes.hand_on(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_takes_nothing_is_named_and_stops_nothing(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cache").write_text("no folder")
    model_notes.hand_on(tmp_path / "cache")
    assert "vLLM looks at the model itself" in capsys.readouterr().err

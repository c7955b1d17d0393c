"""qoe.yaml while the engine runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from andante_vllm.live_settings import LiveQoESettings
from andante_vllm.settings import ConfigError

VOICE = "defaultClass: voice\nclasses: [{name: voice, expectedTtftSeconds: 0.5, pace: 3.3}]\n"


class Watched:
    """A settings file with a clock that the test moves."""

    def __init__(self, folder: Path, text: str | None = None) -> None:
        self.path = folder / "qoe.yaml"
        self.now = 0.0
        self.errors: list[str] = []
        if text is not None:
            self.path.write_text(text)
        self.live = LiveQoESettings(
            self.path, log_error=self.errors.append, log_info=lambda _: None, clock=lambda: self.now
        )

    def later(self) -> str:
        """The default class two seconds on."""
        self.now += 2.0
        return self.live.current().default_class


def test_no_file_means_the_defaults(tmp_path: Path) -> None:
    assert Watched(tmp_path).live.current().default_class == "reading"


def test_a_change_is_taken_over(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.path.write_text(VOICE)
    assert watched.later() == "voice"
    assert watched.live.version == 2


def test_the_file_is_looked_at_once_a_second_at_most(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.path.write_text(VOICE)
    watched.now += 0.5
    assert watched.live.current().default_class == "reading"


def test_a_swapped_symlink_is_a_change(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("")
    (tmp_path / "old").write_text("objective: 0.9\n")
    (tmp_path / "new").write_text(VOICE)
    link = tmp_path / "qoe.yaml"
    link.symlink_to(tmp_path / "old")
    watched = Watched(tmp_path)
    (tmp_path / "next").symlink_to(tmp_path / "new")
    (tmp_path / "next").replace(link)
    assert watched.later() == "voice"


@pytest.mark.parametrize("text", ["classes: []\n", "objective: 7\n", "{", "unknown: 1\n"])
def test_a_bad_change_is_kept_out_and_said(tmp_path: Path, text: str) -> None:
    watched = Watched(tmp_path, VOICE)
    watched.path.write_text(text)
    assert watched.later() == "voice"
    assert not watched.live.valid
    assert watched.live.refusals == 1
    assert "qoe.yaml" in watched.errors[0]


def test_a_file_that_vanishes_changes_nothing(tmp_path: Path) -> None:
    watched = Watched(tmp_path, VOICE)
    watched.path.unlink()
    assert watched.later() == "voice"
    assert not watched.live.valid


def test_it_recovers_when_the_file_is_mended(tmp_path: Path) -> None:
    watched = Watched(tmp_path, VOICE)
    watched.path.write_text("{")
    watched.later()
    watched.path.write_text("objective: 0.9\n")
    assert watched.later() == "reading"
    assert watched.live.valid


def test_a_bad_file_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="objective"):
        Watched(tmp_path, "objective: 2\n")

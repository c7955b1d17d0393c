"""`andante trace`."""

from __future__ import annotations

from pathlib import Path

import pytest

from andante.cli.traces import read_trace
from unit.run_cli import run_cli

MOONCAKE = "".join(
    f'{{"timestamp": {t * 1000}, "input_length": {t + 1}, "output_length": 2, "hash_ids": [{t}]}}\n' for t in range(6)
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "trace.jsonl"
    path.write_text(MOONCAKE)
    return path


def test_convert_keeps_a_window_and_counts_from_its_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: Path
) -> None:
    target = tmp_path / "out.csv"
    assert run_cli(monkeypatch, "trace", "convert", source, target, "--start", 2, "--duration", 3) == 0
    assert [(r.arrival_s, r.prompt_tokens, r.prefix_group) for r in read_trace(target)] == [
        (0, 3, "2"),
        (1, 4, "3"),
        (2, 5, "4"),
    ]


def test_an_empty_window_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(monkeypatch, "trace", "convert", source, tmp_path / "out.csv", "--start", 99) == 2
    assert "--start" in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


def test_a_broken_line_ends_with_its_number(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source.write_text(MOONCAKE + "oops\n")
    assert run_cli(monkeypatch, "trace", "convert", source, tmp_path / "out.csv") == 2
    assert "line 7" in capsys.readouterr().err


def test_show_summarises(monkeypatch: pytest.MonkeyPatch, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(monkeypatch, "trace", "show", source) == 0
    assert "1.200 requests/s" in capsys.readouterr().out

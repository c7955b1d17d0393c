"""`andante qoe` and the command line around it, from arguments to exit status."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

import andante
from unit.run_cli import run_cli


def _qoe(monkeypatch: pytest.MonkeyPatch, text: str, *arguments: object) -> int:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    return run_cli(monkeypatch, "qoe", "--expected-ttft", 1, "--pace", 5, *arguments)


@pytest.mark.parametrize("text", ["1\n1.2\n4.0\n", ' {"delivery": [1, 1.2, 4.0]}'])
def test_figures_of_one_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    assert _qoe(monkeypatch, text, "--json", tmp_path / "out.json") == 0
    figures = json.loads((tmp_path / "out.json").read_text())
    # Lags 0, 0, 2.6: area 2.6, reading 6/5; deadlines 1.2, 1.4, 1.6: idle 2.4.
    assert figures["qoe"] == pytest.approx(1.2 / 3.8)
    assert figures["idle_latency_s"]["arrival"] == pytest.approx(2.4)
    assert figures["smooth_goodput_benefit_tokens"] == pytest.approx(
        {"alpha=0*pace": 3, "alpha=1*pace": 3 - 12, "alpha=4*pace": 3 - 48}
    )
    assert (figures["ttft_s"], figures["good"]) == (1.0, False)
    assert (figures["time_per_output_token_s"], figures["max_time_between_tokens_s"]) == pytest.approx((1.5, 2.8))
    assert figures["fluidity_index"] == pytest.approx(2 / 16)


def test_an_answer_that_came_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert _qoe(monkeypatch, "2.4\n2.4\n2.4\n", "--whole", "--json", tmp_path / "out.json") == 0
    figures = json.loads((tmp_path / "out.json").read_text())
    # Due at 1.4, so 1 s late as a whole: area 3, reading 6/5.
    assert figures["qoe"] == pytest.approx(1.2 / 4.2)
    assert figures["idle_latency_s"] == pytest.approx({"arrival": 1.0})


def test_a_file_instead_of_standard_input(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "times").write_text("0.5\n")
    assert _qoe(monkeypatch, "", tmp_path / "times") == 0
    assert "andes_qoe" in capsys.readouterr().out


def test_no_token_is_an_answer_that_never_came(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert _qoe(monkeypatch, "", "--json", tmp_path / "out.json") == 0
    figures = json.loads((tmp_path / "out.json").read_text())
    assert (figures["qoe"], figures["ttft_s"], figures["mean_delay_s"]) == (0, None, None)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("1\nfoo\n", "line 2"), ("1\n\n2\n", "line 2"), ("1\nnan\n", "line 2"), ("-1\n", "line 1"),
        ("1\n2\n1\n", "line 3"),
        ("1700000000\n", "line 1"), ("1_0\n", "line 1"), ("inf\n", "line 1"),
        ('{"delivery": [1, "2"]}', r"delivery[1]"), ('{"delivery": [true]}', "delivery[0]"), ("{", "line 1"),
        ('{"delivery": [1, NaN]}', "delivery[1]"), ('{"delivery": 3}', "delivery"), ('{"times": []}', "delivery"),
        ('{"delivery": [1' + "0" * 400 + "]}", "delivery[0]"),
    ],
)  # fmt: skip
def test_a_bad_line_is_refused_with_its_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, where: str
) -> None:
    assert _qoe(monkeypatch, text) == 2
    assert where in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--pace", "0"), ("--pace", "nan"), ("--expected-ttft", "-1"), ("--expected-ttft", "inf"),
        ("--objective", "1.5"), ("--objective", "nan"), ("--tolerated-delay", "-1"), ("--json", "/no/such/folder/x"),
        ("--json", "/"),
    ],
)  # fmt: skip
def test_a_bad_option_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    assert _qoe(monkeypatch, "1\n", option, value) == 2
    assert f"andante: {option}: " in capsys.readouterr().err


def test_a_missing_file_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert _qoe(monkeypatch, "", "/no/such/file") == 2
    assert "FILE" in capsys.readouterr().err


def test_the_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"andante {andante.__version__}\n"


@pytest.mark.parametrize("command", [[], ["qoe"], ["bench"], ["trace"], ["trace", "convert"]])
def test_help_fits_one_screen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert run_cli(monkeypatch, *command, "--help") == 0
    assert 5 < len(capsys.readouterr().out.splitlines()) <= 60


def test_an_unknown_command_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_cli(monkeypatch, "quoe") == 2

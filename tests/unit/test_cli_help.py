"""`--help` alone is enough to use a command: exit statuses, the forms of its input, and no pointer into the void."""

from __future__ import annotations

import re

import pytest

from andante.domain.pace import PRESETS
from unit.run_cli import run_cli

COMMANDS = [
    [],
    ["qoe"],
    ["bench"],
    ["trace"],
    ["trace", "convert"],
    ["trace", "show"],
    ["simulate"],
    ["plan"],
    ["compare"],
    ["profile"],
    ["profile", "fit"],
    ["profile", "estimate"],
]


def _help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *command: str) -> str:
    assert run_cli(monkeypatch, *command, "--help") == 0
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().out).split())


@pytest.mark.parametrize(
    "command",
    [command for command in COMMANDS if command not in (["trace", "convert"], ["trace", "show"])],
    ids=lambda command: " ".join(command) or "andante",
)
def test_exit_statuses_are_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert "Exit status: 0 " in _help(monkeypatch, capsys, *command)


def test_the_form_of_a_trace_is_where_bench_points(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "`andante trace --help` says in which form" in _help(monkeypatch, capsys, "bench")
    assert "arrival_s,prompt_tokens,output_tokens" in _help(monkeypatch, capsys, "trace")


def test_bench_names_the_classes_that_it_knows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ", ".join(PRESETS) in _help(monkeypatch, capsys, "bench")


def test_commands_that_a_help_text_names_exist(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [_help(monkeypatch, capsys, *command) for command in COMMANDS]
    named = {tuple(words.split()) for text in texts for words in re.findall(r"`andante ([a-z]+(?: [a-z]+)?)", text)}
    assert named <= {tuple(command) for command in COMMANDS}
    assert named

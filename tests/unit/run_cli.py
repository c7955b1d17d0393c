"""Runs the `andante` command in this process, as its console script does."""

from __future__ import annotations

import sys

import pytest

from andante.cli.main import main


def run_cli(monkeypatch: pytest.MonkeyPatch, *arguments: object, columns: int = 200) -> int:
    """The exit status of `andante ARGUMENTS` on a terminal so wide; what it printed is in capsys."""
    monkeypatch.setattr(sys, "argv", ["andante", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", str(columns))
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0

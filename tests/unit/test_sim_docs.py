"""The examples on the simulator's page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/reference/simulator.md"


def test_the_examples_on_the_page_run(capsys: pytest.CaptureFixture[str]) -> None:
    for example in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(example, str(PAGE), "exec"), {})  # noqa: S102  it is this repository's own page
    stock, ours, fleet = capsys.readouterr().out.splitlines()
    for line in (stock, ours, fleet):
        assert float(line.split()[0]) > 0

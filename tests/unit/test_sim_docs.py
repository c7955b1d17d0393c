"""The example on the simulator's page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/reference/simulator.md"


def test_the_example_on_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    exec(compile(example, str(PAGE), "exec"), {})  # noqa: S102  it is this repository's own page
    stock, ours = capsys.readouterr().out.splitlines()
    assert float(stock.split()[0]) > 0
    assert float(ours.split()[0]) > 0

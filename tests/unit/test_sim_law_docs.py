"""The example on the page of rival laws."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/reference/rival-laws.md"


def test_the_example_on_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    exec(compile(example, str(PAGE), "exec"), {})  # noqa: S102  it is this repository's own page
    period, *parameters = capsys.readouterr().out.splitlines()
    assert float(period) == 15.0
    assert [line.split()[0] for line in parameters] == ["ttft_target", "tpot_target", "up_at", "down_at"]

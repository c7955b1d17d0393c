"""The figures in the scheduler's reference pages are the committed results."""

from __future__ import annotations

from pathlib import Path

import pytest
from hack.scheduler_docs import PAGES, TABLES, render


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_tables_are_the_committed_results(path: Path) -> None:
    page = path.read_text()
    assert render(page) == page, "run `make scheduler-docs`"


@pytest.mark.parametrize("name", TABLES)
def test_every_table_has_one_place(name: str) -> None:
    assert sum(path.read_text().count(f"<!-- {name} -->") for path in PAGES) == 1

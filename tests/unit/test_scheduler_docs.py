"""The figures in docs/concepts/scheduler.md are the committed results."""

from __future__ import annotations

from hack.scheduler_docs import PAGE, TABLES, render


def test_the_pages_tables_are_the_committed_results() -> None:
    page = PAGE.read_text()
    assert all(f"<!-- {name} -->" in page for name in TABLES)
    assert render(page) == page, "run `make scheduler-docs`"

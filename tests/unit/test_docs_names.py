"""Every name in backticks in the documentation exists: fields, values, metrics, flags, reasons, targets, files."""

from __future__ import annotations

import pytest
from hack.docs import markdown, names

from docs_faults import expect_none

PAGES = markdown.pages()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_every_name_in_backticks_exists(page: markdown.Page) -> None:
    expect_none(names.of_page(page))

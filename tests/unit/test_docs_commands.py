"""Every documented command names programs, flags, targets, values and files that exist, and runs or says why not."""

from __future__ import annotations

import pytest
from hack.docs import blocks, markdown

from docs_faults import expect_none

PAGES = markdown.pages()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_every_block_of_commands_is_right_and_runs_or_says_why_not(page: markdown.Page) -> None:
    expect_none(blocks.of_page(page))

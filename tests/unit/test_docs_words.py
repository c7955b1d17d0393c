"""Texts for users are plain: a list of words that they do not use, with what to write instead."""

from __future__ import annotations

import pytest
from hack.docs import markdown, words

from docs_faults import expect_none

PAGES = markdown.pages()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_pages_for_users_are_plain(page: markdown.Page) -> None:
    expect_none(words.of_page(page))


def test_messages_are_plain() -> None:
    expect_none(words.of_messages())

"""Every manifest in the documentation is one that the operator takes, and every part of one has names that exist."""

from __future__ import annotations

import pytest
from hack.docs import manifests, markdown

from docs_faults import expect_none

PAGES = [page for page in markdown.pages() if any(block.language in manifests.YAML for block in page.blocks)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_every_manifest_is_one_that_the_operator_takes(page: markdown.Page) -> None:
    expect_none(manifests.of_page(page))

"""Every relative link leads to a file and a heading that exist, and every page is in the navigation of the site."""

from __future__ import annotations

import pytest
import yaml
from hack.docs import links, markdown
from hack.docs.markdown import ROOT, Fault, Page

from docs_faults import expect_none

PAGES = markdown.pages()


class _Loader(yaml.SafeLoader):
    """mkdocs.yml names Python functions; only its navigation matters here."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)
MKDOCS = yaml.load((ROOT / "mkdocs.yml").read_text(), _Loader)  # noqa: S506 - a safe loader with one more tag


def _in_nav(entry: object) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    children = entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ()
    return [path for child in children for path in _in_nav(child)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_every_link_leads_somewhere(page: Page) -> None:
    expect_none(links.of_page(page))


def test_every_page_is_in_the_navigation_once() -> None:
    listed = _in_nav(MKDOCS["nav"])
    pages = [str(path.relative_to(ROOT / "docs")) for path in sorted((ROOT / "docs").rglob("*.md"))]
    twice = {path for path in listed if listed.count(path) > 1}
    expect_none(
        [
            *(Fault(f"docs/{p}", 1, p, "add it to `nav` in mkdocs.yml, by its name") for p in pages if p not in listed),
            *(Fault("mkdocs.yml", 1, p, "no such page; take it out of `nav`") for p in listed if p not in pages),
            *(Fault("mkdocs.yml", 1, p, "is in `nav` twice") for p in twice),
        ]
    )


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("[x](instal.md)", "no such file: docs/how-to/instal.md"),
        ("[x](../../examples/nothing.yaml)", "no such file: examples/nothing.yaml"),
        ("[x](install.md#nowhere)", "docs/how-to/install.md has no such heading"),
        ("[x](#nowhere)", "docs/how-to/page.md has no such heading"),
    ],
)
def test_a_link_that_leads_nowhere_is_found(link: str, said: str) -> None:
    (fault,) = links.of_page(Page("docs/how-to/page.md", f"# Title\n\n{link}\n"))
    assert said in str(fault)
    assert str(fault).startswith("docs/how-to/page.md:3:")


def test_a_link_that_leads_somewhere_is_left_alone() -> None:
    text = (
        "# Title\n\n[a](install.md#one-namespace-or-all) [b](#title) [c](../../README.md) [d](https://example.com/x)\n"
    )
    assert links.of_page(Page("docs/how-to/page.md", text)) == []

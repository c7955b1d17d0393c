"""Checks the relative links of all pages, inside and outside of the site: the file and the heading exist."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from hack.docs.markdown import ROOT, Fault, Page

_LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(?P<text>.+?) *#*$", re.MULTILINE)


def of_page(page: Page) -> list[Fault]:
    """Links to what does not exist."""
    return list(_faults(page))


def anchors(text: str) -> frozenset[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: dict[str, int] = {}
    for match in _HEADING.finditer(text):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", match["text"])
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
        if found[slug]:
            found[f"{slug}-{found[slug]}"] = 0
    return frozenset(found)


def _faults(page: Page) -> Iterator[Fault]:
    prose = page.prose
    for match in _LINK.finditer(prose):
        target, _, anchor = match["target"].partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        line = prose.count("\n", 0, match.start()) + 1
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page.path), target)) if target else page.path
        if target.startswith("/") or (path != page.path and not (ROOT / path).exists()):
            yield Fault(page.path, line, match["target"], f"no such file: {path}")
        elif anchor and path.endswith(".md"):
            text = page.text if path == page.path else (ROOT / path).read_text(encoding="utf-8")
            if anchor not in anchors(text):
                yield Fault(page.path, line, match["target"], f"{path} has no such heading; it has {_some(text)}")


def _some(text: str) -> str:
    return ", ".join(f"#{one}" for one in sorted(anchors(text))[:12])

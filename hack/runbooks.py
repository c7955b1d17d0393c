"""Makes the runbooks of the package from the pages of docs/runbooks: as a terminal shows them (`make generate`)."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "runbooks"
PACKAGED = ROOT / "operator" / "andante" / "runbooks"

_COMMENT = re.compile(r"<!--.*?-->\n", re.DOTALL)
_LINK = re.compile(r"\[(?P<text>[^\]]+)\]\((?P<path>[^)#]+)[^)]*\)")


def packaged() -> Mapping[Path, str]:
    """Each file of the package and what it must hold."""
    return {PACKAGED / page.name: for_a_terminal(page.read_text(encoding="utf-8")) for page in PAGES.glob("*.md")}


def for_a_terminal(text: str) -> str:
    """Without comments, and with the file's name where a page has a link."""

    def said(match: re.Match[str]) -> str:
        path = posixpath.normpath(f"docs/runbooks/{match['path']}")
        other = posixpath.dirname(path) == "docs/runbooks"
        return match["text"] if other else f"{match['text']} ({path})"

    return _LINK.sub(said, _COMMENT.sub("", text))

"""Is a hook of mkdocs: adds files outside of docs/ to the site if a page links to them.

Pages link to examples, results and the README by their paths in the repository, so that the links work on GitHub and in
an editor. In the site such a file is below `source/`, and links to it are rewritten. A link to a folder becomes the
folder's name, as a site cannot show folders.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
DOCS = "docs"
SOURCE = "source"
_LINK = re.compile(r"(?P<text>!?\[(?:[^\]\[]|\[[^\]]*\])*\])\((?P<target>[^)\s#:]+)(?P<anchor>#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add each file of the repository that a page links to, and the files that an added page links to."""
    pages = [posixpath.join(DOCS, file.src_uri) for file in files.documentation_pages()]
    while pages:
        page = pages.pop()
        for match in _LINK.finditer((ROOT / page).read_text(encoding="utf-8")):
            target = _in_repository(page, match["target"])
            uri = posixpath.join(SOURCE, target)
            if target.startswith(f"{DOCS}/") or not (ROOT / target).is_file() or files.get_file_from_path(uri):
                continue
            files.append(File.generated(config, uri, abs_src_path=str(ROOT / target)))
            if target.endswith(".md"):
                pages.append(target)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Rewrite links to files outside of docs/, and links from such files."""
    here = page.file.src_uri
    origin = here.removeprefix(f"{SOURCE}/") if here.startswith(f"{SOURCE}/") else posixpath.join(DOCS, here)

    def rewritten(match: re.Match[str]) -> str:
        target = _in_repository(origin, match["target"])
        if (ROOT / target).is_dir():
            return match["text"].lstrip("!")[1:-1]
        inside = target.startswith(f"{DOCS}/")
        uri = target.removeprefix(f"{DOCS}/") if inside else posixpath.join(SOURCE, target)
        path = posixpath.relpath(uri, posixpath.dirname(here) or ".")
        return f"{match['text']}({path}{match['anchor'] or ''})"

    return _LINK.sub(rewritten, markdown)


def _in_repository(page: str, target: str) -> str:
    """Path of a link's target, from the repository's root."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), target))

"""Prints each fault of the documentation and of the messages on one line: `python -m hack.docs [PAGE ...]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hack.docs import blocks, links, manifests, markdown, messages, names, words


def main() -> int:
    """Return 0 where there are no faults, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m hack.docs", description="Checks names, commands and words of the documentation."
    )
    parser.add_argument(
        "pages", nargs="*", type=Path, metavar="PAGE", help="Markdown files (default: all, and messages)"
    )
    wanted = parser.parse_args().pages
    pages = [markdown.read(path.resolve()) for path in wanted] or markdown.pages()
    found = [
        fault
        for page in pages
        for check in (names.of_page, blocks.of_page, manifests.of_page, links.of_page, words.of_page)
        for fault in check(page)
    ]
    if not wanted:
        found += [*messages.faults(), *words.of_messages()]
    for fault in found:
        print(fault)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

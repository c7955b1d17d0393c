"""Checks that each block of commands runs in a test, or says why not in a comment on the line before it.

    <!-- not run: needs a GPU -->
    <!-- run by: tests/golden/test_docs_commands.py -->

A page whose commands all run in one test says so once: `<!-- page run by: tests/e2e/install/test_newcomer.py -->`.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from hack.docs import commands as checks
from hack.docs import known
from hack.docs.markdown import ROOT, Block, Fault, Page
from hack.docs.shell import commands

SHORT_REASONS = frozenset({"needs a GPU", "needs a foreign cluster", "needs a registry", "output"})
HOW = (
    "write `<!-- run by: tests/golden/test_docs_commands.py -->` on the line before it where it runs without a cluster,"
    f" or `<!-- not run: REASON -->` ({', '.join(sorted(SHORT_REASONS))}, or a sentence)"
)


def of_page(page: Page) -> list[Fault]:
    """Faults of the page's blocks: no test and no reason, or a command that names something that does not exist."""
    found: list[Fault] = []
    if page.run_by:
        found += [Fault(page.path, 1, page.run_by, advice) for advice in _missing_test(page, page.run_by)]
    for block in page.blocks:
        if not block.is_shell:
            continue
        found += [Fault(page.path, block.line, _title(block), advice) for advice in _unexplained(page, block)]
        if block.note == "not run: output":
            continue
        for command in commands(block.text):
            found += [
                Fault(page.path, block.line + command.line, name, advice) for name, advice in checks.faults(command)
            ]
    return found


def run_by(test: str, page: Page) -> list[Block]:
    """The page's blocks that name this test."""
    return [block for block in page.blocks if block.is_shell and block.note == f"run by: {test}"]


def _unexplained(page: Page, block: Block) -> list[str]:
    kind, _, rest = block.note.partition(":")
    rest = rest.strip()
    if kind == "run by":
        return _missing_test(page, rest)
    if kind == "not run":
        enough = rest in SHORT_REASONS or len(rest.split()) >= 3
        return [] if enough else [f"{rest!r} is no reason: {HOW}"]
    return [] if page.run_by and block.language == "bash" else [f"nothing runs it: {HOW}"]


def _missing_test(page: Page, test: str) -> list[str]:
    if test not in known.files():
        return [f"no such test: {HOW}"]
    source = (ROOT / test).read_text()
    reads = "markdown.pages()" in source or PurePosixPath(page.path).name in source
    return [] if reads else [f"{test} does not read this page: name one that does, or {HOW}"]


def _title(block: Block) -> str:
    return next((line.strip() for line in block.text.splitlines() if line.strip()), "")

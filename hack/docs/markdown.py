"""Reads a Markdown page: its blocks of code and its words in backticks, each with its line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hack.docs.foreign import COMMAND_STARTS

ROOT = Path(__file__).resolve().parents[2]
GENERATED = frozenset({"docs/reference/llmservice.md", "docs/reference/chart-values.md"})
SHELLS = frozenset({"bash", "sh", "shell", "console", "zsh"})

_FENCE = re.compile(
    r"^(?P<indent> *)(?P<mark>`{3,}|~{3,})[ ]*(?P<language>[\w+-]*)[^\n]*\n(?P<text>.*?)^(?P=indent)(?P=mark)[ ]*$",
    re.MULTILINE | re.DOTALL,
)
_COMMENT = re.compile(r"<!--\s*(?P<text>.*?)\s*-->", re.DOTALL)
_SPAN = re.compile(r"(?<!`)`(?P<text>[^`\n]+(?:\n[^`\n]+)?)`(?!`)")


@dataclass(frozen=True, slots=True)
class Fault:
    """A wrong statement of a page. `advice` says what to write instead."""

    page: str
    line: int
    name: str
    advice: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.name!r}: {self.advice}"


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code. `line`: of its first line of code. `note`: the HTML comment directly before it, or empty."""

    page: str
    line: int
    language: str
    text: str
    note: str

    @property
    def is_shell(self) -> bool:
        """Whether the block has commands, by its language or, without a language, by its first word."""
        if self.language:
            return self.language in SHELLS
        words = self.text.removeprefix("$ ").split()
        return bool(words) and words[0] in COMMAND_STARTS


@dataclass(frozen=True, slots=True)
class Span:
    """Words in backticks, with the text around the words."""

    page: str
    line: int
    text: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page, by its path from the repository's root."""

    path: str
    text: str

    @property
    def blocks(self) -> list[Block]:
        """Fenced blocks, and indented ones that begin with a command."""
        fenced = [
            Block(
                self.path,
                self._line(match.start("text")),
                match["language"].lower(),
                _dedent(match["text"], len(match["indent"])),
                self._note(match.start()),
            )
            for match in _FENCE.finditer(self.text)
        ]
        return sorted([*fenced, *self._indented()], key=lambda block: block.line)

    @property
    def run_by(self) -> str | None:
        """The test that runs all commands of the page, from `<!-- page run by: tests/... -->`."""
        match = re.search(r"<!--\s*page run by:\s*(\S+)\s*-->", self.text)
        return match[1] if match else None

    @property
    def prose(self) -> str:
        """The text without blocks and comments. Their lines stay as empty lines."""
        return _blank(_FENCE, _blank(_COMMENT, self.text))

    @property
    def spans(self) -> list[Span]:
        """Everything in backticks outside of blocks and comments."""
        prose = self.prose
        return [
            Span(
                self.path,
                self._line(match.start()),
                " ".join(match["text"].split()),
                prose[max(0, match.start() - 60) : match.start()],
                prose[match.end() : match.end() + 60],
            )
            for match in _SPAN.finditer(prose)
        ]

    def _line(self, offset: int) -> int:
        return self.text.count("\n", 0, offset) + 1

    def _note(self, offset: int) -> str:
        before = self.text[:offset].rstrip(" ")
        if not before.rstrip().endswith("-->") or before.endswith("\n\n"):
            return ""
        return [*_COMMENT.finditer(before)][-1]["text"]

    def _indented(self) -> Iterator[Block]:
        lines = _blank(_FENCE, self.text).splitlines()
        for at, line in enumerate(lines):
            starts = line.startswith("    ") and (at == 0 or not lines[at - 1].strip())
            words = line.removeprefix("    ").removeprefix("$ ").split(maxsplit=1)
            if not starts or line.startswith("     ") or not words or words[0] not in COMMAND_STARTS:
                continue
            end = next((k for k in range(at, len(lines)) if not lines[k].startswith("    ")), len(lines))
            previous = lines[at - 2].strip() if at >= 2 else ""
            comment = _COMMENT.fullmatch(previous)
            text = "".join(f"{one[4:]}\n" for one in lines[at:end])
            yield Block(self.path, at + 1, "", text, comment["text"] if comment else "")


def pages() -> list[Page]:
    """All pages for users and contributors. CHANGELOG is not one of them, as it describes the past."""
    found = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
    for folder in ("docs", "examples", "engine_image"):
        found += sorted((ROOT / folder).rglob("*.md"))
    return [read(path) for path in found if path.exists()]


def read(path: Path) -> Page:
    """The page at `path`."""
    return Page(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))


def _dedent(text: str, by: int) -> str:
    return "".join(line[by:] if not line[:by].strip() else line for line in text.splitlines(keepends=True))


def _blank(pattern: re.Pattern[str], text: str) -> str:
    """`text` without the matches. Their lines stay as empty lines, so that line numbers do not change."""
    return pattern.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def output_of(page: Page, block: Block) -> tuple[str, ...]:
    """The output that the page promises for a block: the lines of the ```text block directly after it."""
    after = page.text.splitlines()[block.line - 1 + block.text.count("\n") + 1 :]
    while after and not after[0].strip():
        after = after[1:]
    if not after or after[0].strip() != "```text":
        return ()
    end = next(at for at, line in enumerate(after) if at and line.strip() == "```")
    return tuple(after[1:end])


def filled_in(text: str) -> str:
    """A manifest with values in place of its placeholders."""
    text = re.sub(r"sha256:\.\.\.", f"sha256:{'0' * 64}", text)
    text = re.sub(r"\b(HOST|INSIDE|REGISTRY)(:PORT)?(/PATH)?\b", "registry.example.com", text)
    return re.sub(r"\b(VERSION|TAG)\b", "0.1.0", text)

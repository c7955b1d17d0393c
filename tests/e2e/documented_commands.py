"""Reads the commands and outputs of a Markdown page: a ```bash block, and the ```text block directly after it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^```(?P<language>bash|text)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Step:
    """Commands, and the lines of output that the page promises."""

    heading: str
    commands: str
    promised: tuple[str, ...]


def steps(page: Path) -> list[Step]:
    """The steps of a page, in order. Raises ValueError where an output has no command before it."""
    text = page.read_text(encoding="utf-8")
    found: list[Step] = []
    for block in _BLOCK.finditer(text):
        if block["language"] == "bash":
            headings = re.findall(r"^#+ (.*)$", text[: block.start()], re.MULTILINE)
            found.append(Step(headings[-1] if headings else page.stem, block["text"], ()))
        elif not found or found[-1].promised:
            raise ValueError(f"{page.name}: an output without a command: {block['text'][:60]!r}")
        else:
            found[-1] = Step(found[-1].heading, found[-1].commands, tuple(block["text"].splitlines()))
    return found


def missing(step: Step, said: str) -> list[str]:
    """Promised lines that `said` lacks, or has in another order. `...` stands for anything within a line, or, on a line
    of its own, for any lines. White space is not compared, as kubectl's columns differ in width, nor the order of
    bullets: the API server lists what it refuses as it comes."""
    rest = [" ".join(line.split()) for line in said.splitlines()]
    absent = []
    for promise in (line for line in step.promised if line.strip() != "..."):
        pattern = re.compile(".*".join(map(re.escape, " ".join(promise.split()).split("..."))))
        at = next((k for k, line in enumerate(rest) if pattern.fullmatch(line)), None)
        if at is None:
            absent.append(promise)
        elif promise.startswith("* "):
            del rest[at]
        else:
            rest = rest[at + 1 :]
    return absent

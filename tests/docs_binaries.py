"""Compares the flags of documented commands with the program's own help."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import cache

from hack.docs import known, markdown
from hack.docs.commands import without_options
from hack.docs.markdown import Fault
from hack.docs.shell import Command, commands


def documented(program: str) -> Iterator[tuple[markdown.Page, int, Command]]:
    """Every command of that program in blocks and in backticks, with its page and line."""
    for page in markdown.pages():
        for block in page.blocks:
            if block.is_shell:
                for command in commands(block.text):
                    if command.program == program:
                        yield page, block.line + command.line, command
        for span in page.spans:
            if span.text.startswith(f"{program} "):
                for command in commands(span.text):
                    if command.program == program:
                        yield page, span.line, command


def unknown_flags(binary: str, program: str, *, common: tuple[str, ...]) -> Iterator[Fault]:
    """Flags that neither the command's own help nor that of `common` names."""
    shared = known.flags_in(_help(binary, common))
    for page, line, command in documented(program):
        words = without_options(command)
        if not words or not words[0].islower():
            continue
        own = [known.flags_in(_help(binary, (*words[:length], "--help"))) for length in (1, 2, 3)]
        for flag in command.flags:
            if not any(flag in flags for flags in (shared, *own)):
                yield Fault(
                    page.path, line, flag, f"`{program} {words[0]}` has no such flag; see `{program} {words[0]} --help`"
                )


@cache
def _help(binary: str, words: tuple[str, ...]) -> str:
    done = subprocess.run([binary, *words], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr

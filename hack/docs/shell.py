"""Splits a block of shell commands into single commands. Knows as much of bash's grammar as the documentation uses."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace

_HEREDOC = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")
_SUBSTITUTION = re.compile(r"\$\(((?:[^()]|\([^()]*\))*)\)")
_PREFIXES = frozenset({"sudo", "time", "env", "eval", "exec", "nice", "then", "do", "else", "if", "while", "!", "{"})
_ENDS = frozenset({"|", "||", "&&", ";", "&", "|&", ";;", "(", ")", "()"})
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its words, its line in the block (from 0), and its input from `<<`."""

    words: tuple[str, ...]
    line: int
    document: str = ""

    @property
    def program(self) -> str:
        return self.words[0]

    def option(self, *names: str) -> list[str]:
        """The values of an option, written as `--name value` or `--name=value`."""
        found = []
        for at, word in enumerate(self.words):
            name, equals, value = word.partition("=")
            if name in names:
                found += [value] if equals else list(self.words[at + 1 : at + 2])
        return found

    @property
    def flags(self) -> list[str]:
        """The long options, and the short options of one letter, up to a `--` alone."""
        words = self.words[: self.words.index("--")] if "--" in self.words else self.words
        return [
            word.partition("=")[0]
            for word in words[1:]
            if re.fullmatch(r"--[a-z][\w-]*(=.*)?|-[a-zA-Z]", word, re.DOTALL)
        ]


def commands(text: str) -> list[Command]:
    """All commands of a block, including those in `$(...)` and between pipes.

    If some lines begin with `$ `, the other lines are their output.
    """
    lines = text.splitlines()
    if any(line.startswith("$ ") for line in lines):
        text = "\n".join(line if line.startswith("$ ") else "" for line in lines)
    return [found for line, logical, document in _logical_lines(text) for found in _split(logical, line, document)]


def _logical_lines(text: str) -> Iterator[tuple[int, str, str]]:
    """The lines as the shell reads them: continued lines joined, here-documents separate."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        first, logical = at, _without_comment(lines[at].removeprefix("$ "))
        at += 1
        while at < len(lines) and (logical.endswith("\\") or not _balanced(logical)):
            logical = logical[:-1] + " " + lines[at].strip() if logical.endswith("\\") else f"{logical}\n{lines[at]}"
            at += 1
        document = ""
        heredoc = _HEREDOC.search(logical)
        if heredoc:
            body = []
            while at < len(lines) and lines[at].strip() != heredoc[2]:
                body.append(lines[at])
                at += 1
            at += 1
            document = "\n".join(body)
            logical = logical[: heredoc.start()] + logical[heredoc.end() :]
        yield first, logical, document


def _without_comment(line: str) -> str:
    """The line without its comment. A # in quotes or in a word starts no comment."""
    quote = ""
    for at, letter in enumerate(line):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "#" and (at == 0 or line[at - 1].isspace()):
            return line[:at].rstrip()
    return line


def _balanced(text: str) -> bool:
    try:
        _tokens(text)
    except ValueError:
        return False
    return True


def _tokens(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars="|;&<>()")
    lexer.whitespace_split = True
    lexer.commenters = ""
    return list(lexer)


def _split(logical: str, line: int, document: str) -> Iterator[Command]:
    for inner in _SUBSTITUTION.finditer(logical):
        yield from (replace(found, line=line) for found in commands(inner[1]))
    logical = _SUBSTITUTION.sub("SUBSTITUTED", logical)
    try:
        tokens = _tokens(logical)
    except ValueError:
        return
    words: list[str] = []
    skip = False
    for token in [*tokens, ";"]:
        if skip:
            skip = False
        elif token in _ENDS:
            yield from _command(words, line, document)
            words = []
        elif set(token) <= set("<>&") and token:
            skip = True
        else:
            words.append(token)


def _command(words: list[str], line: int, document: str) -> Iterator[Command]:
    while words and (words[0] in _PREFIXES or _ASSIGNMENT.fullmatch(words[0])):
        words = words[1:]
    if words:
        yield Command(tuple(words), line, document)

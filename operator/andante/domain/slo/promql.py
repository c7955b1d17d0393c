"""Writes PromQL. What a tenant may name stays inside its string. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

BY_SERVICE: Final = "by (namespace, llmservice)"
BY_CLASS: Final = "by (namespace, llmservice, qoe_class)"
BY_POD: Final = "by (namespace, llmservice, pod)"
_OF_AN_ENGINE: Final = "by (namespace, llmservice, pod, qoe_class)"


def once(expression: str) -> str:
    """What an engine shows of a class, once, however often the engine is scraped: by two jobs, or by two Prometheus
    servers whose series one store keeps. The largest, as one of them may have begun late or been away.

    For what the delivery meter shows: vLLM's own series may be several of one engine.
    """
    return f"max {_OF_AN_ENGINE} ({expression})"


def quoted(text: str) -> str:
    """`text` as a PromQL string in double quotes: Go's escapes, whatever the text holds."""
    return '"' + "".join(_escaped(character) for character in text) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    code = ord(character)
    # A lone surrogate is no character to Go; the replacement character matches no label either.
    code = 0xFFFD if 0xD800 <= code < 0xE000 else code
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def selector(labels: Mapping[str, str]) -> str:
    """The series that have exactly these labels' values."""
    return "{" + ",".join(f"{name}={quoted(value)}" for name, value in labels.items()) + "}"


def number(value: float) -> str:
    """In digits alone, without the noise of binary fractions: .06, not .06000000000000005 or 6e-2."""
    return f"{value:.12f}".rstrip("0").rstrip(".")

"""Texts that others made, on their way into a status, an event or a log."""

from __future__ import annotations


def clip(text: str, most: int) -> str:
    """`text`, of at most `most` (>= 1) characters: what is cut ends in an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1]}…"

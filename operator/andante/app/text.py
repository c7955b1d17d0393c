"""Cuts texts from outside before they go into a status, an Event or a log."""

from __future__ import annotations


def clip(text: str, most: int) -> str:
    """`text` with at most `most` (>= 1) characters; a text that is cut ends in an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1]}…"

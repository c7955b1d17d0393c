"""Checks that a JSON document is UTF-8 text without half characters (lone surrogates). No vLLM import.

Python accepts bodies in UTF-16, and lone surrogates as escapes or as bytes. vLLM then fails when it passes this text to
its engine or tokenizer: a server error for a client's mistake.
"""

from __future__ import annotations

import re
from typing import Final

_LOW: Final = rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_ALONE: Final = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!" + _LOW + rb")"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD])[c-fC-F][0-9a-fA-F]{2})"
)
_AS_BYTES: Final = re.compile(rb"\xed[\xa0-\xbf]")
_PAIR: Final = 12
"""Bytes of the two escapes of one character: enough to see whether an escape stands alone."""
_HALF: Final = 6


class JSONEncoding:
    """Checks a document that arrives in pieces."""

    __slots__ = ("_begin", "_found", "_held", "_tail")

    def __init__(self) -> None:
        self._tail = b""
        self._begin = 0
        """The part of the tail before this place was already checked; it is kept for the next piece."""
        self._held = b""
        """A backslash at the end of a piece: the next piece says what it escapes."""
        self._found: str | None = None

    def add(self, piece: bytes) -> None:
        """Check the next piece."""
        if self._found is not None:
            return
        piece = (self._held + piece).replace(b"\\\\", b"_")  # an escaped backslash escapes nothing
        self._held = b"\\" if piece.endswith(b"\\") else b""
        text = self._tail + piece.removesuffix(b"\\")
        if b"\x00" in piece:
            self._found = "it is not in UTF-8"
        elif b"\xed" in text and _AS_BYTES.search(text, max(0, len(self._tail) - 1)):
            self._found = "it has half of a character (a surrogate) as bytes"
        elif b"\\" in text:
            self._look(text, until=len(text) - _PAIR)
        undecided = max(self._begin, len(text) - _PAIR + 1)
        self._tail = text[max(0, undecided - _HALF) :]
        self._begin = min(undecided, _HALF)

    def problem(self) -> str | None:
        """The problem of the complete document; None where there is none."""
        if self._found is None:
            self._look(self._tail, until=len(self._tail))
        return self._found

    def _look(self, text: bytes, *, until: int) -> None:
        alone = _ALONE.search(text, self._begin)
        if alone is not None and alone.start() <= until:
            self._found = f"it has half of a character (a surrogate) alone: {alone[0].decode()}"

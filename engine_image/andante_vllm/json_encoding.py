"""Whether a JSON document is text that can be written down again: UTF-8, with no half of a character. No vLLM import.

Python takes bodies in UTF-16, and halves of a character (surrogates), as an escape alone or as bytes. vLLM then
fails where it hands such a text to its engine or to its tokenizer: an error of the server, for what the client sent.
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
"""Bytes of the two escapes of one character; whether one of them stands alone, no more tells."""
_HALF: Final = 6


class JSONEncoding:
    """Looks at a document that comes in pieces."""

    __slots__ = ("_begin", "_found", "_held", "_tail")

    def __init__(self) -> None:
        self._tail = b""
        self._begin = 0
        """What comes before it in the tail was looked at, and stands there for what follows."""
        self._held = b""
        """A backslash at the end of a piece: the next one tells what it escapes."""
        self._found: str | None = None

    def add(self, piece: bytes) -> None:
        """The document goes on with `piece`."""
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
        """Of the document, which is whole now; None where there is none."""
        if self._found is None:
            self._look(self._tail, until=len(self._tail))
        return self._found

    def _look(self, text: bytes, *, until: int) -> None:
        alone = _ALONE.search(text, self._begin)
        if alone is not None and alone.start() <= until:
            self._found = f"it has half of a character (a surrogate) alone: {alone[0].decode()}"

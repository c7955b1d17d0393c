"""Estimates the cost to parse and check a JSON document, before it is parsed. No vLLM import."""

from __future__ import annotations

from typing import Final

OBJECT: Final = 48
"""Weight of an object: a check makes an instance of a class and looks at each field. Measured with vLLM's chat
messages, their parts and JSON schemas: 6 to 9 us per object, 0.1 to 0.2 us for any other value."""


class JSONWeight:
    """Weighs a document that arrives in pieces: a list's item or an object's field counts 1, an object `OBJECT` more.

    Texts have no weight. An invalid document has a weight too: its parser stops at the error, so it costs no more.
    """

    __slots__ = ("_escape", "_in_text", "total")

    def __init__(self) -> None:
        self.total = 0
        """Weight of the pieces so far."""
        self._in_text = self._escape = False

    def add(self, piece: bytes) -> None:
        """Weigh the next piece."""
        if self._escape:  # the last piece ended with the backslash of this character
            self._escape = not piece
            piece = piece[1:]
        piece = piece.replace(b"\\\\", b"")
        if piece.endswith(b"\\"):
            self._escape = True
        parts = piece.replace(b'\\"', b"").split(b'"')
        outside = parts[1 if self._in_text else 0 :: 2]
        self._in_text ^= len(parts) % 2 == 0
        structure = b"".join(outside)
        self.total += structure.count(b",") + structure.count(b"[") + (OBJECT + 1) * structure.count(b"{")

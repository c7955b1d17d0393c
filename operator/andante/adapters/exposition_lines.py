"""Takes the wanted lines out of Prometheus exposition text while it comes in, within bounds.

The text is a tenant's: an engine pod may answer with anything, at any length, for ever. A body is never held whole,
and what is parsed is bounded in lines and bytes. `prometheus_client`'s parser takes whole texts and has no bounds; a
property test compares what the two read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

MAX_BYTES = 4 * 1024 * 1024
"""Of one pod's text. A vLLM engine with 64 QoE classes shows less than one MiB."""
MAX_LINES = 2_000
"""Wanted lines of one pod: 64 QoE classes need 1,500."""
MAX_LINE_BYTES = 2_048
MAX_LABEL = 256
"""Characters of a label's value; what is longer is cut."""

Reading = tuple[str, dict[str, str], float]
"""Metric name, labels, value."""

_NAME = re.compile(rb"[a-zA-Z_:][a-zA-Z0-9_:]*")
_TEXT_NAME = re.compile(_NAME.pattern.decode())
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\\n]|\\.)*)"\s*(?:,\s*|(?=}))')
_VALUE = re.compile(r"\s*(\S+)(?:\s+-?\d+(?:\.\d+)?)?\s*")
_ESCAPES = re.compile(r"\\(.)")


class TextError(ValueError):
    """The text is too large, or no exposition text; the message says which."""


class WantedLines:
    """Fed with pieces of one pod's text; then `readings` are those of the metrics named in `wanted`."""

    def __init__(self, wanted: Collection[str]) -> None:
        self._wanted = frozenset(name.encode() for name in wanted)
        self._prefix = _common_prefix(self._wanted)
        self._bytes = 0
        self._rest = b""
        self._lines: list[bytes] = []

    def feed(self, piece: bytes) -> None:
        """Take in the next piece. Raises TextError when there is too much of it."""
        self._bytes += len(piece)
        if self._bytes > MAX_BYTES:
            raise TextError(f"/metrics is larger than {MAX_BYTES} bytes")
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            self._take(line)
        if len(self._rest) > MAX_LINE_BYTES:
            self._take(self._rest)
            self._rest = b"#"  # the rest of it is a comment, whatever it says

    def readings(self) -> Iterator[Reading]:
        """What the lines say. Raises TextError at the first that says nothing."""
        self._take(self._rest)
        self._rest = b""
        for line in self._lines:
            yield _reading(line.decode("utf-8", "replace"))

    def _take(self, line: bytes) -> None:
        if not line.startswith(self._prefix):
            return
        name = _NAME.match(line)
        if name is None or name[0] not in self._wanted:
            return
        if len(line) > MAX_LINE_BYTES:
            raise TextError(f"a line of {name[0].decode()} is longer than {MAX_LINE_BYTES} bytes")
        if len(self._lines) >= MAX_LINES:
            raise TextError(f"/metrics has more than {MAX_LINES} lines of Andante's")
        self._lines.append(line)


def _common_prefix(names: Collection[bytes]) -> bytes:
    first, last = min(names, default=b""), max(names, default=b"")
    return first[: next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]


def _reading(line: str) -> Reading:
    name = _TEXT_NAME.match(line)
    assert name is not None  # noqa: S101  _take saw it
    labels: dict[str, str] = {}
    at = name.end()
    if line[at : at + 1] == "{":
        end = at + 1
        while line[end : end + 1] != "}":
            label = _LABEL.match(line, end)
            if label is None:
                raise TextError(f"not Prometheus text: {line[:80]!r}")
            labels[label[1]] = _unescaped(label[2])[:MAX_LABEL]
            end = label.end()
        at = end + 1
    value = _VALUE.fullmatch(line, at)
    try:
        return name[0], labels, float(value[1] if value else "")
    except ValueError:
        raise TextError(f"not Prometheus text: {line[:80]!r}") from None


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    return _ESCAPES.sub(lambda match: "\n" if match[1] == "n" else match[1], text)

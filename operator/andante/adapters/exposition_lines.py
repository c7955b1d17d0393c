"""Takes the wanted lines out of Prometheus exposition text while the text arrives, within limits.

The text is a tenant's: an engine pod may answer with any text of any length, without end. The operator never holds a
whole body, and parses a limited number of lines and bytes. `prometheus_client`'s parser takes whole texts and has no
limits; a property test compares the results of the two.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache

MAX_BYTES = 2 * 1024 * 1024
"""Bytes of one pod's text. A vLLM engine with 32 QoE classes shows half a MiB."""
MAX_LINES = 2_000
"""Wanted lines of one pod: 32 QoE classes need 900."""
MAX_LINE_BYTES = 2_048
MAX_LABEL = 256
"""Characters of a label's value; a longer value is cut."""

Reading = tuple[str, Mapping[str, str], float]
"""Metric name, labels, value."""

_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\\n]|\\.)*)"\s*(?:,\s*|$)')
_VALUE = re.compile(rb"\s*(\S+)(?:\s+-?\d+(?:\.\d+)?)?\s*")
_ESCAPES = re.compile(r"\\(.)")
_KNOWN_LABELS = 4_096
"""Label sets that are remembered and not parsed again: the pods of one service have the same label sets."""


class TextError(ValueError):
    """The text is too large, or is not exposition text; the message says which."""


class WantedLines:
    """Takes pieces of one pod's text; then `readings` gives the values of the metrics named in `wanted`."""

    def __init__(self, wanted: Collection[str]) -> None:
        self._pattern = _pattern(frozenset(wanted))
        self._bytes = 0
        self._rest = b"\n"
        """The bytes after the last whole line, with the end of that line."""
        self._lines: list[bytes] = []

    def feed(self, piece: bytes) -> None:
        """Take the next piece. Raises TextError when the text is too large."""
        self._bytes += len(piece)
        if self._bytes > MAX_BYTES:
            raise TextError(f"/metrics is larger than {MAX_BYTES} bytes")
        text = self._rest + piece
        end = text.rfind(b"\n")
        self._rest = text[end:]
        if end > 0:
            self._take(text[: end + 1])
        if len(self._rest) > MAX_LINE_BYTES + 1:
            self._take(self._rest + b"\n")
            self._rest = b"\n#"  # the rest of this line is a comment

    def readings(self) -> Iterator[Reading]:
        """The values of the lines. Raises TextError at the first line that cannot be parsed."""
        self._take(self._rest + b"\n")
        self._rest = b"\n"
        return map(_reading, self._lines)

    def _take(self, text: bytes) -> None:
        """Keep the wanted lines of `text`; each line has a line end before it and after it."""
        found = self._pattern.findall(text)
        if len(self._lines) + len(found) > MAX_LINES:
            raise TextError(f"/metrics has more than {MAX_LINES} lines of Andante's")
        for line in found:
            if len(line) > MAX_LINE_BYTES:
                raise TextError(f"a line of {_name_of(line)} is longer than {MAX_LINE_BYTES} bytes")
        self._lines += found


@lru_cache(maxsize=8)
def _pattern(wanted: frozenset[str]) -> re.Pattern[bytes]:
    """A pattern that finds the wanted lines in C: of a page of 1,200 lines about 60 are wanted.

    Each family of names (`andante_`, `vllm:`) has its prefix once: name by name, a line takes three times as long.
    """
    families = itertools.groupby(sorted(wanted), key=lambda name: re.split("(?<=[_:])", name, maxsplit=1)[0])
    rests = ((family, [re.escape(name.removeprefix(family)) for name in names]) for family, names in families)
    names = "|".join(f"{re.escape(family)}(?:{'|'.join(rest)})" for family, rest in rests)
    return re.compile(rb"\n((?:" + names.encode() + rb")(?![a-zA-Z0-9_:])[^\n]*)(?=\n)")


def _name_of(line: bytes) -> str:
    return line.split(b"{", 1)[0].split(None, 1)[0].decode("utf-8", "replace")


def _reading(line: bytes) -> Reading:
    series, brace, said = line.rpartition(b"}")
    try:
        if brace:
            name, _, labels = series.partition(b"{")
            return name.decode().rstrip(), _labels(labels), _value(said)
        name, said = line.split(None, 1)
        if b"{" in name:
            raise ValueError(name)
        return name.decode(), {}, _value(said)
    except ValueError:
        raise TextError(f"not Prometheus text: {line[:80].decode('utf-8', 'replace')!r}") from None


def _value(said: bytes) -> float:
    """The value of a line. Raises ValueError where there is none."""
    try:
        return float(said)
    except ValueError:
        value = _VALUE.fullmatch(said)  # with its timestamp
        return float(value[1] if value else b"")


@lru_cache(maxsize=_KNOWN_LABELS)
def _labels(text: bytes) -> Mapping[str, str]:
    """The labels of a line. Raises ValueError where they cannot be parsed. The result is shared: do not change it."""
    labels: dict[str, str] = {}
    inside = text.decode("utf-8", "replace")
    end = 0
    while end < len(inside):
        label = _LABEL.match(inside, end)
        if label is None:
            raise ValueError(inside[end:])
        labels[label[1]] = _unescaped(label[2])[:MAX_LABEL]
        end = label.end()
    return labels


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    return _ESCAPES.sub(lambda match: "\n" if match[1] == "n" else match[1], text)

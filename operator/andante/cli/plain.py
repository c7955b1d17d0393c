"""Makes texts of a cluster safe and short for a terminal. Pure.

Names, messages and log lines come from tenants: a control character could change what the terminal shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from andante.app.text import clip

_MOST_LINES = 12


def plain(text: object, most: int = 200) -> str:
    """`text` in one line of at most `most` characters; what does not print stands there as an escape."""
    cut = clip(str(text), most)
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in cut)


def plain_lines(text: str, most: int = 1200) -> list[str]:
    """The lines of a longer text, each as `plain` makes it."""
    lines = [line for line in clip(text, most).split("\n") if line.strip()]
    shown = [plain(line, most) for line in lines[:_MOST_LINES]]
    return [*shown, f"… and {len(lines) - _MOST_LINES} more lines"] if len(lines) > _MOST_LINES else shown


def span(seconds: float) -> str:
    """A length of time in its largest whole unit."""
    seconds = max(0.0, seconds)
    for unit, length in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Aligned columns, as kubectl prints them."""
    lines = [header, *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(header))]
    return ["   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]

"""Keeps the scaler's memory small and exact: numbers of four digits and times of a tenth of a second.

All memories of the scaler (`memory`, `law`, `forecast`, `warmup`, `relief`) come from and go to JSON through these.
What a memory holds is rounded when it is learned, so that its text says exactly the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Pair = tuple[float, float]
"""(time, value)."""


def short(value: float) -> float:
    """The value to four significant digits: a forecast needs no more, and a status is written often."""
    return float(f"{value:.4g}")


def short_time(at: float) -> float:
    """A time to a tenth of a second."""
    return round(at, 1)


LARGEST_KNOWN = 1e12
"""Larger than any time, count or measure that a memory holds."""


def number(value: Any, *, least: float = -LARGEST_KNOWN, most: float = LARGEST_KNOWN) -> float:
    """A number from JSON between `least` and `most`. Raises ValueError or TypeError for anything else: it may have been
    edited, and a number that no memory learns may stop the scaler for ever."""
    found = float(value)
    if not least <= found <= most:
        raise ValueError(f"not a number from {least:g} to {most:g}: {found:g}")
    return found


def optional_number(value: Any, *, least: float = -LARGEST_KNOWN) -> float | None:
    """A number of at least `least`, or None for null."""
    return None if value is None else number(value, least=least)


def numbers(
    values: Iterable[Any] | None, *, count: int, least: float = -LARGEST_KNOWN, most: float = LARGEST_KNOWN
) -> tuple[float, ...]:
    """The newest `count` numbers of a list, each between `least` and `most`."""
    return tuple(number(value, least=least, most=most) for value in values or ())[-count:]


def pair(value: Any, *, least: float = -LARGEST_KNOWN) -> Pair:
    """A pair of numbers, the second of at least `least`. Raises ValueError or TypeError for anything else."""
    first, second = value
    return number(first), number(second, least=least)


def optional_pair(value: Any, *, least: float = -LARGEST_KNOWN) -> Pair | None:
    """The same, or None for null."""
    return None if value is None else pair(value, least=least)


def rows_text(rows: Iterable[Sequence[float]]) -> str:
    """Rows of a time and its values as a text: of each but the first row, the time since the row before. Times are to
    a tenth of a second (`short_time`), values to six digits."""
    words, before = [], 0.0
    for at, *values in rows:
        words.append(f"{at - before:.1f}".removesuffix(".0"))
        words += [f"{value:.6g}" for value in values]
        before = at
    return " ".join(words)


def rows(text: Any, *, width: int, most: int) -> tuple[tuple[float, ...], ...]:
    """The newest `most` rows of `width` numbers of a text from `rows_text`; none for null. Raises ValueError or
    TypeError for anything else."""
    if text is None:
        return ()
    if not isinstance(text, str):
        raise TypeError(f"no text: {text!r:.40}")
    found = [number(word) for word in text.split()]
    if len(found) % width:
        raise ValueError("a row is not whole")
    at, told = 0.0, []
    for place in range(0, len(found), width):
        at = short_time(at + found[place])
        told.append((at, *found[place + 1 : place + width]))
    return tuple(told[-most:])


def pairs(text: Any, *, most: int) -> tuple[Pair, ...]:
    """The newest `most` pairs of a text from `rows_text`; none for null."""
    return tuple((at, value) for at, value in rows(text, width=2, most=most))


def times(text: Any, *, most: int) -> tuple[float, ...]:
    """The newest `most` times of a text from `rows_text`; none for null."""
    return tuple(at for (at,) in rows(text, width=1, most=most))


def without_nulls(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state without unknown values and empty texts: the API server keeps no nulls."""
    return {name: value for name, value in state.items() if value is not None and value != ""}


def past(at: float | None, latest: float) -> float | None:
    """The time; None where it is after `latest`: forged, or from a clock that was ahead."""
    return None if at is None or at > latest else at


def past_pair(pair: Pair | None, latest: float) -> Pair | None:
    """The pair; None where its time is after `latest`."""
    return None if pair is None or pair[0] > latest else pair


def past_pairs(known: Sequence[Pair], latest: float) -> tuple[Pair, ...]:
    """The pairs whose time is not after `latest`."""
    return tuple(pair for pair in known if pair[0] <= latest)


def later(known: Sequence[Pair], seconds: float) -> tuple[Pair, ...]:
    """The pairs, so much later."""
    return tuple((short_time(at + seconds), value) for at, value in known)


def grown(bound: Pair | None, now: float, *, seconds: float) -> float | None:
    """A bound (time, value) that grows by a factor e in `seconds`; None where there is none."""
    if bound is None:
        return None
    at, value = bound
    return value * math.exp(min(max(0.0, now - at) / seconds, 50.0))


def since(known: float | None, now: float, *, holds: bool) -> float | None:
    """The time since which something holds without a break; None: it does not."""
    if not holds:
        return None
    return now if known is None else known

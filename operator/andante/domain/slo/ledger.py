"""The ledger of a service's error budget: how many requests were counted, and how many of them were bad, by time.

Prometheus keeps 15 days by default, and a promise runs over 28; so the operator keeps the sums itself, small enough for
the resource's status: hours of the last two days, days before. Pure: time is passed in (Unix seconds).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from andante.domain.slo.promise import DAY, HOUR, Promise

VERSION: Final = 1
HOURS_KEPT: Final = 48
"""Hours that stand alone; those before are summed into days."""
MOST_DAYS: Final = 91
"""Of the longest window that the resource takes, and the day that it begins in."""
LARGEST_KNOWN: Final = 1e15
"""Above any count and any hour that a ledger holds."""
LEAST_BUDGET: Final = 1.0
"""Bad requests that the budget must allow before a share of it says anything: 1 % of 50 requests is half of one."""
RECENT: Final = 6 * HOUR
"""Over which the present burn is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What was counted from `start` on, for `length` seconds."""

    start: float
    length: float
    bad: float
    total: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What the window holds."""

    bad: float
    total: float
    remaining: float
    """Share of the window's error budget that is left, at most 1; below 0: overspent."""
    exhausted_in: float | None
    """Seconds until nothing is left, should the last hours go on; None: it is spent already, or they burn nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TooFewRequests:
    """The window's requests are so few that the budget allows less than one bad one."""

    total: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NothingCounted:
    """No request was counted in the window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Sums by time, oldest first, without overlaps. A new value for each change."""

    epoch: str = ""
    """What a good request was while these were counted; sums of two meanings do not add up."""
    spans: tuple[Span, ...] = ()

    def add(self, *, at: float, bad: float, total: float, epoch: str, window: float = MOST_DAYS * DAY) -> Self:
        """The ledger after `total` requests ended well or badly until `at`, `bad` of them badly.

        Another `epoch` begins a new ledger. What the promise's `window` (seconds) no longer holds is dropped. Raises
        ValueError for counts that cannot be.
        """
        if not (math.isfinite(total) and 0 <= bad <= total):
            raise ValueError(f"cannot count {bad} bad of {total} requests")
        kept = self.spans if epoch == self.epoch else ()
        hour = math.floor(at / HOUR) * HOUR
        if total > 0:
            kept = _added(kept, Span(start=hour, length=HOUR, bad=bad, total=total))
        return dataclasses.replace(self, epoch=epoch, spans=_compact(kept, now=at, window=window))

    def spent(self, promise: Promise, *, now: float) -> Spent | TooFewRequests | NothingCounted:
        """What the promise's window, which ends at `now`, has of its budget.

        A span that began before the window counts for the part of it that lies inside.
        """
        bad, total = self._counted(now - promise.window, now)
        budget = promise.budget(total)
        if total == 0:
            return NothingCounted()
        if 0 < budget < LEAST_BUDGET and bad <= budget:
            return TooFewRequests(total=total)
        remaining = 1 - bad / budget if budget > 0 else 1.0 - (bad > 0)
        return Spent(
            bad=bad,
            total=total,
            remaining=remaining,
            exhausted_in=self._exhausted_in(promise, left=budget - bad, now=now),
        )

    def _exhausted_in(self, promise: Promise, *, left: float, now: float) -> float | None:
        first = self.spans[0].start if self.spans else now
        lasted = min(RECENT, now - first, promise.window)
        bad, total = self._counted(now - lasted, now)
        # The requests to come add to the budget as well as they take from it.
        burn = (bad - promise.budget(total)) / lasted if lasted > 0 else 0.0
        return left / burn if left > 0 and burn > 0 else None

    def _counted(self, begin: float, end: float) -> tuple[float, float]:
        bad = total = 0.0
        for span in self.spans:
            if span.start > end:
                continue
            # The newest span is not over: what it counted was all until now.
            over = min(span.start + span.length, end)
            inside = over - max(span.start, begin)
            share = 1.0 if begin <= span.start else max(0.0, inside) / (over - span.start)
            bad += share * span.bad
            total += share * span.total
        return bad, total

    def to_state(self) -> dict[str, Any]:
        """JSON-ready, at most 2 KB for a window of 28 days.

        `newest`: the hour that the newest span begins in, since 1970; of each hour and each day: how many hours earlier
        it begins, how many requests were bad, and how many there were.
        """
        newest = max((span.start for span in self.spans), default=0.0)

        def of_length(length: float) -> list[list[float | int]]:
            spans = (span for span in self.spans if span.length == length)
            return [[round((newest - s.start) / HOUR), _short(s.bad), _short(s.total)] for s in spans]

        return {"epoch": self.epoch, "newest": round(newest / HOUR), "hours": of_length(HOUR), "days": of_length(DAY)}

    @classmethod
    def from_state(cls, version: int, state: Mapping[str, Any], *, now: float) -> Self:
        """The ledger; an empty one where the format is not known or the content is broken. The future is left out."""
        if version != VERSION:
            return cls()
        try:
            newest = _finite(state.get("newest") or 0)
            spans = tuple(
                Span(start=(newest - _finite(age)) * HOUR, length=length, bad=_finite(bad), total=_finite(total))
                for name, length in (("hours", HOUR), ("days", DAY))
                for age, bad, total in state.get(name) or ()
            )
            epoch = str(state.get("epoch") or "")
        except (TypeError, ValueError, OverflowError, AttributeError):
            return cls()
        sound = (s for s in spans if 0 <= s.bad <= s.total and s.start <= now)
        ordered = _compact(tuple(sorted(sound, key=lambda s: s.start)), now=now)
        return cls(epoch=epoch, spans=ordered)


def _added(spans: tuple[Span, ...], new: Span) -> tuple[Span, ...]:
    """With what is counted now; a clock that was put back adds to the span that holds its time."""
    for place, span in enumerate(spans):
        if span.start <= new.start < span.start + span.length:
            merged = dataclasses.replace(span, bad=span.bad + new.bad, total=span.total + new.total)
            return (*spans[:place], merged, *spans[place + 1 :])
    return tuple(sorted((*spans, new), key=lambda s: s.start))


def _compact(spans: Iterable[Span], *, now: float, window: float = MOST_DAYS * DAY) -> tuple[Span, ...]:
    """Hours that are older than `HOURS_KEPT` become days; what ended before the window goes."""
    oldest_hour = math.floor(now / HOUR) * HOUR - (HOURS_KEPT - 1) * HOUR
    found: list[Span] = []
    for span in spans:
        day = math.floor(span.start / DAY) * DAY
        if span.start + span.length < now - window:
            continue
        if span.length == HOUR and day + DAY <= oldest_hour:
            span = dataclasses.replace(span, start=day, length=DAY)
        last = found[-1] if found else None
        if last is not None and span.start < last.start + last.length:
            found[-1] = dataclasses.replace(last, bad=last.bad + span.bad, total=last.total + span.total)
        else:
            found.append(span)
    return tuple(found)


def _short(value: float) -> float | int:
    return int(value) if value == int(value) else round(value, 3)


def _finite(value: Any) -> float:
    """A number of a state, which may have been edited: sums of too large ones are not finite. Raises ValueError."""
    number = float(value)
    if not abs(number) < LARGEST_KNOWN:
        raise ValueError(f"no count or hour: {number}")
    return number

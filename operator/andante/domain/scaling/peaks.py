"""Keeps the peaks of a window in a few numbers: one for each slice of the window."""

from __future__ import annotations

from andante.domain.scaling.numbers import Pair, short, short_time

MAX_PEAKS = 16


def with_peak(
    peaks: tuple[Pair, ...],
    now: float,
    value: float,
    *,
    window: float,
    zeros: bool = False,
    least: float = 0.0,
) -> tuple[Pair, ...]:
    """The peaks of the last `window` seconds with `value` at `now`. Values up to `least` are not kept, unless `zeros`
    and a larger one is: an idle service's memory must not change with every tick."""
    slice_seconds = max(1.0, window / (MAX_PEAKS - 2))
    kept = [p for p in peaks if now - p[0] <= window + slice_seconds]
    if value <= least and not (zeros and any(one > least for _, one in kept)):
        return tuple(kept)
    if kept and now - kept[-1][0] < slice_seconds:
        kept[-1] = (kept[-1][0], max(kept[-1][1], short(value)))
    else:
        kept.append((short_time(now), short(value)))
    return tuple(kept[-MAX_PEAKS:])

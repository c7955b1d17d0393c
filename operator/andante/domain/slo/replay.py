"""Counts how often an alert would have fired, from the times at which its expression held. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """The alert fired from `start` to `end` (Unix times)."""

    start: float
    end: float


def episodes(held: Iterable[Sequence[float]], *, step: float, wait: float, keep: float) -> tuple[Episode, ...]:
    """When the alert fired, the oldest first.

    `held`: for each series, the times at which the expression held, ascending, asked each `step` seconds. The alert
    fires once a series has held for `wait` seconds (the rule's `for`), and `keep` longer (its `keep_firing_for`).
    Several series that fire at a time are one episode.
    """
    fired = sorted(
        ((run[0] + wait, run[-1] + keep) for times in held for run in _runs(times, step) if run[-1] - run[0] >= wait),
    )
    found: list[Episode] = []
    for start, end in fired:
        if found and start <= found[-1].end + step:
            found[-1] = Episode(start=found[-1].start, end=max(found[-1].end, end))
        else:
            found.append(Episode(start=start, end=end))
    return tuple(found)


def _runs(times: Sequence[float], step: float) -> Iterable[Sequence[float]]:
    start = 0
    for place in range(1, len(times) + 1):
        if place == len(times) or times[place] - times[place - 1] > 1.5 * step:
            yield times[start:place]
            start = place

"""Keeps what was known one horizon ago, in little memory however long the horizon is.

A horizon of 12 minutes has a point for each slot. A longer one has a point for each second slot, or fourth, and so on:
then the point that is compared with the present is a few slots older than the horizon, and never younger.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from andante.domain.scaling.series import EMPTY, Series

MOST_POINTS = 48
"""Points of the grid that are kept."""
MOST_STRIDE = 1 << 13
"""Slots between two points, at the most: a horizon of a month and more."""


class Point(NamedTuple):
    """What was known at the end of one slot, in replicas' worth of work."""

    fast: float
    slow: float
    forecast: float
    """What was expected one horizon later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """The points of a grid of slots, oldest first, and the newest slot."""

    fast: Series = EMPTY
    slow: Series = EMPTY
    forecast: Series = EMPTY
    stride: int = 1
    """Slots between two points of the grid; a power of two."""
    since: int = 0
    """Slots since the newest point of the grid; 0: the newest slot is on the grid, else it is one point more."""

    def __len__(self) -> int:
        return len(self.forecast)

    @property
    def newest(self) -> Point | None:
        """The newest slot; None: there is none."""
        return self._point(len(self) - 1) if len(self) else None

    def before(self, slots: int) -> Point | None:
        """What was known `slots` before the next slot, or as soon before that as a point is kept; None: not known."""
        place = self._place(slots)
        return self._point(place) if place >= 0 else None

    def reaching(self, slots: int) -> Self:
        """The trail with the least stride that reaches `slots` back. A point that a finer stride lacks is the next
        older one, as `before` would have taken."""
        stride = 1
        while 1 + (MOST_POINTS - 1) * stride < slots and stride < MOST_STRIDE:
            stride *= 2
        if stride == self.stride or not len(self):
            return dataclasses.replace(self, stride=stride, since=self.since if len(self) else 0)
        since = self.since % stride
        oldest = self.since + 1 + (self._on_grid - 1) * self.stride
        ages = range(since + 1, oldest + 1, stride)[:MOST_POINTS]
        places = [self._place(age) for age in reversed(ages)]
        if since:
            places.append(len(self) - 1)
        return dataclasses.replace(self._at(places), stride=stride, since=since)

    def appended(self, point: Point) -> Self:
        """The trail with the next slot."""
        grid = self._at(range(self._on_grid)) if self.since else self
        most = MOST_POINTS + 1
        return dataclasses.replace(
            self,
            fast=grid.fast.appended(point.fast, most=most),
            slow=grid.slow.appended(point.slow, most=most),
            forecast=grid.forecast.appended(point.forecast, most=most),
            since=(self.since + 1) % self.stride if len(self) else 0,
        )

    def to_state(self) -> dict[str, Any]:
        """The trail as JSON."""
        series = {name: getattr(self, name).to_text() for name in ("fast", "slow", "forecast")}
        return {**series, "stride": self.stride, "since": self.since}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """The trail. Raises KeyError, ValueError or TypeError for invalid content."""
        fast, slow, forecast = (
            Series.from_text(state[name], most=MOST_POINTS + 1, least=0.0) for name in ("fast", "slow", "forecast")
        )
        stride, since = int(state["stride"]), int(state["since"])
        if not (len(fast) == len(slow) == len(forecast) and 0 <= since < stride <= MOST_STRIDE):
            raise ValueError("the parts of the trail do not fit together")
        if stride & (stride - 1) or (since and len(forecast) < 2):
            raise ValueError("not a grid")
        return cls(fast=fast, slow=slow, forecast=forecast, stride=stride, since=since)

    @property
    def _on_grid(self) -> int:
        return len(self) - (1 if self.since else 0)

    def _point(self, place: int) -> Point:
        return Point(fast=self.fast[place], slow=self.slow[place], forecast=self.forecast[place])

    def _place(self, age: int) -> int:
        """Where the newest point is that is at least `age` slots before the next slot; below 0: there is none."""
        if age <= 1:
            return len(self) - 1
        back = -((self.since + 1 - age) // self.stride)  # rounded up
        return self._on_grid - 1 - max(0, back)

    def _at(self, places: Sequence[int]) -> Self:
        """The points at these places."""
        fast, slow, forecast = (
            Series.of(series.array()[list(places)]) for series in (self.fast, self.slow, self.forecast)
        )
        return dataclasses.replace(self, fast=fast, slow=slow, forecast=forecast)

"""Forecasts the demand at the time at which a replica that is asked for now will serve, and remembers how wrong it was.

Demand is in replicas' worth of work (`capacity`), by slots of 15 s. The forecast lies between the demand of the last
half minute and its mean of 20 minutes. How near to which of the two is learned: it is how much of a deviation was still
there one horizon later. Noise, surges and floods teach each their own: after an hour of small surges that pass, a
demand of four times the usual one is no small surge. The errors of the forecasts are kept for an hour; `replay` turns
them into the replicas that such errors need.

The largest forecast of the last five minutes is in force, as bursts come in groups. The errors are those of each
forecast itself: beside one that a burst still holds up, the next burst would be no error, and no reserve would be kept
for the burst after that.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from andante.domain.scaling.numbers import number, numbers, optional_number, pair, short
from andante.domain.scaling.series import EMPTY, LARGEST, Series, half
from andante.domain.scaling.trail import Point, Trail

VERSION = 3
SLOT_SECONDS = 15.0
"""Length of a slot: the operator's default tick."""
FAST_SLOTS = 2
"""Slots of the fast mean: one slot of a small service is mostly chance."""
SLOW_SECONDS = 1200.0
"""Time of the slow mean: longer than a burst, shorter than a change of the time of day."""
MEMORY_SECONDS = 3600.0
"""How long a deviation counts for what is learned of persistence."""
BIG = 0.35
"""A fast mean this share above the slow one (or above half a replica, if that is more) is a surge. Surges last in
another way than noise does, so what is learned of the one does not count for the other."""
FLOOD = 0.7
"""The same for a flood, which is to a surge what a surge is to noise. From 0.7 to 1 the league's first halves cost the
same, and readers got most at 0.7."""
SUDDEN = 1.5
"""A slot whose demand is this share above the slow mean counts alone: so much is seldom chance, and to wait for the
second slot costs readers."""
PEAK_SLOTS = 20
"""The forecast in force is the largest of the present slot and of so many before it: 5 minutes back, as bursts come in
groups. It is of fewer where the user wants replicas to go sooner."""
KEPT_ERRORS = 240
"""Errors of one hour. More would remember what the service no longer is."""
_ALL_ERRORS = (1 << KEPT_ERRORS) - 1
MOST_MISSED_SLOTS = 9
"""A sample that covers more slots than this says too little about each of them, and the trail starts anew: the longest
interval between two scrapes is 2 minutes, and a scrape may be late."""
LEAST_DEMAND = 0.02
"""Least forecast: an error is measured against the root of the forecast, which must not be 0."""
IDLE_DEMAND = 0.005
"""Slow mean below which a service without requests counts as idle."""
ERROR_FLOOR = 0.1
"""Least forecast in whose unit an error is measured."""
PRIOR_SMALL, PRIOR_BIG = 0.02, 0.1
"""Weight of the prior that a deviation lasts, in units of the slow mean (noise) and of its square (surges)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The demand's recent past, and what was learned from it."""

    at: float | None = None
    """Time of the newest sample; None: there was none yet."""
    filling: tuple[float, float] = (0.0, 0.0)
    """(seconds, work times seconds) of the slot that is not full yet."""
    ahead: float = 0.0
    """Seconds by which the samples are ahead of the slots: a slot is made of whole samples, which are never exactly as
    long as it is. Below 0: behind."""
    last: tuple[float, ...] = ()
    """Demand of the newest slots of the fast mean, oldest first."""
    slow: float = 0.0
    slots: int = 0
    """Slots so far, up to the length of the slow mean."""
    noise: tuple[float, float] = (0.0, 0.0)
    """(sum of products, sum of squares) of the small deviations then and now."""
    surges: tuple[float, float] = (0.0, 0.0)
    """The same of the surges."""
    floods: tuple[float, float] = (0.0, 0.0)
    """The same of the floods."""
    recent: Series = EMPTY
    """The newest forecasts, oldest first."""
    trail: Trail = dataclasses.field(default_factory=Trail)
    """What was known at the ends of the newest slots."""
    errors: Series = EMPTY
    """(demand - forecast) / root of the forecast, oldest first."""
    in_surges: int = 0
    """Bits, the newest error's the lowest: whether its forecast was made in a surge."""

    @property
    def peak(self) -> float | None:
        """The forecast in force; None: no slot is full yet."""
        return float(self.recent.array().max()) if len(self.recent) else None

    @property
    def newest(self) -> float:
        """The newest forecast, of the demand one horizon ahead; the least one before the first slot is full."""
        return LEAST_DEMAND if self.trail.newest is None else self.trail.newest.forecast

    @property
    def present(self) -> float:
        """The demand from which the newest forecast was made; 0: no slot is full yet."""
        return _seen(self.last, self.slow) if self.last else 0.0

    @property
    def errors_now(self) -> NDArray[np.float64]:
        """The errors of forecasts that were made as the present one is, in a surge or not; 0 in place of the others. A
        surge is not followed by another one on top of it: laid around the demand of a surge, the errors of quiet times
        would buy for twice its height."""
        errors = self.errors.array()
        bits = np.frombuffer(self.in_surges.to_bytes(KEPT_ERRORS // 8), dtype=np.uint8)
        in_surges = np.unpackbits(bits)[KEPT_ERRORS - len(errors) :].astype(bool)
        surges_now = _share_above(self.present, self.slow) > BIG
        return np.where(in_surges == surges_now, errors, 0.0)

    @property
    def is_idle(self) -> bool:
        """Whether there has been no demand for so long that nothing is left of it."""
        return self.peak is not None and self.slow < IDLE_DEMAND and self.peak <= half(LEAST_DEMAND)

    def new_seconds(self, at: float, *, window: float) -> float:
        """Seconds for which a sample at `at` stands: the time since the sample before it. Its own `window` is longer
        where pods are scraped in turn and more seldom than once a tick. After a gap only the window is known, and after
        an idle time, of which nothing is learned, the rest was without demand."""
        if self.at is None:
            return window
        since = at - self.at
        if self.is_idle:
            return min(since, window)
        return since if since <= MOST_MISSED_SLOTS * SLOT_SECONDS else window

    def learned(self, work: float, *, at: float, seconds: float, horizon_slots: int, peak_slots: int) -> Self:
        """The forecast after a sample at `at`, in whose `seconds` (`new_seconds`) the demand was `work`. `peak_slots`:
        slots before the present one whose forecasts are still in force."""
        if self.at is not None and at <= self.at:
            return self  # the same sample, seen again
        # While a service is idle, nothing is learned: the trail says all that there is to say of this time.
        lost = self.at is not None and not self.is_idle and at - self.at > MOST_MISSED_SLOTS * SLOT_SECONDS
        state = dataclasses.replace(self, at=at)
        if lost or seconds > MOST_MISSED_SLOTS * SLOT_SECONDS:
            state = state._without_past()
        filled, weighed = state.filling[0] + seconds, state.filling[1] + work * seconds
        slots = min(MOST_MISSED_SLOTS, round((state.ahead + filled) / SLOT_SECONDS))
        if slots < 1:
            return dataclasses.replace(state, filling=(round(filled, 3), round(weighed, 4)))
        ahead = min(SLOT_SECONDS / 2, round(state.ahead + filled - slots * SLOT_SECONDS, 3))
        for _ in range(slots):
            state = state._slot(short(weighed / filled), horizon_slots, peak_slots)
        return dataclasses.replace(state, filling=(0.0, 0.0), ahead=ahead)

    def _slot(self, demand: float, horizon: int, peak_slots: int) -> Self:
        last = (*self.last, demand)[-FAST_SLOTS:]
        fast = _mean(last)
        slots = min(self.slots + 1, round(SLOW_SECONDS / SLOT_SECONDS))
        slow = short(self.slow + max(-math.expm1(-SLOT_SECONDS / SLOW_SECONDS), 1 / slots) * (demand - self.slow))
        learned = {
            "noise": _decayed(self.noise),
            "surges": _decayed(self.surges),
            "floods": _decayed(self.floods),
        }
        errors, in_surges = self.errors, self.in_surges
        trail = self.trail.reaching(horizon)
        then = trail.before(horizon)
        if then is not None:
            deviation, kind = then.fast - then.slow, _kind(then.fast, then.slow)
            products, squares = learned[kind]
            products, squares = products + deviation * (fast - then.slow), squares + deviation * deviation
            learned[kind] = (short(products), short(squares))
            error = (demand - then.forecast) / math.sqrt(max(then.forecast, ERROR_FLOOR))
            errors = errors.appended(error, most=KEPT_ERRORS)
            in_surges = (in_surges << 1 | (kind != "noise")) & _ALL_ERRORS
        seen = _seen(last, slow)
        persistence = _persistence(seen, slow, learned[_kind(seen, slow)])
        forecast = max(LEAST_DEMAND, slow + persistence * (seen - slow))
        return dataclasses.replace(
            self,
            last=last,
            slow=slow,
            slots=slots,
            errors=errors,
            in_surges=in_surges,
            recent=self.recent.appended(forecast, most=peak_slots + 1),
            trail=trail.appended(Point(fast=seen, slow=slow, forecast=forecast)),
            noise=learned["noise"],
            surges=learned["surges"],
            floods=learned["floods"],
        )

    def without_future(self, latest: float) -> Self:
        """The forecast without a sample after `latest`: what was learned stays, the recent past is dropped."""
        if self.at is None or self.at <= latest:
            return self
        return dataclasses.replace(self._without_past(), at=None)

    def _without_past(self) -> Self:
        """The forecast where the newest slots are not known."""
        return dataclasses.replace(self, filling=(0.0, 0.0), ahead=0.0, last=(), recent=EMPTY, trail=Trail())

    def to_state(self) -> dict[str, Any]:
        """The forecast as JSON."""
        return {
            "v": VERSION,
            **({} if self.at is None else {"at": self.at}),
            "filling": list(self.filling),
            "ahead": self.ahead,
            "last": list(self.last),
            "slow": self.slow,
            "slots": self.slots,
            "noise": list(self.noise),
            "surges": list(self.surges),
            "floods": list(self.floods),
            "recent": self.recent.to_text(),
            "trail": self.trail.to_state(),
            "errors": self.errors.to_text(),
            "inSurges": f"{self.in_surges:x}",
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """The forecast; empty where the format is not known. Raises KeyError, IndexError, ValueError or TypeError for
        invalid content."""
        if state.get("v") != VERSION:
            return cls()
        seconds, weighed = numbers(state["filling"], count=2, least=0.0)
        return cls(
            at=optional_number(state.get("at")),
            filling=(min(seconds, SLOT_SECONDS), weighed),
            ahead=number(state["ahead"], least=-SLOT_SECONDS, most=SLOT_SECONDS),
            last=numbers(state.get("last"), count=FAST_SLOTS, least=0.0, most=LARGEST),
            slow=number(state["slow"], least=0.0, most=LARGEST),
            slots=min(max(0, int(state["slots"])), round(SLOW_SECONDS / SLOT_SECONDS)),
            noise=pair(state["noise"], least=0.0),
            surges=pair(state["surges"], least=0.0),
            floods=pair(state.get("floods", (0.0, 0.0)), least=0.0),
            recent=Series.from_text(state["recent"], most=PEAK_SLOTS + 1, least=0.0),
            trail=Trail.from_state(state["trail"]),
            errors=Series.from_text(state["errors"], most=KEPT_ERRORS),
            in_surges=int(state["inSurges"], 16) & _ALL_ERRORS,
        )


def _decayed(sums: tuple[float, float]) -> tuple[float, float]:
    factor = math.exp(-SLOT_SECONDS / MEMORY_SECONDS)
    return short(factor * sums[0]), short(factor * sums[1])


def _mean(last: Sequence[float]) -> float:
    return sum(last) / len(last)


def _seen(last: Sequence[float], slow: float) -> float:
    """The demand from which a forecast is made: the mean of the `last` slots, or the newest one after a sudden rise."""
    return max(_mean(last), last[-1]) if _share_above(last[-1], slow) > SUDDEN else _mean(last)


def _share_above(fast: float, slow: float) -> float:
    return (fast - slow) / max(slow, 0.5)


def _kind(fast: float, slow: float) -> Literal["noise", "surges", "floods"]:
    """What the deviation of `fast` is, and what it teaches."""
    above = _share_above(fast, slow)
    return "noise" if above <= BIG else "surges" if above <= FLOOD else "floods"


def _persistence(fast: float, slow: float, learned: tuple[float, float]) -> float:
    """The share of the present deviation that will be there at the horizon, 0 to 1; 1 before anything was `learned`: a
    surge that is taken for noise costs readers, noise that is taken for a surge costs a replica for some minutes."""
    size = max(slow, 0.5)
    products, squares = learned
    prior = PRIOR_SMALL * size if _kind(fast, slow) == "noise" else PRIOR_BIG * size * size
    return min(1.0, max(0.0, (products + prior) / (squares + prior)))

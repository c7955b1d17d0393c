"""How much of a replica's reckoned capacity the plan counts on, learned from what readers lose.

The capacity is reckoned from means: the fitted step time, and the mean lengths of the requests. Requests of very
different lengths, or connections that are not spread, make readers late at loads that the means allow. So the plan
begins with less than the reckoned capacity. While readers lose less than the budget allows, it counts on more, up to
all of it; while they lose more, on less (integral control of the loss). Each request counts once: a quiet night is no
evidence.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from andante.domain.scaling.numbers import (
    Pair,
    grown,
    number,
    optional_number,
    optional_pair,
    past,
    past_pair,
    since,
    without_nulls,
)

VERSION = 1
START = 0.8
"""Share of the reckoned capacity while nothing was measured. A search on the first halves of six workloads found
START, SECONDS and WORST."""
LEAST = 0.65
"""Least share: below it, something else than the lengths makes readers late (the measured ceiling of `law`)."""
SECONDS = 5400.0
"""Time in which the share grows by a factor e: at the usual rate of requests, on full replicas, without any loss."""
WORST = -4.0
"""Evidence of requests that lost five times the budget or more; that of a request without a loss is 1."""
BACK_OFF = 0.95
"""The share stays at least this much below one at which readers lost more than the budget, until that is forgotten:
growth back to it would try the same again and again."""
ENOUGH_WINDOWS = 3.0
"""Windows of the measures for which there must have been as many replicas as the plan wanted: readers who wait since
before are late although the replicas are enough now."""


def _fine(share: float) -> float:
    """Six digits: what a second's requests tell on replicas that are half busy is less than the fourth one."""
    return float(f"{share:.6g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the newest requests tell. `loss`: what they lost on average (QoE, or the share of them that were not good).
    `budget`: the loss that the target allows, > 0. `requests`: their number. `usual_rate`: requests/s, > 0. `load`:
    work that arrives for each ready replica, in what one is reckoned to carry."""

    loss: float
    budget: float
    requests: float
    usual_rate: float
    load: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Derating:
    """The share that was learned. Times are seconds of the caller's clock."""

    share: float = START
    """Share of the reckoned capacity that the plan counts on."""
    lost_at: Pair | None = None
    """(time, share) at which readers lost more than the budget with enough replicas; None: they never did."""
    enough_since: float | None = None
    """Time since which there have been as many replicas as the plan wanted at every tick."""

    def learned(
        self, new: Evidence, now: float, *, enough: bool, relievable: bool, window: float, forget: float
    ) -> Self:
        """The share after `new`. `enough`: whether there are as many replicas as the plan wants: what readers lose
        while replicas are on their way was lost by the forecast. `relievable`: whether more replicas would relieve
        the readers who are late. `window`: seconds of the measures; `forget`: seconds in which the share at which
        readers lost grows by a factor e. The control is ours, without a source."""
        known = dataclasses.replace(self, enough_since=since(self.enough_since, now, holds=enough))
        value = max(WORST, 1 - new.loss / new.budget)
        if value < 0 and not (enough and relievable):
            return known
        if value > 0:  # replicas with little to do do not show that they can do more
            value *= min(1.0, new.load / known.share)
        share = known.share * math.exp(value * new.requests / (new.usual_rate * SECONDS))
        share = _fine(min(1.0, max(LEAST, share)))
        if share < known.share:
            for_long = known.enough_since is not None and now - known.enough_since >= ENOUGH_WINDOWS * window
            lost_at = (now, known.share) if for_long else known.lost_at
            return dataclasses.replace(known, share=share, lost_at=lost_at)
        bound = grown(known.lost_at, now, seconds=forget)
        if bound is not None:
            share = max(known.share, min(share, _fine(BACK_OFF * bound)))
        return dataclasses.replace(known, share=share)

    def without_quiet(self) -> Self:
        """The share where it is not known what happened since."""
        return dataclasses.replace(self, enough_since=None)

    def without_future(self, latest: float) -> Self:
        """The share without times after `latest`."""
        return dataclasses.replace(
            self, lost_at=past_pair(self.lost_at, latest), enough_since=past(self.enough_since, latest)
        )

    def to_state(self) -> dict[str, Any]:
        """The share as JSON; unknown values are left out."""
        state = {
            "v": VERSION,
            "share": self.share,
            "lostAt": None if self.lost_at is None else list(self.lost_at),
            "enoughSince": self.enough_since,
        }
        return without_nulls(state)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """The share; as at the beginning where the format is not known. Raises ValueError or TypeError for invalid
        content."""
        if state.get("v") != VERSION:
            return cls()
        return cls(
            share=number(state["share"], least=LEAST, most=1.0),
            lost_at=optional_pair(state.get("lostAt"), least=0.0),
            enough_since=optional_number(state.get("enoughSince")),
        )

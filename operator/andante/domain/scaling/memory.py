"""Holds the scaler's memory, which must survive the operator's restart: small, versioned, kept in the CR's status."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from andante.domain.scaling.law import Plan
from andante.domain.scaling.numbers import (
    Pair,
    later,
    optional_number,
    optional_pair,
    pairs,
    past,
    past_pair,
    past_pairs,
    rows_text,
    short_time,
    without_nulls,
)
from andante.domain.scaling.peaks import MAX_PEAKS
from andante.domain.scaling.relief import Relief
from andante.domain.scaling.warmup import Warmup

VERSION = 2
MAX_CHANGES = 120
"""A change at each default tick of the longest period: a rate limit must count all of them."""
LONGEST_PERIOD = 1800.0
"""Seconds for which changes are remembered, as the longest period of a rate limit."""
MAX_RUNS = 6
"""Runs that are remembered: enough for five direction changes, one more than a guard accepts."""
CLOCK_TOLERANCE = 60.0
"""Seconds by which two machines' clocks may differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The scaler's memory. All times are seconds of the caller's clock (Unix time in production)."""

    carried: float | None = None
    """Open requests per replica that were carried without a deficit; None: nothing learned yet."""
    ceiling: Pair | None = None
    """(time, open requests per replica) of the load that caused a deficit; None: no deficit yet."""
    recent: tuple[Pair, ...] = ()
    """(time, open requests per replica) of the last `settle` seconds, oldest first."""
    quiet_since: float | None = None
    """Time since which there was no deficit, as if short gaps in the metrics had not been; None: not quiet."""
    blind_since: float | None = None
    """Time since which the metrics are missing, stale or partial; None: they are whole."""
    deficit_since: float | None = None
    """Time since which the deficit has been above the tolerated deficit."""
    peaks: tuple[Pair, ...] = ()
    """(time, open requests of all replicas) of the peaks in the quiet time, oldest first."""
    ready: int = 0
    """Ready replicas that the measured deficit knows of: the most since replicas were removed or long gone."""
    ready_since: float | None = None
    """When `ready` last rose."""
    short_since: float | None = None
    """Time since which fewer than `ready` replicas have been ready."""
    changes: tuple[tuple[float, int], ...] = ()
    """(time, replicas before the change) of the newest changes, oldest first, for the rate limits."""
    runs: tuple[tuple[float, int], ...] = ()
    """(time, 1 or -1) of the first change of the newest runs of additions and of removals, oldest first."""
    warmup: Warmup = field(default_factory=Warmup)
    relief: Relief = field(default_factory=Relief)
    plan: Plan = field(default_factory=Plan)

    def replicas_at(self, moment: float, present: int) -> int:
        """Replicas that were asked for at `moment`, when `present` replicas are asked for now."""
        return next((before for at, before in self.changes if at > moment), present)

    def reached_again(self, present: int, *, since: float) -> int:
        """The most replicas of which some were removed after `since` and had to be added again, when `present` replicas
        are asked for now; 0: there were none."""
        after, later, reached = present, 0, 0
        for at, before in reversed(self.changes):
            if at <= since:
                break
            if before > after and later > after:
                reached = max(reached, min(before, later))
            later, after = max(later, after), before
        return reached

    @property
    def falling(self) -> bool:
        """Whether the last change was a removal."""
        return bool(self.runs) and self.runs[-1][1] < 0

    def turns(self, *, since: float) -> int:
        """Direction changes after `since`, at most `MAX_RUNS` - 1: the first run that is known turned nothing."""
        return sum(at > since for at, _ in self.runs[1:])

    def without_quiet(self) -> Self:
        """The memory without its quiet time, where it is not known what happened since, or how long ago it was."""
        return dataclasses.replace(
            self,
            quiet_since=None,
            blind_since=None,
            peaks=(),
            relief=self.relief.without_quiet(),
            plan=self.plan.without_quiet(),
        )

    def seeing_again(self, now: float, *, longest: float) -> Self:
        """The memory once the metrics are whole again: a gap of at most `longest` seconds pauses the quiet time, so the
        quiet time and its peaks move on by the gap; a longer gap ends it."""
        if self.blind_since is None:
            return self
        gap = now - self.blind_since
        if not 0 <= gap <= longest:
            return self.without_quiet()
        memory = dataclasses.replace(self, blind_since=None, plan=self.plan.later(gap))
        if memory.quiet_since is None:
            return dataclasses.replace(memory, peaks=())
        return dataclasses.replace(
            memory,
            quiet_since=memory.quiet_since + gap,
            peaks=later(memory.peaks, gap),
        )

    def with_change(self, *, now: float, before: int, after: int) -> Self:
        """The memory after the replicas were changed from `before` to `after`."""
        at, sign = short_time(now), 1 if after > before else -1
        kept = tuple(c for c in self.changes if now - c[0] <= LONGEST_PERIOD)
        goes_on = bool(self.runs) and self.runs[-1][1] == sign
        return dataclasses.replace(
            self,
            changes=(*kept, (at, before))[-MAX_CHANGES:],
            runs=self.runs if goes_on else (*self.runs, (at, sign))[-MAX_RUNS:],
        )

    def without_future(self, now: float) -> Self:
        """The memory without times later than `now` plus `CLOCK_TOLERANCE`. Times in the future, forged or from a clock
        that was ahead, would stop the scaler until then.
        """
        latest = now + CLOCK_TOLERANCE
        return dataclasses.replace(
            self,
            ceiling=past_pair(self.ceiling, latest),
            recent=past_pairs(self.recent, latest),
            quiet_since=past(self.quiet_since, latest),
            blind_since=past(self.blind_since, latest),
            deficit_since=past(self.deficit_since, latest),
            peaks=past_pairs(self.peaks, latest),
            ready_since=past(self.ready_since, latest),
            short_since=past(self.short_since, latest),
            warmup=self.warmup.without_future(latest),
            relief=self.relief.without_future(latest),
            plan=self.plan.without_future(latest),
            changes=tuple(c for c in self.changes if c[0] <= latest),
            runs=tuple(r for r in self.runs if r[0] <= latest),
        )

    def to_state(self) -> dict[str, Any]:
        """The memory as JSON; unknown values are left out, as the API server keeps no nulls."""
        state = {
            "carried": self.carried,
            "ceiling": None if self.ceiling is None else list(self.ceiling),
            "recent": rows_text(self.recent),
            "quietSince": self.quiet_since,
            "blindSince": self.blind_since,
            "deficitSince": self.deficit_since,
            "peaks": rows_text(self.peaks),
            "ready": self.ready,
            "readySince": self.ready_since,
            "shortSince": self.short_since,
            "changes": rows_text(self.changes),
            "runs": rows_text(self.runs),
            "warmup": self.warmup.to_state(),
            "relief": self.relief.to_state(),
            "plan": self.plan.to_state(),
        }
        return without_nulls(state)

    @classmethod
    def from_state(cls, version: int, state: Mapping[str, Any]) -> Self:
        """The memory; empty where the format is not known or the content is invalid."""
        if version != VERSION:
            return cls()
        try:
            return cls(
                carried=optional_number(state.get("carried"), least=0.0),
                ceiling=optional_pair(state.get("ceiling"), least=0.0),
                recent=pairs(state.get("recent"), most=MAX_PEAKS),
                quiet_since=optional_number(state.get("quietSince")),
                blind_since=optional_number(state.get("blindSince")),
                deficit_since=optional_number(state.get("deficitSince")),
                peaks=pairs(state.get("peaks"), most=MAX_PEAKS),
                ready=int(state.get("ready") or 0),
                ready_since=optional_number(state.get("readySince")),
                short_since=optional_number(state.get("shortSince")),
                changes=tuple((at, int(before)) for at, before in pairs(state.get("changes"), most=MAX_CHANGES)),
                runs=tuple((at, 1 if sign > 0 else -1) for at, sign in pairs(state.get("runs"), most=MAX_RUNS)),
                warmup=Warmup.from_state(state.get("warmup") or {}),
                relief=Relief.from_state(state.get("relief") or {}),
                plan=Plan.from_state(state.get("plan") or {}),
            )
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError):
            return cls()

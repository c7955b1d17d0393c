"""Keeps what a law has seen: samples of the last seconds, and the traffic between two moments."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise

from andante.sim.fleet.seen import Totals


@dataclass(slots=True)
class Window:
    """Samples of the last `seconds`. A sample that is exactly `seconds` old has left."""

    seconds: float
    samples: deque[tuple[float, float]] = field(default_factory=deque)
    """(time, value), oldest first."""

    def add(self, now: float, value: float) -> None:
        self.samples.append((now, value))
        self.forget(now)

    def forget(self, now: float) -> None:
        while self.samples and self.samples[0][0] <= now - self.seconds:
            self.samples.popleft()

    @property
    def values(self) -> list[float]:
        return [value for _, value in self.samples]

    @property
    def mean(self) -> float | None:
        """None without a sample."""
        return sum(self.values) / len(self.samples) if self.samples else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What arrived and what ended in a stretch of time."""

    seconds: float
    arrived: float
    prompt_tokens: float | None
    """Mean of the arrived requests' prompts; None: nothing arrived."""
    output_tokens: float | None
    """Mean of the ended requests' answers; None: nothing ended."""

    @property
    def per_second(self) -> float:
        return self.arrived / self.seconds


@dataclass(slots=True)
class Counters:
    """The counters of the last `seconds`, and the lengths that were last known."""

    seconds: float
    samples: deque[tuple[float, Totals]] = field(default_factory=deque)

    def add(self, now: float, totals: Totals | None) -> None:
        """Keep the counters that are seen at `now`, and of before one sample that is at least `seconds` older.

        Counters that were scraped no later than those of before say nothing new.
        """
        if totals is None:
            return
        at, _ = sample = scraped(now, totals)
        if self.samples and at <= self.samples[-1][0]:
            return
        self.samples.append(sample)
        while len(self.samples) > 2 and self.samples[1][0] <= at - self.seconds:
            self.samples.popleft()

    def traffic(self) -> Traffic | None:
        """Over the whole window; None before two samples exist."""
        return between(self.samples[0], self.samples[-1]) if len(self.samples) > 1 else None

    def steps(self) -> list[Traffic]:
        """From each sample to the next."""
        return [between(one, other) for one, other in pairwise(self.samples)]


def scraped(now: float, totals: Totals) -> tuple[float, Totals]:
    """Counters that are seen at `now`, with the time at which they were scraped."""
    return (now if totals.at is None else totals.at), totals


def between(one: tuple[float, Totals], other: tuple[float, Totals]) -> Traffic:
    """Traffic from the first sample to the second, which must be later."""
    (start, before), (end, after) = one, other
    arrived, ended = after.arrived - before.arrived, after.ended - before.ended
    return Traffic(
        seconds=end - start,
        arrived=arrived,
        prompt_tokens=(after.arrived_prompt_tokens - before.arrived_prompt_tokens) / arrived if arrived > 0 else None,
        output_tokens=(after.ended_output_tokens - before.ended_output_tokens) / ended if ended > 0 else None,
    )


def lengths(traffic: Traffic | None) -> tuple[float, float]:
    """Mean prompt and answer of a stretch of traffic, tokens; 0 where not known."""
    if traffic is None:
        return 0.0, 0.0
    return traffic.prompt_tokens or 0.0, traffic.output_tokens or 0.0

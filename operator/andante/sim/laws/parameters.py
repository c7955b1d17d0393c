"""Describes what a tuner may change of a law, and what all laws have in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import ClassVar

from andante.sim.fleet.seen import Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One number of a law, and the range in which a tuner may look."""

    name: str
    """A field of the law."""
    low: float
    high: float
    whole: bool = False
    logarithmic: bool = False
    """Whether steps are factors; needs low > 0."""

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"{self.name}: low must be below high, got {self.low} and {self.high}")
        if self.logarithmic and self.low <= 0:
            raise ValueError(f"{self.name}: a logarithmic range starts above 0, got {self.low}")

    def at(self, share: float) -> float:
        """The value at `share` of the range, in [0, 1]."""
        share = min(max(share, 0.0), 1.0)
        if self.logarithmic:
            value = self.low * (self.high / self.low) ** share
        else:
            value = self.low + (self.high - self.low) * share
        value = min(max(value, self.low), self.high)
        return float(round(value)) if self.whole else value

    def share(self, value: float) -> float:
        """Where `value` lies in the range, in [0, 1]."""
        if self.logarithmic:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(max(share, 0.0), 1.0)


_MAY_BE_ZERO = frozenset(
    {
        "min_replicas", "replicas", "fallback_replicas", "down_window", "window", "cooldown", "up_tolerance",
        "down_tolerance", "down_at", "kv_trigger", "queue_trigger", "queued_output", "predictor_error", "seed",
    }
)  # fmt: skip
"""Settings of laws by which nothing is divided, and whose 0 means something."""


@dataclass(kw_only=True)
class RivalLaw(ABC):
    """What the laws have in common: the bounds and the period. Each law is a dataclass: its fields are its settings."""

    min_replicas: int = 1
    max_replicas: int = 64
    period: float = 15.0
    """Seconds between two decisions."""

    PARAMETERS: ClassVar[tuple[Parameter, ...]] = ()
    """What a tuner may change. The law's defaults are its authors'."""

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name, None) if setting.init else None
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            least_is_in = setting.name in _MAY_BE_ZERO
            if not (math.isfinite(value) and (value >= 0 if least_is_in else value > 0)):
                kind = ">= 0" if least_is_in else "> 0"
                raise ValueError(f"{setting.name} must be a finite number {kind}, got {value}")
        if not 0 <= self.min_replicas <= self.max_replicas or self.max_replicas < 1:
            raise ValueError(f"0 <= min_replicas <= max_replicas, got {self.min_replicas} and {self.max_replicas}")

    @classmethod
    def parameters(cls) -> tuple[Parameter, ...]:
        """What a tuner may change, with ranges. The bounds and the period of decisions are not among it."""
        return cls.PARAMETERS

    @abstractmethod
    def wanted(self, seen: Seen) -> int:
        """Replicas to ask for now."""

    def bounded(self, replicas: float) -> int:
        """`replicas` within the bounds."""
        return int(min(max(replicas, self.min_replicas), self.max_replicas))


def readable_values(values: Iterable[float | None]) -> list[float]:
    """The values that were read and are numbers."""
    return [value for value in values if value is not None and not math.isnan(value)]


def total(values: Iterable[float | None]) -> float | None:
    """Sum over the series that exist, as PromQL's sum(); None without any."""
    known = readable_values(values)
    return sum(known) if known else None

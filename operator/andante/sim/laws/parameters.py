"""Describes what a tuner may change of a law, and what all laws have in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
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
        if not 0 <= self.min_replicas <= self.max_replicas or self.max_replicas < 1:
            raise ValueError(f"0 <= min_replicas <= max_replicas, got {self.min_replicas} and {self.max_replicas}")
        if not self.period > 0:
            raise ValueError(f"period must be seconds > 0, got {self.period}")

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

"""Defines the data that a run of the demo collects for its report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hack.demo.watch import Sample
from hack.demo.workload import Surge


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPoint:
    """The results of the readers in one slice of the replay."""

    at: float
    """End of the slice, seconds since the replay began."""
    arrivals_per_second: float
    mean_qoe: float | None
    """Mean QoE of the requests that ended in the slice; None where none ended."""
    open_requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """All data of one run of the demo."""

    headlines: Sequence[tuple[str, str, str]]
    """The most important figures: name, value, meaning."""
    table: Sequence[tuple[str, str]]
    """All figures: name, value."""
    complaints: Sequence[str]
    """What went wrong, in sentences; empty when the demo showed what it promises."""
    surge: Surge
    target_qoe: float
    """QoE of the service's objective."""
    points: Sequence[ClientPoint]
    samples: Sequence[Sample]
    changes: Sequence[Sample]
    """The sample at which each new number of replicas was wanted."""

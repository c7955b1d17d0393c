"""Defines the data that a run of the demo collects for its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from andante.cli.bench import RequestResult
from hack.demo.pod_lives import PodLife
from hack.demo.watch import Sample
from hack.demo.workload import Surge


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPoint:
    """The clients in one slice of the replay."""

    at: float
    """End of the slice, seconds since the replay began."""
    arrivals_per_second: float
    mean_qoe: float | None
    """Mean QoE of the requests that ended in the slice; None where none ended."""
    open_requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One service under the replay: Andante's, or the rival's."""

    name: str
    """For a table's head."""
    results: Sequence[RequestResult]
    """One for each request, by their numbers: the same number is the same request on both sides."""
    scores: Mapping[str, Any]
    """`summarise` of the results."""
    points: Sequence[ClientPoint]
    samples: Sequence[Sample]
    changes: Sequence[Sample]
    """The sample at which each new number of replicas was wanted."""
    pods: Sequence[PodLife]

    @property
    def end(self) -> float:
        """Second at which the side was watched last."""
        return max((s.at for s in self.samples), default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """All data of one run of the demo."""

    ours: Side
    complaints: Sequence[str]
    """What went wrong on our side, in sentences; empty when the demo showed what it promises."""
    surge: Surge
    target_qoe: float
    """QoE of the service's objective."""
    rival: Side | None = None
    """The same arrivals at the rival."""
    no_rival: str | None = None
    """Why there is no rival, as a sentence."""

    @property
    def sides(self) -> tuple[Side, ...]:
        return (self.ours,) if self.rival is None else (self.ours, self.rival)

    @property
    def until(self) -> float:
        """Second until which both sides are paid: where the longer one ends. The other has its last pods until then."""
        return max(side.end for side in self.sides)

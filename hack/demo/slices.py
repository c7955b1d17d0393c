"""Reckons over time what readers got who came at one time. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from andante.cli.bench import RequestResult
from hack.demo.pod_lives import PodLife
from hack.demo.workload import Surge

SLICE_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """The readers who came in one slice of time."""

    since: float
    """Begin of the slice, seconds since the replay began."""
    readers: int
    mean_qoe: float


def by_arrival(results: Sequence[RequestResult], *, seconds: float = SLICE_SECONDS) -> list[Arrived]:
    """Mean QoE of whole answers by the time of the question; a slice without readers is left out."""
    slices: dict[int, list[float]] = {}
    for result in results:
        if result.score.qoe is not None:
            slices.setdefault(int(result.arrival // seconds), []).append(result.score.qoe)
    return [
        Arrived(since=number * seconds, readers=len(qoe), mean_qoe=sum(qoe) / len(qoe))
        for number, qoe in sorted(slices.items())
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class InTime:
    """Whether a surge's first replica was ready before readers had been below the target for a warm-up."""

    below_since: float | None
    """When the first slice of the surge began whose readers were below the target; None: none was."""
    first_ready: float | None
    """When the first replica served that was bought; None: none did."""
    warm_up: float | None
    """That replica's own seconds from its creation until it served."""

    @property
    def kept(self) -> bool:
        """Readers were not below the target for longer than the warm-up before the replica served."""
        if self.below_since is None:
            return True
        if self.first_ready is None or self.warm_up is None:
            return False
        return self.first_ready - self.below_since <= self.warm_up


def in_time(slices: Sequence[Arrived], pods: Sequence[PodLife], *, surge: Surge, target: float) -> InTime:
    """When readers fell below the target in the surge, beside when the first bought replica served."""
    end = surge.start + surge.duration
    below = [s.since for s in slices if surge.start <= s.since < end and s.mean_qoe < target]
    served = [pod for pod in pods if pod.bought and pod.ready is not None]
    first = min(served, key=lambda pod: pod.ready or 0.0, default=None)
    return InTime(
        below_since=min(below, default=None),
        first_ready=first.ready if first else None,
        warm_up=first.warm_up if first else None,
    )

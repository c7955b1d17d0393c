"""Follows the pods of a service: when each was bought, served, began to leave, and was gone. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSeen:
    """One pod at one moment."""

    name: str
    ready: bool
    leaving: bool
    """Whether its deletion has begun: it drains."""

    @classmethod
    def of(cls, pod: Mapping[str, Any]) -> PodSeen:
        """From the pod as the API server shows it."""
        conditions = (pod.get("status") or {}).get("conditions") or []
        return cls(
            name=pod["metadata"]["name"],
            ready=any(c["type"] == "Ready" and c["status"] == "True" for c in conditions),
            leaving=bool(pod["metadata"].get("deletionTimestamp")),
        )


@dataclass(slots=True, kw_only=True)
class PodLife:
    """The life of one pod; seconds since the replay began, exact to one look. None: not yet, or never."""

    name: str
    created: float
    """0 for a pod that was there when the replay began."""
    bought: bool
    """Whether it was created during the replay."""
    ready: float | None = None
    leaving: float | None = None
    gone: float | None = None

    def minutes(self, until: float) -> float:
        """Minutes for which it existed, start and drain included, by second `until`."""
        end = until if self.gone is None else min(self.gone, until)
        return max(0.0, end - self.created) / 60

    @property
    def served_until(self) -> float:
        """When it stopped to take requests; infinite: not yet."""
        return min((end for end in (self.leaving, self.gone) if end is not None), default=math.inf)

    @property
    def warm_up(self) -> float | None:
        """Seconds from its creation until it served; None where it never did, or was there from the start."""
        return self.ready - self.created if self.bought and self.ready is not None else None


@dataclass(slots=True)
class PodLives:
    """The pods of one service, in the order of their creation."""

    lives: list[PodLife] = field(default_factory=list)
    _looked: bool = False

    def look(self, pods: Iterable[PodSeen], *, at: float) -> None:
        """Take in what is there at second `at`. The first look says which pods were there from the start."""
        seen = {pod.name: pod for pod in pods}
        known = {life.name for life in self.lives}
        for name in sorted(seen.keys() - known):
            self.lives.append(PodLife(name=name, created=at if self._looked else 0.0, bought=self._looked))
        for life in self.lives:
            pod = seen.get(life.name)
            if pod is None:
                life.gone = at if life.gone is None else life.gone
                continue
            if pod.ready and not pod.leaving and life.ready is None:
                life.ready = at if life.bought else 0.0
            if pod.leaving and life.leaving is None:
                life.leaving = at
        self._looked = True

    def present(self) -> int:
        """Pods that are not gone, starting and draining ones included."""
        return sum(life.gone is None for life in self.lives)


def replica_minutes(lives: Sequence[PodLife], *, until: float) -> float:
    """Minutes of all replicas until second `until`: what is paid for, from a pod's creation to the end of its drain."""
    return sum(life.minutes(until) for life in lives)


def most_ready(lives: Sequence[PodLife]) -> int:
    """The largest number of pods that served at the same time."""
    spans = [(life.ready, life.served_until) for life in lives if life.ready is not None]
    return max((sum(since <= at < until for since, until in spans) for at, _ in spans), default=0)

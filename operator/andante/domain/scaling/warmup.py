"""Learns how long a replica needs from its creation until it serves. The scaler must look that far ahead."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from andante.domain.scaling.numbers import numbers, rows_text, short, short_time, times, without_nulls
from andante.domain.scaling.snapshot import Snapshot

VERSION = 2
PRIOR_SECONDS = 120.0
"""Warm-up before any was seen: an 8B model from a local disk needs 60 to 100 s (`andante/profiles`), and the image's
start and the scheduling of the pod add some."""
KEPT = 8
"""Newest warm-ups that count: a change of the model or the image shows soon."""
QUANTILE = 0.75
"""Share of the replicas that shall be ready at the horizon. The slowest would make every forecast too long."""
SAME_POD_SECONDS = 1.5
"""Kubernetes tells creation times to the second: two times that differ by less are one pod's."""
LONGEST_SECONDS = 86_400.0
"""A replica that is not ready by then is restarted: the longest `rollout.startupTimeout`."""
MOST_STARTING = 40
"""Starting pods that are followed: a surge tells its warm-up with some of them."""
FIRST_SEEN_SECONDS = 120.0
"""A pod that is first seen to start later than this after its creation is not followed: it may have served before, and
have lost its readiness. Half of it is for an operator's clock that is ahead of the API server's. Longer where the ticks
are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmup:
    """What is known of the warm-ups. Times are seconds of the caller's clock."""

    starting: tuple[float, ...] = ()
    """Creation times of the pods that started at the last tick, oldest first; without those that served before."""
    served: tuple[float, ...] = ()
    """Creation times of young pods that became ready: only the first time that a pod is ready ends a warm-up."""
    seen: tuple[float, ...] = ()
    """The newest warm-ups, oldest first; seconds."""
    ready: int = 0
    """Ready replicas at the last tick."""

    @property
    def seconds(self) -> float:
        """The warm-up to reckon with."""
        if not self.seen:
            return PRIOR_SECONDS
        return sorted(self.seen)[math.ceil(QUANTILE * len(self.seen)) - 1]

    def learned(self, snapshot: Snapshot, now: float) -> Self:
        """The knowledge after this tick. A pod that no longer starts while more replicas are ready has become ready:
        the oldest such pods first. Its warm-up ended since the last tick; the whole tick is counted."""
        rules = snapshot.rules
        young = max(FIRST_SEEN_SECONDS, rules.longest_gap)
        created = sorted(now - age for age in snapshot.replicas.starting_ages)
        # A pod that was followed keeps its time: a clock that is read anew each tick must not change the memory.
        followed, gone, others = _matched(self.starting, created)
        rose = max(0, snapshot.replicas.ready - self.ready)
        ended = gone[:rose]
        served = [at for at in (*self.served, *ended) if now - at <= young]
        _, _, others = _matched(served, others)
        new = [short_time(at) for at in others if now - at <= young]
        found = [now - at for at in ended if now - at <= rules.warmup_bound]
        return dataclasses.replace(
            self,
            starting=tuple(sorted((*followed, *new)))[:MOST_STARTING],
            served=tuple(served)[-MOST_STARTING:],
            seen=(*self.seen, *(short(seconds) for seconds in found if seconds > 0))[-KEPT:],
            ready=snapshot.replicas.ready,
        )

    def without_future(self, latest: float) -> Self:
        """The knowledge without times after `latest`."""
        starting, served = (tuple(at for at in known if at <= latest) for known in (self.starting, self.served))
        return dataclasses.replace(self, starting=starting, served=served)

    def to_state(self) -> dict[str, Any]:
        """The knowledge as JSON."""
        starting, served = (rows_text((at,) for at in known) for known in (self.starting, self.served))
        state = {"v": VERSION, "starting": starting, "served": served, "seen": list(self.seen), "ready": self.ready}
        return without_nulls(state)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """The knowledge; empty where the format is not known. Raises ValueError or TypeError for invalid content."""
        if state.get("v") != VERSION:
            return cls()
        return cls(
            starting=times(state.get("starting"), most=MOST_STARTING),
            served=times(state.get("served"), most=MOST_STARTING),
            seen=numbers(state.get("seen"), count=KEPT, least=0.0, most=LONGEST_SECONDS),
            ready=int(state.get("ready") or 0),
        )


def _matched(known: Sequence[float], seen: Sequence[float]) -> tuple[list[float], list[float], list[float]]:
    """The known times that are seen again, those that are not, and the seen ones that were not known. Pods of one
    moment have one time each: a burst is created within a second."""
    kept, left, new = [], list(known), []
    for at in seen:
        old = next((one for one in left if abs(one - at) <= SAME_POD_SECONDS), None)
        if old is None:
            new.append(at)
        else:
            left.remove(old)
            kept.append(old)
    return kept, left, new

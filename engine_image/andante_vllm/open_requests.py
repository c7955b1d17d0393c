"""Sums the requests in flight for /metrics. No vLLM import."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Set
from typing import Final

from andante.domain.deficit_cause import DeficitByCause, added_up
from andante.domain.idle_replica import IdleReplica
from andante_vllm.meter_metrics import OpenRequests
from andante_vllm.metered_request import MeteredRequest

FRESH_SECONDS: Final = 1.0
"""Largest age of the sums. To score 10,000 requests takes the event loop 0.1 s or more, and any client may ask."""


class RequestsInFlight:
    """Scores all open requests, at most once in `FRESH_SECONDS`. For the event loop's thread."""

    def __init__(self, *, report: Callable[[Mapping[str, OpenRequests]], None], monotonic: Callable[[], float]) -> None:
        """`report` gets the sums by class name; `monotonic` is the clock of the requests' times."""
        self._report = report
        self._monotonic = monotonic
        self._open: set[MeteredRequest] = set()
        self._scored_at = -math.inf

    def add(self, request: MeteredRequest) -> None:
        self._open.add(request)

    def discard(self, request: MeteredRequest) -> None:
        self._open.discard(request)

    def report(self, classes: Set[str], *, idle: IdleReplica, hung: bool = False) -> None:
        """Report the sums, with zeros for `classes` without requests, unless the last sums are fresh.

        `idle`: a replica like this one without other requests, to find the part of a deficit that load has caused.
        `hung`: the engine makes no step, so that the whole deficit is a failure.

        Without open requests there is no work, so zeros are always reported at once.
        """
        now = self._monotonic()
        if self._open:
            if now - self._scored_at < FRESH_SECONDS:
                return
            self._scored_at = now
        counts: dict[str, int] = defaultdict(int)
        bad: dict[str, int] = defaultdict(int)
        qoe_sums: dict[str, float] = defaultdict(float)
        deficits: dict[str, list[DeficitByCause]] = defaultdict(list)
        for request in self._open:
            name = request.qoe_class.name
            counts[name] += 1
            score = request.score_now(now)
            bad[name] += score.good is False  # a batch request is neither
            qoe_sums[name] += score.qoe or 0.0
            if score.deficit:
                parts, _ = request.causes(score, None, now, idle=idle)
                deficits[name].append(DeficitByCause(failed=parts.total) if hung else parts)
        self._report(
            {
                name: OpenRequests(
                    requests=counts[name], qoe_sum=qoe_sums[name], deficit=added_up(deficits[name]), bad=bad[name]
                )
                for name in classes | counts.keys()
            }
        )

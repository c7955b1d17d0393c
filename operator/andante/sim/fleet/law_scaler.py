"""Lets a law of the league decide: shows it the fleet as `andante.sim.fleet.seen` describes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

import numpy as np

from andante.domain.step_time import StepTimeCoefficients
from andante.sim.fleet import meter as metered
from andante.sim.fleet.meter import Scrape
from andante.sim.fleet.pods import Phase, Pod, name_of
from andante.sim.fleet.scaler import Sight
from andante.sim.fleet.seen import Law, Objective, PodSeen, Replica, Seen, Totals

_READING = Objective()


class LawScaler:
    """A law with what a cluster's metrics would show it."""

    def __init__(self, law: Law, objective: Objective = _READING) -> None:
        """`objective`: the promise that the law is told; the usual reader's by default. A law serves one run."""
        self._law, self._objective = law, objective

    @property
    def period(self) -> float:
        """Seconds between two decisions, the law's own."""
        return self._law.period

    def wanted(self, sight: Sight) -> int:
        """Replicas that the law asks for now."""
        return self._law.wanted(seen(sight, self._objective))


def seen(sight: Sight, objective: Objective) -> Seen:
    """What a law sees of the fleet."""
    newest = sight.scrapes[-1] if sight.scrapes else None
    pods = [pod for pod in sight.pods if pod.phase is not Phase.DRAINING]
    engine = sight.engine
    return Seen(
        now=sight.now,
        spec=sight.spec,
        pods=tuple(_pod(pod, sight.now, sight.scrapes) for pod in pods),
        replica=Replica(
            kv_tokens=engine.blocks * engine.block_size,
            max_num_seqs=engine.max_seqs,
            max_num_batched_tokens=engine.max_step_tokens,
            step_time=StepTimeCoefficients(**engine.step_time._asdict()),
        ),
        objective=objective,
        totals=None if newest is None else _totals(newest),
        ttft_p90=_p90([s.first_tokens for s in sight.scrapes]),
        tpot_p90=_p90([s.per_token for s in sight.scrapes]),
        warmup=median(sight.warmups) if sight.warmups else None,
    )


def _pod(pod: Pod, now: float, scrapes: Sequence[Scrape]) -> PodSeen:
    own = PodSeen(
        name=name_of(pod),
        ready=pod.takes_requests,
        pending=pod.phase is Phase.PENDING,
        age=now - pod.created,
        ready_for=now - pod.ready_since if pod.takes_requests else 0.0,
    )
    number = pod.number
    if not scrapes or number not in scrapes[-1].pods:
        return own
    newest, known = scrapes[-1], [s for s in scrapes if number in s.pods]
    return replace(
        own,
        running=newest.gauge(number, metered.RUNNING),
        waiting=newest.gauge(number, metered.QUEUED),
        most_waiting=max(s.gauge(number, metered.QUEUED) for s in known),
        kv_use=newest.gauge(number, metered.KV_USE),
        most_kv_use=max(s.gauge(number, metered.KV_USE) for s in known),
        tokens_in_use=newest.gauge(number, metered.IN_USE),
        queued_prompt_tokens=newest.gauge(number, metered.QUEUED_PROMPT),
        queued_kv_tokens=newest.gauge(number, metered.QUEUED_KV),
    )  # fmt: skip


def _totals(scrape: Scrape) -> Totals:
    totals = scrape.totals.tolist()
    return Totals(
        at=scrape.at,
        arrived=totals[metered.ARRIVED],
        arrived_prompt_tokens=totals[metered.PROMPT],
        ended=totals[metered.OVER],
        ended_output_tokens=totals[metered.OVER_TOKENS],
        ended_qoe=totals[metered.QOE],
        ended_good=totals[metered.GOOD],
    )


def _p90(samples: list[np.ndarray]) -> float | None:
    """None: no scrape; NaN: scrapes without a sample, as a query of Prometheus answers it."""
    if not samples:
        return None
    values = np.concatenate(samples)
    return float(np.quantile(values, 0.9)) if values.size else math.nan

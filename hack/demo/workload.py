"""Makes the demo's workload: a real trace, thinned to a base rate with one surge, so that a laptop can serve it."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable
from dataclasses import dataclass

from andante.domain.trace import TraceRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Surge:
    """Arrival rates over time, requests per second of replayed time."""

    base_rate: float
    peak_rate: float
    start: float
    """Second of the replay at which the surge begins."""
    duration: float
    """Duration of the surge, seconds."""

    def rate(self, at: float) -> float:
        return self.peak_rate if self.start <= at < self.start + self.duration else self.base_rate


def thin(
    requests: Iterable[TraceRequest],
    *,
    surge: Surge,
    speed: float,
    seconds: float,
    max_prompt_tokens: int,
    max_output_tokens: int,
    seed: int,
) -> list[TraceRequest]:
    """The requests of the first `seconds` of replayed time. Requests are dropped at random, down to the surge's rate.

    `speed` compresses the trace's time (2: ten minutes in five). Arrivals, prompt and output lengths stay those of the
    trace; longer ones are cut to the caps. Raises ValueError where the trace is too thin for the peak rate.
    """
    scaled = [
        dataclasses.replace(
            r,
            arrival_s=r.arrival_s / speed,
            prompt_tokens=min(r.prompt_tokens, max_prompt_tokens),
            output_tokens=min(r.output_tokens, max_output_tokens),
        )
        for r in requests
        if r.arrival_s / speed < seconds
    ]
    if not scaled:
        raise ValueError("the trace has no request in the replayed time")
    trace_rate = len(scaled) / seconds
    if surge.peak_rate > trace_rate:
        raise ValueError(f"the trace holds {trace_rate:.2f} requests/s at this speed, the peak is {surge.peak_rate}")
    chance = random.Random(seed)  # noqa: S311  a repeatable choice, not a secret
    return [r for r in scaled if chance.random() < surge.rate(r.arrival_s) / trace_rate]

"""Scores of a run: every request counts, with the measures of andante.domain and no other."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from benchmarks.scheduling.virtual_time import Run
from benchmarks.scheduling.workload import Workload
from numpy.typing import NDArray

from andante.domain.goodput import idle_latency
from andante.domain.pace import Expectation
from andante.domain.qoe import is_good, score_timeline
from andante.domain.request_meter import Objective, Outcome, RequestMeter

OBJECTIVE = 0.95
TOLERATED_DELAY = 0.2
_METER = Objective(qoe=OBJECTIVE, tolerated_delay=TOLERATED_DELAY)
TAIL = 0.05
"""Share of the output tokens that come last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Figures of one run. QoE figures leave batch requests out; None where nobody has a QoE."""

    requests: int
    mean_qoe: float | None
    mean_andes_qoe: float | None
    p1_qoe: float | None
    p5_qoe: float | None
    share_good: float | None
    throughput: float
    """Output tokens/s until the last request ended."""
    throughput_to_95: float
    """Output tokens/s until all but the `TAIL` were out.

    A run ends with its last stream. One of 2,000 tokens takes two minutes, whatever the engine does beside it: after a
    minute's arrivals it sets tokens/s until all is done, and the order of service, not the rate, says when it starts.
    """
    smooth_goodput: float
    """Tokens/s, α = the pace, f(l) = l seconds, origin: arrival."""
    ttft_p50: float
    ttft_p95: float
    longest_wait: float
    """Largest time to first token, seconds; of who left without one, the time until then."""
    share_left: float
    """Share of the requests whose readers left before the end of the answer."""
    share_gave_up: float
    """Share of those who left after a wait that counts as giving up: their QoE is 0, as the meter scores it."""
    preemptions: int
    recomputed_tokens: int
    end: float


@dataclass(frozen=True, slots=True)
class _Quality:
    qoe: float
    andes_qoe: float
    good: bool
    idle_penalty: float
    """Tokens."""


def score_run(workload: Workload, run: Run, *, only_class: str | None = None) -> Scores:
    """The scores of `run`, of all requests or of one class.

    Who left is scored by the meter that scores a client's connection in production.
    """
    qoe, andes, good, first = [], [], [], []
    tokens = left = gave_up = 0
    delivered = [np.empty(0)]
    benefit = 0.0
    for index in range(workload.requests):
        qoe_class = workload.classes[int(workload.class_of[index])]
        if only_class is not None and qoe_class.name != only_class:
            continue
        delivery = run.delivery[index]
        left_at = float(run.left[index])
        stayed = math.isnan(left_at)
        left += not stayed
        tokens += delivery.size
        delivered.append(workload.arrival[index] + delivery)
        first.append(float(delivery[0]) if delivery.size else np.inf if stayed else left_at)
        benefit += delivery.size
        expectation = qoe_class.expectation(int(workload.prompt_tokens[index]))
        if expectation.pace <= 0:
            continue
        if expectation.deadline is not None:
            met = delivery.size > 0 and float(delivery[-1]) <= expectation.deadline
            quality = _Quality(float(met), float(met), met, 0.0)
        elif stayed:
            quality = _of_who_stayed(delivery, expectation)
        else:
            quality, outcome = _of_who_left(delivery, expectation, left_at)
            gave_up += outcome is Outcome.GAVE_UP
        qoe.append(quality.qoe)
        andes.append(quality.andes_qoe)
        good.append(quality.good)
        benefit -= quality.idle_penalty
    known = bool(qoe)
    return Scores(
        requests=len(first),
        mean_qoe=float(np.mean(qoe)) if known else None,
        mean_andes_qoe=float(np.mean(andes)) if known else None,
        p1_qoe=float(np.percentile(qoe, 1)) if known else None,
        p5_qoe=float(np.percentile(qoe, 5)) if known else None,
        share_good=float(np.mean(good)) if known else None,
        throughput=tokens / run.end if run.end else 0.0,
        throughput_to_95=_rate_without_tail(np.concatenate(delivered)),
        smooth_goodput=benefit / run.end if run.end else 0.0,
        ttft_p50=float(np.percentile(first, 50)),
        ttft_p95=float(np.percentile(first, 95)),
        longest_wait=float(np.max(first)),
        share_left=left / max(len(first), 1),
        share_gave_up=gave_up / max(len(first), 1),
        preemptions=run.preemptions,
        recomputed_tokens=run.recomputed_tokens,
        end=run.end,
    )


def _of_who_stayed(delivery: NDArray[np.float64], expectation: Expectation) -> _Quality:
    ttft, pace = expectation.expected_ttft, expectation.pace
    score = score_timeline(delivery, expected_ttft=ttft, pace=pace)
    good = is_good(qoe=score.qoe, mean_delay=score.mean_delay, objective=OBJECTIVE, tolerated_delay=TOLERATED_DELAY)
    idle = pace * idle_latency(delivery, expected_ttft=ttft, pace=pace)
    return _Quality(score.qoe, score.andes_qoe, good, idle)


def _of_who_left(
    delivery: NDArray[np.float64], expectation: Expectation, left_at: float
) -> tuple[_Quality, Outcome]:  # fmt: skip
    meter = RequestMeter(expectation=expectation, objective=_METER)
    meter.deliver_all(delivery.tolist(), [1] * delivery.size)
    outcome = meter.left(left_at)
    score = meter.ended(outcome, at=left_at)
    assert score.qoe is not None
    return _Quality(score.qoe, score.andes_qoe or 0.0, bool(score.good), score.idle_penalty), outcome


def _rate_without_tail(times: NDArray[np.float64]) -> float:
    """Tokens/s of those that were out at `times` (seconds from the start, in any order), but the `TAIL`."""
    if not times.size:
        return 0.0
    count = math.ceil((1 - TAIL) * times.size)
    return float(count / np.partition(times, count - 1)[count - 1])

"""Scores of a run: every request counts, with the measures of andante.domain and no other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from benchmarks.scheduling.virtual_time import Run
from benchmarks.scheduling.workload import Workload

from andante.domain.goodput import idle_latency
from andante.domain.qoe import is_good, score_timeline

OBJECTIVE = 0.95
TOLERATED_DELAY = 0.2


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
    smooth_goodput: float
    """Tokens/s, α = the pace, f(l) = l seconds, origin: arrival."""
    ttft_p50: float
    ttft_p95: float
    longest_wait: float
    """Largest time to first token, seconds."""
    preemptions: int
    recomputed_tokens: int
    end: float


def score_run(workload: Workload, run: Run, *, only_class: str | None = None) -> Scores:
    """The scores of `run`, of all requests or of one class."""
    qoe, andes, good, first = [], [], [], []
    tokens = 0
    benefit = 0.0
    for index in range(workload.requests):
        qoe_class = workload.classes[int(workload.class_of[index])]
        if only_class is not None and qoe_class.name != only_class:
            continue
        delivery = run.delivery[index]
        tokens += delivery.size
        first.append(float(delivery[0]) if delivery.size else np.inf)
        benefit += delivery.size
        expectation = qoe_class.expectation(int(workload.prompt_tokens[index]))
        if expectation.pace <= 0:
            continue
        if expectation.deadline is not None:
            met = delivery.size > 0 and float(delivery[-1]) <= expectation.deadline
            qoe.append(float(met))
            andes.append(float(met))
            good.append(met)
            continue
        score = score_timeline(delivery, expected_ttft=expectation.expected_ttft, pace=expectation.pace)
        qoe.append(score.qoe)
        andes.append(score.andes_qoe)
        good.append(
            is_good(qoe=score.qoe, mean_delay=score.mean_delay, objective=OBJECTIVE, tolerated_delay=TOLERATED_DELAY)
        )
        benefit -= expectation.pace * idle_latency(
            delivery, expected_ttft=expectation.expected_ttft, pace=expectation.pace
        )
    known = bool(qoe)
    return Scores(
        requests=len(first),
        mean_qoe=float(np.mean(qoe)) if known else None,
        mean_andes_qoe=float(np.mean(andes)) if known else None,
        p1_qoe=float(np.percentile(qoe, 1)) if known else None,
        p5_qoe=float(np.percentile(qoe, 5)) if known else None,
        share_good=float(np.mean(good)) if known else None,
        throughput=tokens / run.end if run.end else 0.0,
        smooth_goodput=benefit / run.end if run.end else 0.0,
        ttft_p50=float(np.percentile(first, 50)),
        ttft_p95=float(np.percentile(first, 95)),
        longest_wait=float(np.max(first)),
        preemptions=run.preemptions,
        recomputed_tokens=run.recomputed_tokens,
        end=run.end,
    )

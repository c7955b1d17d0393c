"""Computes the scores of a replay: QoE, smooth goodput and latency over all requests."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from andante.cli.bench import Ending, RequestResult
from andante.domain.goodput import ALPHA_FACTORS, IDLE_COST, smooth_goodput

LATE_GENERATOR_SECONDS = 0.05
"""If the 95th percentile of the generator's lateness is above this, the run measures the generator: it is flagged."""


def _quantiles(values: Sequence[float | None], *points: int) -> dict[str, float | None]:
    known = [v for v in values if v is not None and math.isfinite(v)]
    return {f"p{p}": float(np.percentile(known, p)) if known else None for p in points}


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def summarise(results: Sequence[RequestResult], *, interval: float) -> dict[str, Any]:
    """All scores as a JSON-ready dict; `interval` T in seconds. An undefined figure is None, never 0.

    TTFT, TPOT and TBT are over the requests that have one. The mean delay leaves out requests that the server cut or
    never served, whose delay has no end (their QoE is 0).
    """
    scored = [r for r in results if r.score.qoe is not None]
    qoe = [r.score.qoe for r in scored if r.score.qoe is not None]
    andes = [r.score.andes_qoe for r in scored if r.score.andes_qoe is not None]
    late = _quantiles([r.lateness for r in results], 50, 95, 100)
    p95 = late["p95"]

    def goodput(factor: float) -> float | None:
        if not scored or interval <= 0:
            return None
        tokens, idle = [r.score.tokens for r in scored], [r.score.idle_latency for r in scored]
        return smooth_goodput(tokens, idle, alpha=[factor * r.pace for r in scored], interval=interval)

    return {
        "requests": len(results),
        "endings": {e.value: sum(r.ending is e for r in results) for e in Ending},
        "answered": sum(bool(r.delivery) for r in results),
        "errors": dict(Counter(r.error.partition(":")[0] for r in results if r.error).most_common()),
        "error_examples": {r.error.partition(":")[0]: r.error for r in reversed(results) if r.error},
        "streams_cut": sum(r.ending is Ending.CUT for r in results),
        "output_tokens": sum(len(r.delivery) for r in results),
        "tokens_lost": sum(
            r.wanted_tokens - len(r.delivery) for r in results if r.ending in (Ending.CUT, Ending.COMPLETED)
        ),
        "interval_s": interval,
        "qoe": {"mean": _mean(qoe), **_quantiles(qoe, 1, 5, 50)},
        "andes_qoe": {"mean": _mean(andes), **_quantiles(andes, 1, 5, 50)},
        "share_good": _mean([float(r.score.good) for r in scored if r.score.good is not None]),
        "deficit": _mean([r.score.deficit for r in scored if r.score.deficit is not None]),
        "mean_delay_s": _quantiles([r.score.mean_delay for r in scored], 50, 95),
        "smooth_goodput_tokens_per_s": {
            **{f"alpha={factor:g}*pace": goodput(factor) for factor in ALPHA_FACTORS},
            "f": IDLE_COST,
            "origin": "arrival + expected TTFT",
            "pace": sorted({r.pace for r in scored}),
            "idle_of_cut_requests": "until the end of the run",
        },
        "throughput_tokens_per_s": sum(len(r.delivery) for r in results) / interval if interval > 0 else None,
        "ttft_s": _quantiles([r.score.ttft for r in results], 50, 95, 99),
        "time_per_output_token_s": _quantiles([r.score.tpot for r in results], 50, 95, 99),
        "max_time_between_tokens_s": _quantiles([r.score.max_tbt for r in results], 50, 95, 99),
        "fluidity_index": _mean([r.score.fluidity for r in scored if r.score.fluidity is not None]),
        "generator_lateness_s": {"p50": late["p50"], "p95": p95, "max": late["p100"]},
        "generator_was_late": p95 is not None and p95 > LATE_GENERATOR_SECONDS,
    }


def per_class(results: Sequence[RequestResult], *, interval: float) -> dict[str, dict[str, Any]]:
    """`summarise` for each class."""
    names = sorted({r.qoe_class for r in results})
    return {n: summarise([r for r in results if r.qoe_class == n], interval=interval) for n in names}

"""Computes the scores of a simulated fleet: what its readers got, and what that cost."""

from __future__ import annotations

import math
import platform
from typing import TYPE_CHECKING, Any

import numpy as np

import andante
from andante.cli.fleet_case import VLLM_FLAGS, Case

if TYPE_CHECKING:
    from andante.sim.fleet.outcome import FleetOutcome

_MINUTE = 60.0


def known(value: float) -> float | None:
    """JSON's form of a figure: None where it is not a number."""
    return float(value) if math.isfinite(value) else None


def scores(case: Case, outcome: FleetOutcome) -> dict[str, Any]:
    """All scores, with the unit in the name; None: not known, or there was no request to score.

    The smooth goodput counts tokens less the penalty for readers' idle time. Costs are those of the paid replicas, from
    a pod's place on a node to its end.
    """
    hours = outcome.replica_hours
    cost = None if case.price is None else hours * case.price
    good = int((outcome.good & outcome.counts).sum())
    qoe = outcome.qoe[outcome.counts]
    return {
        "requests": int(outcome.arrival.size),
        "mean_qoe": known(outcome.mean_qoe),
        "p5_qoe": float(np.quantile(qoe, 0.05)) if qoe.size else None,
        "share_good": known(outcome.share_good),
        "meets_objective": None if math.isnan(outcome.share_good) else bool(outcome.share_good >= case.good_fraction),
        "smooth_goodput_tokens_per_s": outcome.smooth_goodput,
        "smooth_goodput_tokens_per_replica_hour": known(outcome.smooth_goodput * outcome.end / hours)
        if hours
        else None,
        "ttft_s": _quantiles(outcome.first_token),
        "replica_hours": hours,
        "gpu_hours": hours * case.profile.tensor_parallel,
        "mean_replicas": outcome.replicas,
        "most_replicas": max(replicas for _, replicas in outcome.changes),
        "direction_changes_per_hour": outcome.direction_changes_per_hour,
        "streams_cut": outcome.cut,
        "failed_attempts": int(outcome.errors.sum()),
        "preemptions": outcome.preemptions,
        "cost_usd": cost,
        "cost_usd_per_hour": None if cost is None else cost * 3600.0 / outcome.end,
        "cost_usd_per_1000_good": None if cost is None or not good else 1000 * cost / good,
    }


def per_class(case: Case, outcome: FleetOutcome) -> dict[str, dict[str, Any]]:
    """Requests, mean QoE, share of good requests and TTFT of each class that has requests."""
    answer = {}
    for place, each in enumerate(case.classes):
        own = case.requests.class_index == place
        if not own.any():
            continue
        scored = own & outcome.counts
        answer[each.name] = {
            "requests": int(own.sum()),
            "mean_qoe": float(outcome.qoe[scored].mean()) if scored.any() else None,
            "share_good": float(outcome.good[scored].mean()) if scored.any() else None,
            "ttft_s": _quantiles(outcome.first_token[own]),
        }
    return answer


def minutes(outcome: FleetOutcome) -> list[dict[str, Any]]:
    """The run minute by minute: readers by their arrival, replicas by the scrapes of that minute."""
    rows = []
    series = outcome.series
    for minute in range(math.floor(outcome.end / _MINUTE) + 1):
        begins, ends = minute * _MINUTE, (minute + 1) * _MINUTE
        come = (outcome.arrival >= begins) & (outcome.arrival < ends)
        scored = come & outcome.counts
        seen = (series.at > begins) & (series.at <= ends)
        rows.append(
            {
                "minute": minute,
                "requests": int(come.sum()),
                "mean_qoe": float(outcome.qoe[scored].mean()) if scored.any() else None,
                "share_good": float(outcome.good[scored].mean()) if scored.any() else None,
                "replicas_asked_for": float(series.spec[seen].mean()) if seen.any() else None,
                "replicas_ready": float(series.ready[seen].mean()) if seen.any() else None,
                "open_requests": float(series.open_requests[seen].mean()) if seen.any() else None,
            }
        )
    return rows


def settings(case: Case, **more: Any) -> dict[str, Any]:
    """What a result file says about how its figures came about."""
    return {
        "trace": case.trace,
        "requests": int(case.requests.arrival.size),
        "seconds": case.seconds,
        "profile": case.profile.name,
        "class": case.usual.name,
        "expected_ttft_s": case.usual.expected_ttft,
        "pace_tokens_per_s": case.usual.pace,
        "target_qoe": case.objective.qoe,
        "good_fraction": case.good_fraction,
        "price_usd_per_replica_hour": case.price,
        "fcfs_and_priority_flags": VLLM_FLAGS,
        **more,
        "andante": andante.__version__,
        "python": platform.python_version(),
    }


def _quantiles(seconds: np.ndarray) -> dict[str, float | None]:
    """Of what has a value; a request without a token has no TTFT."""
    there = seconds[np.isfinite(seconds)]
    return {f"p{p}": float(np.percentile(there, p)) if there.size else None for p in (50, 95, 99)}

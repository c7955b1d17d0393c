"""Tunes a scaling law within a budget of evaluations, the same for every law of the league.

A law that its authors tuned for another engine and another load would lose for that alone. So each law, ours too, is
given the same number of runs on the same segments, and is judged on others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from benchmarks.league.promise import Promise, Quality

from andante.sim.laws.parameters import Parameter

MOST_CHANGES = 4.0
"""Changes of direction per hour that a fleet's owner accepts."""


def accepted(seconds: float) -> int:
    """Changes of direction that are accepted in so many seconds: whole ones, rounded up, or a short run had none."""
    return max(1, math.ceil(MOST_CHANGES * seconds / 3600.0 - 1e-9))


class Run(Quality, Protocol):
    """What one segment cost, and what its readers got."""

    @property
    def replica_hours(self) -> float: ...

    @property
    def turns(self) -> float:
        """Changes of direction."""

    @property
    def seconds(self) -> float:
        """How long the scaler decided."""


def cost(runs: Iterable[Run], promise: Promise, *, enough: float = math.inf, penalty: float = 20.0) -> float:
    """Replica-hours of all segments, more for a segment that breaks the promise or turns too often.

    A miss as large as the error budget (QoE .90 where .95 is asked) multiplies the segment's hours by 1 + `penalty`;
    twice the changes of direction that are accepted double them. Infinite for a figure that is not a number. `runs` is
    read no further once the sum exceeds `enough`: the settings are no better than others then.
    """
    hours = 0.0
    for run in runs:
        quality = promise.quality(run)
        if not (math.isfinite(quality) and math.isfinite(run.replica_hours)):
            return math.inf
        missed = max(0.0, promise.least - quality) / (1 - promise.least)
        turned = max(0.0, run.turns / accepted(run.seconds) - 1)
        hours += run.replica_hours * (1 + penalty * missed + turned)
        if hours > enough:
            break
    return hours


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """The best settings that were found, and how."""

    settings: Mapping[str, float]
    """Empty: the law's defaults were best, or there is nothing to tune."""
    cost: float
    default_cost: float
    evaluations: int


def tune(
    parameters: Sequence[Parameter],
    defaults: Mapping[str, float],
    evaluate: Callable[[Mapping[str, float], float], float],
    *,
    budget: int,
    seed: int,
) -> Tuned:
    """The settings of least cost after `budget` evaluations: the defaults, then random ones, then near the best.

    `evaluate` gives the cost of settings (an empty mapping: the law's defaults), or any larger number than its second
    argument once the cost is sure to be larger; it must be deterministic. A third of the budget goes to random
    settings, one in each of as many equal slices of every range. Raises ValueError for a budget below 1.
    """
    if budget < 1:
        raise ValueError(f"budget must be >= 1, got {budget}")
    default_cost = evaluate({}, math.inf)
    best: dict[str, float] = {}
    best_cost, spent = default_cost, 1
    if not parameters:
        return Tuned(settings=best, cost=best_cost, default_cost=default_cost, evaluations=spent)
    random = np.random.default_rng(seed)
    here = np.array([p.share(defaults[p.name]) for p in parameters])
    for shares in _spread(random, (budget - 1) // 3, len(parameters)):
        settings = _settings(parameters, shares)
        found = evaluate(settings, best_cost)
        spent += 1
        if found < best_cost:
            best, best_cost, here = settings, found, shares
    step = 0.25
    while spent < budget:
        moved = random.random(len(parameters)) < 1 / len(parameters)
        moved[random.integers(len(parameters))] = True
        shares = np.clip(here + step * random.standard_normal(len(parameters)) * moved, 0.0, 1.0)
        settings = _settings(parameters, shares)
        found = evaluate(settings, best_cost)
        spent += 1
        if found < best_cost:
            best, best_cost, here = settings, found, shares
            step = min(0.5, step * 1.5)
        else:
            step = max(0.02, step * 0.85)
    return Tuned(settings=best, cost=best_cost, default_cost=default_cost, evaluations=spent)


def _spread(random: np.random.Generator, count: int, axes: int) -> Sequence[np.ndarray]:
    """`count` points of the unit cube, one in each slice of every axis (a Latin hypercube)."""
    if count < 1:
        return []
    slices = np.column_stack([random.permutation(count) for _ in range(axes)])
    return list((slices + random.random((count, axes))) / count)


def _settings(parameters: Sequence[Parameter], shares: np.ndarray) -> dict[str, float]:
    return {p.name: p.at(float(share)) for p, share in zip(parameters, shares, strict=True)}

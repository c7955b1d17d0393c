"""The greedy choices against the exact optimum of the same decision, found by a MILP solver (HiGHS)."""

from __future__ import annotations

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from andante.domain.scheduling import andes_policy
from andante.domain.scheduling.andes_policy import AndesPolicy, AndesPolicySettings
from unit.scheduling_views import engine, requests

INSTANCES = 40


def exact(value: np.ndarray, length: np.ndarray, capacity: float, size: int) -> float:
    """max Σ v x with Σ l x <= capacity, Σ x <= size, x binary (Andes v1, equation 5)."""
    answer = milp(
        -value,
        constraints=[LinearConstraint(length, ub=capacity), LinearConstraint(np.ones_like(length), ub=size)],
        integrality=np.ones_like(value),
        bounds=Bounds(0, 1),
    )
    assert answer.success
    return float(-answer.fun)


def test_the_greedy_knapsack_is_within_five_percent_of_the_optimum() -> None:
    random = np.random.default_rng(7)
    reached, possible = 0.0, 0.0
    for _ in range(INSTANCES):
        count = int(random.integers(20, 80))
        delivered = random.integers(0, 300, count).astype(float)
        view = requests(
            count,
            running=random.random(count) < 0.5,
            elapsed=random.uniform(0, 60, count),
            delivered=delivered,
            context=delivered + random.lognormal(5.0, 0.8, count).clip(4, 1500).round(),
        )
        room = engine(kv_capacity=8000.0, kv_free=0.0, max_seqs=count)
        # One batch size: the search over sizes is the same for both.
        policy = AndesPolicy(AndesPolicySettings(batch_sizes=1))
        chosen = policy._solve(view, room)
        length = andes_policy._kv(view, room)
        wait = policy._wait(view)
        size = max(1, min(policy._keeps_pace(view, room), count))
        value = policy._value(view, policy._serve(view, room, size), wait) * np.where(view.running, 1.1, 1.0)
        reached += float(value[chosen].sum())
        possible += exact(value, length, 8000.0, count)
    assert reached >= 0.95 * possible

"""Queues whose theory is exact, on a simulated replica that serves one sequence at a time, each step 10 ms long.

Seeds are fixed. A mean is compared within four standard errors, which batches of neighbours give: waits of neighbours
depend on each other.
"""

from __future__ import annotations

import numpy as np
import pytest

from andante.sim.engine import StepTime
from andante.sim.run import Outcome, simulate
from unit.sim_workloads import engine, requests

STEP = 0.010
ONE_AT_A_TIME = engine(
    max_seqs=1, blocks=64, prefix_caching=False,
    step_time=StepTime(
        fixed_us=1e6 * STEP, prefill_step_us=0.0, weight_floor_us=0.0, token_us=0.0, pair_us=0.0, decode_seq_us=0.0,
        context_token_us=0.0,
    ),
)  # fmt: skip
REQUESTS = 20_000
BATCHES = 40


def arrivals(random: np.random.Generator, rate: float) -> list[float]:
    gaps: list[float] = np.cumsum(random.exponential(1 / rate, REQUESTS)).tolist()
    return gaps


def waits(outcome: Outcome) -> np.ndarray:
    """Seconds until the first step of each request."""
    return outcome.first_token - STEP


def agrees(measured: np.ndarray, theory: float) -> bool:
    means = measured[: measured.size // BATCHES * BATCHES].reshape(BATCHES, -1).mean(axis=1)
    error = means.std(ddof=1) / np.sqrt(BATCHES)
    assert error < 0.1 * theory  # else the comparison would say nothing
    return bool(abs(measured.mean() - theory) < 4 * error)


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_steps_of_one_length_wait_as_pollaczek_and_khinchine_say(load: float) -> None:
    """M/D/1: W = load D / (2 (1 - load))."""
    random = np.random.default_rng(1)
    outcome = simulate(requests(arrivals(random, load / STEP), [1] * REQUESTS, [1] * REQUESTS), ONE_AT_A_TIME)
    assert agrees(waits(outcome), load * STEP / (2 * (1 - load)))


def test_answers_of_random_length_wait_as_pollaczek_and_khinchine_say() -> None:
    """M/G/1: W = rate E[S^2] / (2 (1 - load)), with S of 1, 2, ... steps."""
    random = np.random.default_rng(2)
    lengths = random.geometric(0.25, REQUESTS)
    load = 0.6
    rate = load / (4 * STEP)
    outcome = simulate(requests(arrivals(random, rate), [1] * REQUESTS, lengths.tolist()), ONE_AT_A_TIME)
    second_moment = (2 - 0.25) / 0.25**2 * STEP**2
    assert agrees(waits(outcome), rate * second_moment / (2 * (1 - load)))


def test_two_priorities_wait_as_cobham_says() -> None:
    """M/D/1 with a queue for each priority, nobody preempted: W_k = W_0 / ((1 - load above) (1 - load with k))."""
    random = np.random.default_rng(3)
    load, share = 0.7, 0.4
    priority = (random.random(REQUESTS) >= share).astype(int)
    workload = requests(arrivals(random, load / STEP), [1] * REQUESTS, [1] * REQUESTS, priority=priority)
    outcome = simulate(workload, ONE_AT_A_TIME._replace(by_priority=True))
    rest, above = load * STEP / 2, load * share
    assert agrees(waits(outcome)[priority == 0], rest / (1 - above))
    assert agrees(waits(outcome)[priority == 1], rest / ((1 - above) * (1 - load)))


def test_littles_law_holds_for_the_server_and_for_the_system() -> None:
    """In the server: busy share = rate E[S]. In the system: the mean number, sampled over time, = rate E[sojourn]."""
    random = np.random.default_rng(4)
    load = 0.7
    lengths = random.geometric(0.5, REQUESTS)
    workload = requests(arrivals(random, load / (2 * STEP)), [1] * REQUESTS, lengths.tolist())
    outcome = simulate(workload, ONE_AT_A_TIME)
    rate = REQUESTS / outcome.end
    assert outcome.busy / outcome.end == pytest.approx(rate * lengths.mean() * STEP, rel=1e-9)
    times = random.uniform(0.0, outcome.end, REQUESTS)
    inside = np.searchsorted(workload.arrival, times, "right") - np.searchsorted(
        np.sort(outcome.finish), times, "right"
    )
    assert inside.mean() == pytest.approx(rate * outcome.last_token.mean(), rel=0.05)

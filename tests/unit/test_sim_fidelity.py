"""How simulated latencies are compared with measured ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from andante.sim.real_runs.fidelity import difference, mean_interval

values = st.lists(st.floats(0.01, 100.0), min_size=3, max_size=60).map(np.array)


@given(values, values)
def test_the_distance_of_distributions_is_that_of_scipy(one: np.ndarray, other: np.ndarray) -> None:
    size = min(one.size, other.size)
    one, other = one[:size], other[:size]
    assert difference(one, other).ks == pytest.approx(ks_2samp(one, other, method="asymp").statistic)


def test_errors_are_signed_shares_of_the_measured() -> None:
    measured = np.linspace(1.0, 2.0, 101)
    found = difference(1.02 * measured, measured)
    assert [found.mean, found.p50, found.p95, found.p99] == pytest.approx([0.02] * 4)
    assert found.worst == pytest.approx(0.02)
    assert found.within(0.03)
    assert not found.within(0.01)


def test_short_times_may_be_off_by_seconds_instead() -> None:
    measured = np.full(20, 0.1)
    found = difference(measured + 0.015, measured)
    assert not found.within(0.03)
    assert found.within(0.03, seconds=0.02, below=0.3)
    assert not found.within(0.03, seconds=0.01, below=0.3)
    assert not found.within(0.03, seconds=0.02, below=0.05)


def test_what_was_not_measured_does_not_count() -> None:
    found = difference(np.array([1.0, 9.0]), np.array([1.0, np.nan]))
    assert (found.requests, found.mean) == (1, 0.0)
    with pytest.raises(ValueError, match="no request was measured"):
        difference(np.array([1.0]), np.array([np.nan]))


def test_the_interval_of_a_mean_holds_the_error_of_noise() -> None:
    random = np.random.default_rng(0)
    measured = random.lognormal(0, 0.3, 200)
    interval = mean_interval(1.1 * measured * random.lognormal(0, 0.05, 200), measured)
    assert interval is not None
    assert 0.08 < interval[0] < 0.1 < interval[1] < 0.12
    assert mean_interval(measured[:5], measured[:5]) is None

"""The online step-time fit: finds the line, and survives what is no line."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.domain.scheduling.latency import OnlineStepTime
from andante.domain.step_time import DEFAULT_STEP_TIME, LinearStepTime


def test_it_learns_another_gpu() -> None:
    truth = LinearStepTime(base=0.03, prefill_token=1.4e-4, sequence=1.6e-4, context_token=4e-7)
    fit, random = OnlineStepTime(DEFAULT_STEP_TIME), np.random.default_rng(1)
    for _ in range(3000):
        batch = {
            "prefill_tokens": float(random.choice([0, 0, 0, random.integers(1, 2000)])),
            "sequences": float(random.integers(1, 250)),
            "context_tokens": float(random.integers(1_000, 60_000)),
        }
        fit.observe(**batch, seconds=truth.seconds(**batch) * random.normal(1, 0.02))
    batch = {"prefill_tokens": 500.0, "sequences": 150.0, "context_tokens": 40_000.0}
    assert fit.line.seconds(**batch) == pytest.approx(truth.seconds(**batch), rel=0.05)
    assert fit.relative_error < 0.1


def test_the_line_is_the_least_squares_one() -> None:
    truth = LinearStepTime(base=0.02, prefill_token=1e-4, sequence=2e-4, context_token=1e-7)
    fit, random = OnlineStepTime(DEFAULT_STEP_TIME), np.random.default_rng(1)
    batches = np.stack([np.ones(200), *(random.integers(1, most, 200) for most in (2000, 250, 60_000))], axis=1)
    seconds = batches @ np.array(truth) * random.normal(1, 0.02, 200)
    for (_, prefill, sequences, context), observed in zip(batches.tolist(), seconds.tolist(), strict=True):
        fit.observe(prefill_tokens=prefill, sequences=sequences, context_tokens=context, seconds=observed)
    # Numpy's answer: relative errors of 10 %, each counting .999 of the next, and a seed that is known to 50 %.
    weights = np.sqrt(0.999 ** np.arange(199, -1, -1)) / 0.1
    seed = np.array(DEFAULT_STEP_TIME)
    rows = np.concatenate((batches * (weights / seconds)[:, None], np.diag(1 / (0.5 * seed))))
    best, *_ = np.linalg.lstsq(rows, np.concatenate((weights, np.full(4, 2.0))), rcond=None)
    assert np.array(fit.line) == pytest.approx(best, rel=1e-6)


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1e5), st.floats(0, 4096), st.floats(0, 1e7),
            st.floats(allow_nan=True, allow_infinity=True),
        ),
        max_size=60,
    )
)  # fmt: skip
def test_nonsense_never_makes_a_step_negative_or_unknown(steps: list[tuple[float, float, float, float]]) -> None:
    fit = OnlineStepTime()
    for prefill, sequences, context, seconds in steps:
        fit.observe(prefill_tokens=prefill, sequences=sequences, context_tokens=context, seconds=seconds)
    line = fit.line
    assert line.base > 0
    assert min(line.prefill_token, line.sequence, line.context_token) >= 0
    assert np.isfinite([line.base, line.prefill_token, line.sequence, line.context_token]).all()

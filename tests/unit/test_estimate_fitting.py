"""A step-time profile fitted to the times of steps: it gives back the coefficients that the times were made with."""

from __future__ import annotations

import math
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andante.domain.step_time import StepTimeCoefficients
from andante.estimate.fitting import fit, microseconds
from andante.estimate.steps import Step, grid
from andante.profiles import load_profiles

STEPS = grid(kv_capacity_tokens=400_000, max_num_seqs=1024, max_num_batched_tokens=8192)
SHIPPED = load_profiles()


def _fitted(coefficients: StepTimeCoefficients) -> StepTimeCoefficients:
    return fit(STEPS, [1e-6 * microseconds(coefficients, step) for step in STEPS]).coefficients


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_profiles_are_found_again(name: str) -> None:
    wanted = SHIPPED[name].coefficients
    assert asdict(_fitted(wanted)) == pytest.approx(asdict(wanted), rel=1e-3, abs=1e-3)


@settings(max_examples=25, deadline=None)
@given(
    st.builds(
        StepTimeCoefficients,
        fixed_us=st.floats(100, 30_000),
        prefill_step_us=st.floats(0, 5_000),
        weight_floor_us=st.floats(0, 40_000),
        token_us=st.floats(1, 300),
        pair_us=st.floats(0, 0.01),
        decode_seq_us=st.floats(0, 30),
        context_token_us=st.floats(0, 0.5),
    )
)
def test_any_profile_s_step_times_are_found_again(wanted: StepTimeCoefficients) -> None:
    found = _fitted(wanted)
    for step in STEPS[::37]:
        assert microseconds(found, step) == pytest.approx(microseconds(wanted, step), rel=2e-3)


def test_times_that_no_profile_has_leave_an_error() -> None:
    coefficients = SHIPPED["llama-3-8b-1xh100"].coefficients
    times = [1e-6 * microseconds(coefficients, step) * (1.1 if at % 2 else 0.9) for at, step in enumerate(STEPS)]
    found = fit(STEPS, times)
    assert 0.08 < found.all_steps.median < 0.12
    assert found.all_steps.median <= found.all_steps.p95


@pytest.mark.parametrize(
    ("steps", "seconds", "why"),
    [
        (STEPS[:2], [1.0], "each step needs a finite time > 0"),
        (STEPS[:2], [1.0, 0.0], "each step needs a finite time > 0"),
        (STEPS[:2], [1.0, math.nan], "each step needs a finite time > 0"),
        ([Step(decode_seqs=1, context=8)], [1.0], "steps with and without prefill are needed"),
        ([Step(prefill_tokens=8)], [1.0], "steps with and without prefill are needed"),
    ],
)
def test_times_that_cannot_be_fitted_are_refused(steps: list[Step], seconds: list[float], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        fit(steps, seconds)


@given(st.integers(200, 10**6), st.integers(1, 1024), st.integers(64, 16_384))
def test_the_grid_keeps_the_engine_s_limits(kv: int, seqs: int, tokens: int) -> None:
    steps = grid(kv_capacity_tokens=kv, max_num_seqs=seqs, max_num_batched_tokens=tokens)
    assert len(set(steps)) == len(steps)
    assert any(step.prefill_tokens for step in steps)
    assert any(not step.prefill_tokens for step in steps)
    for step in steps:
        assert 0 < step.tokens <= tokens
        assert step.sequences <= seqs
        assert step.kv_tokens <= kv

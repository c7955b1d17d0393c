"""The step-time model: the formula of the profiles, and what must hold for any coefficients."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.domain.step_time import StepTimeCoefficients, prefill_pairs

MICROSECONDS = st.floats(min_value=0, max_value=1e5)
COEFFICIENTS = st.builds(
    StepTimeCoefficients,
    fixed_us=MICROSECONDS,
    prefill_step_us=MICROSECONDS,
    weight_floor_us=MICROSECONDS,
    token_us=MICROSECONDS,
    pair_us=MICROSECONDS,
    decode_seq_us=MICROSECONDS,
    context_token_us=MICROSECONDS,
)
H100_8B = StepTimeCoefficients(
    fixed_us=2413.0,
    prefill_step_us=561.5,
    weight_floor_us=4382.0,
    token_us=19.21,
    pair_us=0.001052,
    decode_seq_us=8.724,
    context_token_us=0.04256,
)


def test_one_decoding_sequence_pays_for_the_weights() -> None:
    seconds = H100_8B.step_seconds(prefill_tokens=0, prefill_pairs=0, decode_seqs=1, context_tokens=256)
    assert seconds == pytest.approx((2413.0 + 4382.0 + 8.724 + 0.04256 * 256) * 1e-6)


def test_a_long_prefill_is_bound_by_compute() -> None:
    pairs = prefill_pairs(tokens=2048)
    seconds = H100_8B.step_seconds(prefill_tokens=2048, prefill_pairs=pairs, decode_seqs=0, context_tokens=0)
    assert seconds == pytest.approx((2413.0 + 561.5 + 19.21 * 2048 + 0.001052 * pairs) * 1e-6)


def test_draft_tokens_cost_matrix_products_where_compute_binds_and_nothing_below() -> None:
    def seconds(sequences: int, drafts: int) -> float:
        return H100_8B.step_seconds(
            prefill_tokens=0, prefill_pairs=0, decode_seqs=sequences, context_tokens=256, draft_tokens=drafts
        )

    assert seconds(2, 6) == seconds(2, 0)
    assert seconds(500, 1500) - seconds(500, 500) == pytest.approx(1000 * 1e-6 * H100_8B.token_us)


def test_an_empty_step_takes_no_time() -> None:
    assert H100_8B.step_seconds(prefill_tokens=0, prefill_pairs=0, decode_seqs=0, context_tokens=0) == 0


@given(tokens=st.integers(0, 500), offset=st.integers(0, 500))
def test_pairs_are_what_each_query_can_see(tokens: int, offset: int) -> None:
    assert prefill_pairs(tokens=tokens, offset=offset) == sum(offset + k for k in range(1, tokens + 1))


@given(total=st.integers(1, 300), cut=st.integers(0, 300))
def test_chunks_have_the_pairs_of_the_whole(total: int, cut: int) -> None:
    first = min(cut, total)
    chunks = prefill_pairs(tokens=first) + prefill_pairs(tokens=total - first, offset=first)
    assert chunks == prefill_pairs(tokens=total)


@given(COEFFICIENTS, st.integers(0, 4096), st.integers(0, 256), st.integers(0, 100_000), st.integers(0, 256))
def test_more_work_never_takes_less_time(
    coefficients: StepTimeCoefficients, prefill: int, decode: int, context: int, more: int
) -> None:
    def seconds(prefill_tokens: int, decode_seqs: int) -> float:
        return coefficients.step_seconds(
            prefill_tokens=prefill_tokens,
            prefill_pairs=prefill_pairs(tokens=prefill_tokens),
            decode_seqs=decode_seqs,
            context_tokens=context,
        )

    assert seconds(prefill + more, decode) >= seconds(prefill, decode)
    assert seconds(prefill, decode + more) >= seconds(prefill, decode)


@given(COEFFICIENTS, st.floats(0.01, 100))
def test_a_scaled_gpu_is_slower_by_the_factor(coefficients: StepTimeCoefficients, factor: float) -> None:
    step = {"prefill_tokens": 100, "prefill_pairs": 5050, "decode_seqs": 7, "context_tokens": 900}
    assert coefficients.scaled(factor).step_seconds(**step) == pytest.approx(coefficients.step_seconds(**step) * factor)


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_a_bad_coefficient_is_named(bad: float) -> None:
    with pytest.raises(ValueError, match="token_us"):
        StepTimeCoefficients(
            fixed_us=0,
            prefill_step_us=0,
            weight_floor_us=0,
            token_us=bad,
            pair_us=0,
            decode_seq_us=0,
            context_token_us=0,
        )


@pytest.mark.parametrize("factor", [0.0, -2.0, math.nan])
def test_a_bad_scale_is_refused(factor: float) -> None:
    with pytest.raises(ValueError, match="factor"):
        H100_8B.scaled(factor)

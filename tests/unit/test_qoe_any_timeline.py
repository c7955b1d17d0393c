"""What holds for QoE on any timeline."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from andante.domain.qoe import QoEScore, QoEState, due_tokens, score_timeline

seconds = st.floats(min_value=0, max_value=1000)
ttfts = st.floats(min_value=0, max_value=60)
paces = st.floats(min_value=0.1, max_value=200)


@st.composite
def timelines(draw: st.DrawFn, *, min_size: int = 0) -> list[float]:
    return sorted(draw(st.lists(seconds, min_size=min_size, max_size=60)))


def feed(delivery: list[float], *, ttft: float, pace: float) -> QoEState:
    state = QoEState(expected_ttft=ttft, pace=pace)
    for at in delivery:
        state.deliver(at)
    return state


def by_definition(delivery: list[float], *, ttft: float, pace: float) -> tuple[float, float]:
    """QoE and S_delay by the recursion of the definition, token by token."""
    area, actual = 0.0, -np.inf
    for i, at in enumerate(delivery):
        actual = max(at, ttft, actual + 1 / pace)
        area += actual - (ttft + i / pace)
    n = len(delivery)
    reading = n * (n + 1) / (2 * pace)
    return reading / (reading + area), area


@given(timelines(), ttfts, paces)
def test_scores_stay_in_the_unit_interval(delivery: list[float], ttft: float, pace: float) -> None:
    score = score_timeline(delivery, expected_ttft=ttft, pace=pace)
    assert 0 <= score.qoe <= 1
    assert 0 <= score.andes_qoe <= 1


@given(timelines(min_size=1), ttfts, paces)
def test_equals_the_recursion_of_the_definition(delivery: list[float], ttft: float, pace: float) -> None:
    qoe, area = by_definition(delivery, ttft=ttft, pace=pace)
    state = feed(delivery, ttft=ttft, pace=pace)
    assert state.qoe() == pytest.approx(qoe, abs=1e-9)
    assert state.delay_area == pytest.approx(area, rel=1e-9, abs=1e-7)


@given(timelines(), ttfts, paces)
def test_incremental_equals_batch(delivery: list[float], ttft: float, pace: float) -> None:
    batch = score_timeline(delivery, expected_ttft=ttft, pace=pace)
    streamed = feed(delivery, ttft=ttft, pace=pace).score()
    assert streamed.qoe == pytest.approx(batch.qoe, abs=1e-9)
    assert streamed.andes_qoe == pytest.approx(batch.andes_qoe, abs=1e-9)
    assert streamed.mean_delay == pytest.approx(batch.mean_delay, rel=1e-9, abs=1e-9)


@given(st.lists(st.tuples(seconds, st.integers(1, 5)), min_size=1, max_size=30), ttfts, paces)
def test_tokens_handed_over_together_count_like_one_by_one(
    batches: list[tuple[float, int]], ttft: float, pace: float
) -> None:
    together = QoEState(expected_ttft=ttft, pace=pace)
    for at, tokens in sorted(batches):
        together.deliver(at, tokens)
    alone = feed([at for at, tokens in sorted(batches) for _ in range(tokens)], ttft=ttft, pace=pace)
    assert together.qoe() == pytest.approx(alone.qoe(), abs=1e-9)
    assert together.delivered_tokens == alone.delivered_tokens


@given(timelines(min_size=1), ttfts, paces, st.data())
def test_a_later_token_never_raises_it(delivery: list[float], ttft: float, pace: float, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(delivery) - 1))
    later = list(delivery)
    later[index] += data.draw(st.floats(0, 1000))
    later = np.maximum.accumulate(later).tolist()
    before = score_timeline(delivery, expected_ttft=ttft, pace=pace).qoe
    assert score_timeline(later, expected_ttft=ttft, pace=pace).qoe <= before + 1e-12


@given(timelines(min_size=1), ttfts, paces, st.data())
def test_how_early_a_token_is_does_not_matter(
    delivery: list[float], ttft: float, pace: float, data: st.DataObject
) -> None:
    ideal = (ttft + np.arange(len(delivery)) / pace).tolist()
    share = data.draw(st.floats(0, 1))
    early = [at if at > due else at * share for at, due in zip(delivery, ideal, strict=True)]
    assume(early == sorted(early))
    before: QoEScore = score_timeline(delivery, expected_ttft=ttft, pace=pace)
    assert score_timeline(early, expected_ttft=ttft, pace=pace).qoe == pytest.approx(before.qoe, abs=1e-12)


@given(timelines(min_size=1), ttfts, paces, st.floats(0, 100))
def test_only_times_relative_to_the_expectation_matter(
    delivery: list[float], ttft: float, pace: float, shift: float
) -> None:
    moved = score_timeline(np.array(delivery) + shift, expected_ttft=ttft + shift, pace=pace)
    assert moved.qoe == pytest.approx(score_timeline(delivery, expected_ttft=ttft, pace=pace).qoe, abs=1e-9)


@given(timelines(min_size=1), ttfts, paces, st.floats(0.01, 100))
def test_the_unit_of_time_does_not_matter(delivery: list[float], ttft: float, pace: float, unit: float) -> None:
    scaled = score_timeline(np.array(delivery) * unit, expected_ttft=ttft * unit, pace=pace / unit)
    assert scaled.qoe == pytest.approx(score_timeline(delivery, expected_ttft=ttft, pace=pace).qoe, abs=1e-9)


@given(st.integers(1, 200), st.floats(0, 500), paces)
def test_a_response_late_as_a_whole_agrees_with_andes(n: int, late: float, pace: float) -> None:
    """Up to one token's reading time in the normaliser."""
    score = score_timeline(1 + late + np.arange(n) / pace, expected_ttft=1, pace=pace)
    span = n * (n - 1) / (2 * pace)
    expected = span / (span + n * late) if span + n * late > 0 else 1.0
    assert score.andes_qoe == pytest.approx(expected if n > 1 else 1 / (1 + late * pace), abs=1e-7)
    assert score.qoe >= score.andes_qoe - 1e-9


@given(timelines(), ttfts, paces, st.floats(0, 500))
def test_open_form_by_definition(delivery: list[float], ttft: float, pace: float, wait: float) -> None:
    state = feed(delivery, ttft=ttft, pace=pace)
    now = (delivery[-1] if delivery else 0.0) + wait
    n = len(delivery)
    ideal = ttft + np.arange(max(n, int((now + 1) * pace) + 2)) / pace
    m = max(n, int(np.sum(ideal <= now)))
    area = state.delay_area + float(np.sum(now - ideal[n:m]))
    reading = m * (m + 1) / (2 * pace)
    expected = reading / (reading + area) if m else 1.0
    assert state.open_qoe(now) == pytest.approx(expected, abs=1e-9)
    assert state.open_mean_delay(now) == pytest.approx(area / m if m else 0.0, rel=1e-7, abs=1e-7)


@given(timelines(min_size=1), ttfts, paces)
def test_open_form_of_a_known_length_runs_into_the_ended_form(delivery: list[float], ttft: float, pace: float) -> None:
    state = feed(delivery, ttft=ttft, pace=pace)
    end, n = delivery[-1], len(delivery)
    assert state.open_qoe(end, length=n) == state.qoe()
    assert state.open_andes_qoe(end, length=n) == state.andes_qoe()
    assert state.open_mean_delay(end, length=n) == state.mean_delay()


@given(timelines(min_size=1), ttfts, paces)
def test_open_form_of_an_unknown_length_runs_into_the_ended_form_where_no_due_token_is_missing(
    delivery: list[float], ttft: float, pace: float
) -> None:
    end = delivery[-1]
    state = feed(delivery, ttft=ttft, pace=pace)
    missing = due_tokens(end, expected_ttft=ttft, pace=pace) - len(delivery)
    if missing > 0:
        state.deliver(end, missing)
    assert state.open_qoe(end) == state.qoe()
    assert state.open_andes_qoe(end) == state.andes_qoe()


@given(timelines(min_size=1), ttfts, paces, st.floats(0, 500))
def test_the_last_token_changes_nothing_when_no_earlier_lag_outweighs_it(
    delivery: list[float], ttft: float, pace: float, wait: float
) -> None:
    """From the left too: just before its last token a request of known length scores as it does just after."""
    state = feed(delivery, ttft=ttft, pace=pace)
    n = len(delivery) + 1
    last = max(delivery[-1], ttft + (n - 1) / pace + state.lag) + wait
    before = state.open_qoe(last, length=n)
    state.deliver(last)
    assert state.qoe() == pytest.approx(before, abs=1e-9)


@given(timelines(), ttfts, paces, st.integers(1, 400))
def test_delay_is_continuous_where_a_token_falls_due(
    delivery: list[float], ttft: float, pace: float, further: int
) -> None:
    """A token that has just fallen due adds no delay yet."""
    state = feed(delivery, ttft=ttft, pace=pace)
    # One that falls due after the last delivery.
    token = due_tokens(delivery[-1] + 2e-6 if delivery else 0.0, expected_ttft=ttft, pace=pace) + further
    due = ttft + (token - 1) / pace

    def area(now: float) -> float:
        m = max(state.delivered_tokens, due_tokens(now, expected_ttft=ttft, pace=pace))
        return state.open_mean_delay(now) * m

    before = max(due - 1e-6, 0.0)
    assert area(due + 1e-6) - area(before) <= 2e-6 * (token + 1) + 1e-7


@given(timelines(), ttfts, paces, st.floats(0, 500))
def test_open_scores_stay_in_the_unit_interval(delivery: list[float], ttft: float, pace: float, wait: float) -> None:
    state = feed(delivery, ttft=ttft, pace=pace)
    now = (delivery[-1] if delivery else 0.0) + wait
    assert 0 <= state.open_qoe(now) <= 1
    assert 0 <= state.open_andes_qoe(now) <= 1


@given(ttfts, paces, st.floats(0, 1))
def test_open_request_is_perfect_until_its_first_token_is_due(ttft: float, pace: float, share: float) -> None:
    assert QoEState(expected_ttft=ttft, pace=pace).open_qoe(ttft * share) == 1.0


@given(st.integers(0, 10_000), ttfts, paces)
def test_a_token_is_due_at_its_own_due_time(before: int, ttft: float, pace: float) -> None:
    assert due_tokens(ttft + before / pace, expected_ttft=ttft, pace=pace) >= before + 1

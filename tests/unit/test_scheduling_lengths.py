"""The expected rest of an answer, learned per class."""

from __future__ import annotations

import numpy as np
import pytest

from andante.domain.scheduling.lengths import LengthEstimator


def test_it_learns_each_class_apart() -> None:
    estimator, random = LengthEstimator(2), np.random.default_rng(1)
    for _ in range(2000):
        estimator.ended(class_index=0, tokens=int(random.uniform(20, 40)))
        estimator.ended(class_index=1, tokens=int(random.uniform(800, 1200)))
    rest = estimator.remaining(class_index=np.array([0, 1]), delivered=np.zeros(2), longest=np.full(2, np.inf))
    assert rest[0] == pytest.approx(30, rel=0.3)
    assert rest[1] == pytest.approx(1000, rel=0.2)


def test_there_is_always_a_token_to_come() -> None:
    estimator = LengthEstimator(1)
    delivered = np.array([0.0, 1.0, 50.0, 1e4, 1e6])
    rest = estimator.remaining(class_index=np.zeros(5, dtype=np.int64), delivered=delivered, longest=np.full(5, 1e6))
    assert (rest >= 1).all()


def test_no_more_is_to_come_than_may_come() -> None:
    rest = LengthEstimator(1).remaining(
        class_index=np.zeros(1, dtype=np.int64), delivered=np.array([5.0]), longest=np.array([12.0])
    )
    assert rest.tolist() == [7.0]


def test_answers_that_were_cut_say_that_they_would_have_been_longer() -> None:
    """Half of all answers have 20 tokens, half 400, of which a limit cuts half at 100."""
    expected = []
    for cut_at in (400, 100):
        lengths = LengthEstimator(1)
        for number in range(4000):
            long, limited = number % 2 == 1, number % 4 == 1
            tokens = min(400 if long else 20, cut_at if limited else 400)
            lengths.ended(class_index=0, tokens=tokens, cut=long and tokens < 400)
        one = np.zeros(1, dtype=np.int64)
        expected.append(float(lengths.remaining(class_index=one, delivered=np.zeros(1), longest=np.full(1, 1e5))[0]))
    assert expected[1] == pytest.approx(expected[0], rel=0.05)


def test_a_cut_answer_longer_than_all_that_were_seen_counts_as_it_is() -> None:
    lengths = LengthEstimator(1)
    for _ in range(20_000):
        lengths.ended(class_index=0, tokens=5)
    for _ in range(100):
        lengths.ended(class_index=0, tokens=60_000, cut=True)
    one = np.zeros(1, dtype=np.int64)
    rest = lengths.remaining(class_index=one, delivered=np.full(1, 5000.0), longest=np.full(1, 1e6))
    assert np.isfinite(rest).all()
    assert rest[0] > 10_000

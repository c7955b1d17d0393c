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

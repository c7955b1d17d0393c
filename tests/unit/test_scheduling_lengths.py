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
    rest = estimator.remaining(class_index=np.array([0, 1]), delivered=np.zeros(2))
    assert rest[0] == pytest.approx(30, rel=0.3)
    assert rest[1] == pytest.approx(1000, rel=0.2)


def test_there_is_always_a_token_to_come() -> None:
    estimator = LengthEstimator(1)
    delivered = np.array([0.0, 1.0, 50.0, 1e4, 1e6])
    assert (estimator.remaining(class_index=np.zeros(5, dtype=np.int64), delivered=delivered) >= 1).all()

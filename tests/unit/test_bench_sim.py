"""What the simulator's benchmark calls load 1.0, and its headline when parts were left out."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.bench_sim import headline_of
from benchmarks.middle_rate import middle_rate


def test_the_rate_is_that_of_the_full_batch_not_of_its_start_and_end() -> None:
    full = 10.0 + np.arange(1000) / 20
    rising, falling = np.array([5.0, 8.0]), np.array([100.0, 150.0, 200.0])
    assert middle_rate(np.concatenate([falling, rising, full])) == pytest.approx(20.0)


def test_a_part_that_was_left_out_is_not_in_the_headline() -> None:
    figures = {
        "replica_hour": {"seconds": 2.0, "requests": 10, "rss_mib": 100.0},
        "fleet_hours_1": {"seconds": 4.0, "requests": 20, "rss_mib": 100.0},
    }
    assert headline_of(figures) == {"replica_hour_seconds": 2.0}
    figures["fleet_hours_10"] = {"seconds": 41.0, "requests": 200, "rss_mib": 110.0}
    assert headline_of(figures) == {
        "replica_hour_seconds": 2.0, "rss_mib_10x_over_1x": 1.1, "seconds_per_request_10x_over_1x": 1.025
    }  # fmt: skip

"""The scores of a run in virtual time."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.scheduling.scoring import score_run
from benchmarks.scheduling.virtual_time import Run
from benchmarks.scheduling.workload import Workload

from andante.domain.pace import PRESETS


@pytest.mark.parametrize("last_starts", [10.0, 100.0])
def test_when_the_last_stream_starts_changes_only_the_throughput_to_its_end(last_starts: float) -> None:
    """95 tokens a second from the start, and five of one stream that comes last."""
    streams = (np.arange(1, 96) / 95, last_starts + np.arange(5.0))
    workload = Workload(
        arrival=np.array([2.0, 2.0]), prompt_tokens=np.array([10, 10]), output_tokens=np.array([95, 5]),
        class_of=np.array([0, 0]), classes=(PRESETS["reading"],), duration=3.0,
    )  # fmt: skip
    end = 2.0 + float(streams[1][-1])
    run = Run(
        delivery=streams, end=end, steps=100, preemptions=0, recomputed_tokens=0, busy_seconds=end,
        finish=np.array([3.0, end]), left=np.full(2, np.nan),
    )  # fmt: skip
    scores = score_run(workload, run)
    assert scores.throughput_to_95 == pytest.approx(95 / 3.0)
    assert scores.throughput == pytest.approx(100 / end)


def test_who_left_is_scored_as_the_meter_scores_a_clients_connection() -> None:
    """One reader left a second after the first token was due, one after 30 s without a token, one in a stall."""
    workload = Workload(
        arrival=np.zeros(3), prompt_tokens=np.full(3, 10), output_tokens=np.full(3, 100), class_of=np.zeros(3, int),
        classes=(PRESETS["reading"],), duration=1.0,
    )  # fmt: skip
    run = Run(
        delivery=(np.empty(0), np.empty(0), np.arange(1, 11) / 10), end=40.0, steps=10, preemptions=0,
        recomputed_tokens=0, busy_seconds=40.0, finish=np.array([2.0, 30.0, 40.0]), left=np.array([2.0, 30.0, 40.0]),
    )  # fmt: skip
    scores = score_run(workload, run)
    assert scores.share_left == 1.0
    assert scores.share_gave_up == pytest.approx(2 / 3)
    assert scores.mean_qoe == 0.0
    assert scores.share_good == 0.0
    assert scores.longest_wait == 30.0
    # The wait for the next token until each left: n - p (left - (1 + (n + 1) / p)).
    waits = (2.0 - 1 - 1 / 4.8, 30.0 - 1 - 1 / 4.8, 40.0 - 1 - 11 / 4.8)
    assert scores.smooth_goodput == pytest.approx((10 - 4.8 * sum(waits)) / 40.0)

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
        finish=np.array([3.0, end]),
    )  # fmt: skip
    scores = score_run(workload, run)
    assert scores.throughput_to_95 == pytest.approx(95 / 3.0)
    assert scores.throughput == pytest.approx(100 / end)

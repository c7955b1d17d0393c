"""The benchmark's replays of recorded traces."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.scheduling.replays import TRACES, replay
from benchmarks.scheduling.virtual_time import make_requests
from benchmarks.scheduling.workload import CHUNK

from andante.domain.pace import PRESETS


@pytest.mark.parametrize("name", TRACES)
def test_only_the_clock_of_a_trace_is_changed(name: str) -> None:
    slow, fast = (replay(name, rate=rate, qoe_class=PRESETS["reading"]) for rate in (1.0, 4.0))
    assert slow.requests / slow.duration == pytest.approx(1.0)
    assert slow.arrival / 4 == pytest.approx(fast.arrival)
    assert slow.arrival[0] == 0
    assert slow.arrival[-1] == pytest.approx(slow.duration)
    assert (np.diff(slow.arrival) >= 0).all()
    assert slow.prompt_tokens.tolist() == fast.prompt_tokens.tolist()


def test_prompts_of_equal_chunks_are_equal_and_no_others() -> None:
    workload = replay("mooncake", rate=1.0, qoe_class=PRESETS["reading"])
    assert workload.chunks is not None
    prompts = [request.prompt_token_ids or [] for request in make_requests(workload, hasher=None)]
    assert [len(prompt) for prompt in prompts] == workload.prompt_tokens.tolist()
    first = {}
    for prompt, chunks in zip(prompts, workload.chunks, strict=True):
        for place, name in enumerate(chunks):
            tokens = prompt[place * CHUNK : (place + 1) * CHUNK]
            assert len(set(tokens)) == 1
            assert first.setdefault(name, tokens[0]) == tokens[0]
    assert len(set(first.values())) == len(first)

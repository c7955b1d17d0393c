"""The benchmark's sessions: each prompt is what its reader and the engine said before, and something new."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from benchmarks.scheduling.sessions import LONGEST_SESSION, session_queue, session_workload
from benchmarks.scheduling.virtual_time import STOP_TOKEN, TOKEN, make_requests
from benchmarks.scheduling.workload import LENGTHS, Workload

from andante.domain.pace import PRESETS


def of_a_minute(seed: int = 1) -> Workload:
    return session_workload(
        rate=5.0, duration=60.0, lengths=LENGTHS["chat"], seed=seed, qoe_class=PRESETS["reading"]
    )  # fmt: skip


@pytest.mark.parametrize("workload", [of_a_minute(), session_queue(requests=200, lengths=LENGTHS["chat"], seed=1)])
def test_a_prompt_begins_with_all_that_was_said_before(workload: Workload) -> None:
    requests = make_requests(workload, hasher=None)
    assert workload.follows is not None
    turns = [(int(before), after) for after, before in enumerate(workload.follows) if before >= 0]
    assert turns
    for before, after in turns:
        said = [*requests[before].prompt_token_ids, *[TOKEN] * (int(workload.output_tokens[before]) - 1), STOP_TOKEN]
        assert requests[after].prompt_token_ids[: len(said)] == said
        assert len(requests[after].prompt_token_ids) == workload.prompt_tokens[after] > len(said)
        assert workload.arrival[after] >= workload.arrival[before]


def test_no_two_turns_have_the_same_turn_before_them() -> None:
    follows = of_a_minute().follows
    assert follows is not None
    known = np.sort(follows[follows >= 0])
    assert all(first < second for first, second in pairwise(known))


def test_sessions_are_under_way_from_the_first_second() -> None:
    counts = np.mean([np.histogram(of_a_minute(seed).arrival, bins=3)[0] for seed in range(20)], axis=0)
    assert counts == pytest.approx(counts.mean(), rel=0.15)


def test_no_session_outgrows_the_model() -> None:
    workload = of_a_minute()
    assert (workload.prompt_tokens + workload.output_tokens).max() <= LONGEST_SESSION

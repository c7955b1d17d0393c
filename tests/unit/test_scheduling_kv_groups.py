"""What requests take of a KV cache that several kinds of attention share."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.domain.scheduling.andes_policy import AndesPolicy
from andante.domain.scheduling.kv_groups import ONE_GROUP, kv_given_back, kv_held, kv_to_start
from andante.domain.scheduling.qoe_policy import QoEPolicy
from unit.scheduling_views import engine, requests

FULL, WINDOW, STATE, LARGE_BLOCKS = (
    [1.0, 0.0, np.inf, np.inf],
    [1.0, 0.0, 320.0, 160.0],
    [0.0, 32.0, 32.0, 32.0],
    [0.5, 0.0, np.inf, np.inf],
)
TOKENS, BLOCKS = st.integers(1, 5000), st.integers(0, 300)


@given(TOKENS, BLOCKS)
def test_with_full_attention_alone_it_is_the_tokens_that_are_shared_with_nobody(tokens: int, blocks: int) -> None:
    shared = min(16.0 * blocks, tokens // 16 * 16.0)
    assert kv_held(tokens - shared, ONE_GROUP) == tokens - shared
    assert kv_to_start(float(tokens), shared, 16, ONE_GROUP) == math.ceil(tokens / 16) * 16 - shared
    assert kv_given_back(float(tokens), shared, 16, ONE_GROUP) == tokens // 16 * 16 - shared


@pytest.mark.parametrize(
    ("tokens", "to_start", "held", "given_back"),
    [
        (20.0, 32 + 32 + 32 + 16, 20 + 20 + 32 + 10, 16 + 16 + 32 + 0),
        (1000.0, 1008 + 320 + 32 + 512, 1000 + 160 + 32 + 500, 992 + 160 + 32 + 496),
    ],
)
def test_every_kind_takes_blocks_of_its_own_up_to_its_bound(
    tokens: float, to_start: float, held: float, given_back: float
) -> None:
    groups = np.array([FULL, WINDOW, STATE, LARGE_BLOCKS])
    assert kv_to_start(tokens, 0.0, 16, groups) == to_start
    assert kv_held(tokens, groups) == held
    assert kv_given_back(tokens, 0.0, 16, groups) == given_back


@pytest.mark.parametrize("policy", [QoEPolicy, AndesPolicy])
@given(
    st.lists(st.integers(1, 2000), min_size=1, max_size=30), st.lists(st.sampled_from([WINDOW, STATE]), max_size=3),
    st.floats(0.0, 20_000.0),
)  # fmt: skip
def test_whoever_a_policy_lets_in_fits_with_all_kinds(
    policy: type[QoEPolicy] | type[AndesPolicy], contexts: list[int], more: list[list[float]], free: float
) -> None:
    groups = np.array([FULL, *more])
    waits = requests(len(contexts), context=[float(context) for context in contexts])
    view = engine(kv_free=free, kv_groups=groups)
    # Somebody else holds the rest, or an idle engine would try whatever comes first.
    runs = requests(
        1 + len(contexts), running=[True, *[False] * len(contexts)], context=[16.0, *waits.context], prefilling=False
    )
    plan = policy().decide(runs, view)
    admitted = plan.admit if plan is not None else np.arange(1, 1 + len(contexts))
    taken = sum(kv_to_start(runs.context[i] + 1, 0.0, 16, groups) for i in admitted)
    given = sum(kv_given_back(runs.context[i], 0.0, 16, groups) for i in (plan.preempt if plan is not None else ()))
    assert taken <= max(free + given, 0.0)

"""What the virtual GPU says under a grammar, and its log probabilities."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from andante_vllm.virtual_choice import Mask, allowed_token, logprob_rows

VOCABULARY = 96


def mask(*allowed: int) -> Mask:
    bits = np.zeros(VOCABULARY // 32, dtype=np.uint32)
    for token in allowed:
        bits[token >> 5] |= np.uint32(1) << np.uint32(token & 31)
    return bits.view(np.int32)


def test_the_end_comes_first_then_what_closes_then_the_script() -> None:
    stop, closing = {7}, (40, 63)
    assert allowed_token(20, mask(20, 7, 40), stop=stop, closing=closing) == 7
    assert allowed_token(20, mask(20, 40, 63), stop=stop, closing=closing) == 40
    assert allowed_token(20, mask(3, 20, 95), stop=stop, closing=closing) == 20
    assert allowed_token(20, mask(31, 32, 95), stop=stop, closing=closing) == 31


@given(st.sets(st.integers(0, VOCABULARY - 1), min_size=1), st.integers(0, 10_000))
def test_only_what_is_allowed_is_said(allowed: set[int], wanted: int) -> None:
    assert allowed_token(wanted, mask(*allowed), stop=(), closing=(500, 31)) in allowed


def test_each_request_gets_the_log_probabilities_that_it_asks_for() -> None:
    ids, values, ranks = logprob_rows([5, 0, None, 9], [2, 0, 1, (9, 4)])
    assert ids[0].tolist() == [5, 5, 0]
    assert values[0].tolist() == [0.0, 0.0, -9999.0]
    assert (ids[1][0], values[1][0]) == (0, 0.0)
    assert ids[3].tolist() == [9, 9, 4]
    assert values[3].tolist() == [0.0, 0.0, -9999.0]
    assert ranks.tolist() == [1, 1, 1, 1]


def test_where_nobody_asks_there_are_none() -> None:
    assert logprob_rows([1, 2], [None, None]) is None

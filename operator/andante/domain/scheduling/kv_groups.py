"""Computes the KV memory of tokens in a model with several kinds of attention, which take blocks from one pool.

Full attention takes one block for each `block_size` tokens. A sliding window takes at most the window, a recurrent
state the same for any length. Amounts are in tokens: every block of the pool counts `block_size` tokens. With full
attention only, the amount is the request's tokens.
"""

from __future__ import annotations

import math

import numpy as np

from andante.domain.compiled import Table, part

(PER_TOKEN, LEAST, MOST_STARTING, MOST_HELD, OF_A_GROUP) = range(5)
"""The columns of a table of KV cache groups, and their number.

`PER_TOKEN`: the amount for a token. `LEAST`: the least amount for a request. `MOST_STARTING`, `MOST_HELD`: the most
that a request takes at its start, and holds later; infinite without a limit.
"""

ONE_GROUP: Table = np.array([[1.0, 0.0, np.inf, np.inf]])
"""Full attention in all layers. The array is writable, as compiled code does not take read-only arrays."""


@part
def kv_held(own: float, groups: Table) -> float:
    """The amount that a request holds for `own` tokens that it does not share."""
    held = 0.0
    for group in range(groups.shape[0]):
        held += max(min(own * groups[group, PER_TOKEN], groups[group, MOST_HELD]), groups[group, LEAST])
    return held


@part
def kv_to_start(tokens: float, shared: float, block_size: int, groups: Table) -> float:
    """The free blocks, in tokens, that a request of `tokens` tokens takes at its start; whole blocks."""
    taken = 0.0
    for group in range(groups.shape[0]):
        per_token = groups[group, PER_TOKEN]
        own = math.ceil(tokens * per_token / block_size) * block_size - shared * per_token
        taken += max(min(own, groups[group, MOST_STARTING]), groups[group, LEAST])
    return taken


@part
def kv_given_back(tokens: float, shared: float, block_size: int, groups: Table) -> float:
    """The blocks, in tokens, that a request of `tokens` tokens frees at its end; only full blocks."""
    given = 0.0
    for group in range(groups.shape[0]):
        per_token = groups[group, PER_TOKEN]
        own = tokens * per_token // block_size * block_size - shared * per_token
        given += max(min(own, groups[group, MOST_HELD]), groups[group, LEAST])
    return given

"""How much KV tokens take where a model has several kinds of attention, each with blocks of its own from one pool.

Full attention takes a block for so many tokens. A sliding window takes no more than the window, a recurrent state the
same for any length. Amounts are in tokens of the engine's `block_size`: a block of the pool, whoever takes it, is that
many. With one kind of attention, full, they are the request's tokens.
"""

from __future__ import annotations

import math

import numpy as np

from andante.domain.compiled import Table, part

(PER_TOKEN, LEAST, MOST_STARTING, MOST_HELD, OF_A_GROUP) = range(5)
"""The columns of a table of KV cache groups, and how many there are.

`PER_TOKEN`: what a token takes. `LEAST`: what a request takes at least. `MOST_STARTING`, `MOST_HELD`: what it takes at
most when it starts, and what it holds at most later on; infinite where there is no bound.
"""

ONE_GROUP: Table = np.array([[1.0, 0.0, np.inf, np.inf]])
"""Full attention in all layers. Compiled code takes no array that may only be read."""


@part
def kv_held(own: float, groups: Table) -> float:
    """What a request holds for `own` tokens that it shares with nobody."""
    held = 0.0
    for group in range(groups.shape[0]):
        held += max(min(own * groups[group, PER_TOKEN], groups[group, MOST_HELD]), groups[group, LEAST])
    return held


@part
def kv_to_start(tokens: float, shared: float, block_size: int, groups: Table) -> float:
    """What a request of so many tokens takes of free blocks when it starts, in whole blocks."""
    taken = 0.0
    for group in range(groups.shape[0]):
        per_token = groups[group, PER_TOKEN]
        own = math.ceil(tokens * per_token / block_size) * block_size - shared * per_token
        taken += max(min(own, groups[group, MOST_STARTING]), groups[group, LEAST])
    return taken


@part
def kv_given_back(tokens: float, shared: float, block_size: int, groups: Table) -> float:
    """What a request of so many tokens gives back when it goes, in whole blocks, full ones only."""
    given = 0.0
    for group in range(groups.shape[0]):
        per_token = groups[group, PER_TOKEN]
        own = tokens * per_token // block_size * block_size - shared * per_token
        given += max(min(own, groups[group, MOST_HELD]), groups[group, LEAST])
    return given

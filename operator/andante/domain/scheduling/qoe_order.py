"""Orders waiting requests by value per cost: a part of the decision of `qoe_policy`. Compiled."""

from __future__ import annotations

import numpy as np

from andante.domain.compiled import Floats, Ints, part
from andante.domain.scheduling.qoe_numbers import AGEING_CREDIT
from andante.domain.scheduling.qoe_values import Bids
from andante.domain.scheduling.room import Room


@part
def keep_least(best: Ints, losses: Floats, kept: int, i: int, loss: float) -> int:
    """Insert `i` into the `kept` requests that lose least, if it belongs there; return their new number."""
    if kept == best.size and loss >= losses[kept - 1]:
        return kept
    place = min(kept, best.size - 1)
    while place > 0 and loss < losses[place - 1]:
        losses[place], best[place] = losses[place - 1], best[place - 1]
        place -= 1
    losses[place], best[place] = loss, i
    return min(kept + 1, best.size)


@part
def order_of(bids: Bids, waiting: Ints, room: Room, memory: Floats, at_most: int) -> Ints:
    """The best `at_most` waiting requests, best first; before all others the request of the ageing share.

    If steps are already too long, requests that are not worth a longer step come last.
    """
    best, losses, count = np.empty(min(at_most, waiting.size), dtype=np.int64), np.empty(waiting.size), 0
    # The view is in order of arrival: the first waiting request has waited longest.
    oldest = waiting[0] if memory[AGEING_CREDIT] > 0 else -1
    if oldest >= 0:
        bids.worth_it[oldest] = True
    too_long = room.step_seconds > room.step_cap
    for worthy in (True, False):
        if not worthy and not too_long:
            break
        kept = 0
        for i in waiting:
            if not too_long or bids.worth_it[i] == worthy:
                loss = -np.inf if i == oldest else bids.gain[i] / -bids.cost[i]
                if count < best.size:
                    kept = keep_least(best[count:], losses[count:], kept, i, loss)
        count += kept
    return best

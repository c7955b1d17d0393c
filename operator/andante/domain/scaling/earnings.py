"""Reckons what numbers of replicas would earn and cost, and finds the one that pays best: budget mode.

`n` replicas earn the value of the smooth tokens that they give: all that is expected, less what `loss(n)` takes away.
`law` asks once a tick where the user gives a value for tokens.
"""

from __future__ import annotations

import math
from bisect import bisect_left

from andante.domain.scaling.prices import Prices
from andante.domain.scaling.replay import MOST_MORE, Readers, Replay


def expected_loss(replay: Replay, readers: Readers, replicas: int, *, demand: float, capacity: float) -> float:
    """The share that `replicas` would lose. `demand`: replicas' worth of work that is expected; `capacity`: of one
    replica.

    Above the demand, what the replay says. Below it, the queue of the replay would grow for ever and delay all readers,
    but the scheduler of the engines serves those whom it can serve: the others are lost.
    """
    least = enough_for(demand, capacity)
    lost = replay.loss(max(replicas, least) * capacity, readers)
    return lost if replicas >= least else max(lost, 1 - replicas * capacity / demand)


def enough_for(demand: float, capacity: float) -> int:
    """The fewest replicas, at least one, that can do so much work."""
    return max(1, math.ceil(demand / capacity - 1e-9))


class Earnings:
    """What numbers of replicas earn and cost per hour."""

    def __init__(
        self,
        replay: Replay,
        readers: Readers,
        *,
        demand: float,
        capacity: float,
        tokens: float,
        prices: Prices,
    ) -> None:
        """`demand`, `capacity` as in `expected_loss`, whose `readers` count the mean QoE here. `tokens`: tokens/s of
        one replica's worth of work."""
        self._replay, self._readers, self._prices = replay, readers, prices
        self._demand, self._capacity = demand, capacity
        self._least = enough_for(demand, capacity)
        self._each = prices.worth(tokens)
        self._all = self._each * demand
        self._asked: list[int] = []
        self._losses: list[float] = []

    @property
    def price(self) -> float:
        """Price of one replica per hour."""
        return self._prices.replica

    def loss(self, replicas: int) -> float:
        """The share of the QoE that so many replicas would lose. It never increases with the replicas: what the replay
        leaves out as an episode that came once may be less with fewer."""
        if replicas < self._least:
            return max(self.loss(self._least), 1 - replicas * self._capacity / self._demand)
        place = bisect_left(self._asked, replicas)
        if place < len(self._asked) and self._asked[place] == replicas:
            return self._losses[place]
        most = self._losses[place - 1] if place else 1.0
        least = self._losses[place] if place < len(self._asked) else 0.0
        found = min(most, max(least, self._replay.loss(replicas * self._capacity, self._readers)))
        self._asked.insert(place, replicas)
        self._losses.insert(place, found)
        return found

    def value(self, replicas: int) -> float:
        """Value per hour of the smooth tokens of so many replicas."""
        return self._all * (1 - self.loss(replicas))

    def profit(self, replicas: int) -> float:
        """The value less the price, per hour."""
        return self.value(replicas) - self.price * replicas

    def best(self) -> int:
        """The fewest replicas, at least one, of those with the largest profit.

        Below the demand the loss is a line with one kink, so that the ends and the kink are enough. Above it, a range
        is halved as long as its fewest replicas without more loss than its end would be better than the best so far:
        about ten replays, and exact as the loss does not increase.
        """
        kink = self._demand * (1 - self.loss(self._least)) / self._capacity
        found = {1, self._least, *(min(self._least, max(1, near)) for near in (math.floor(kink), math.ceil(kink)))}
        best = max(sorted(found), key=self.profit)
        most = self._least + MOST_MORE
        if self._all <= 0:
            return best
        if self.price > 0:  # more would not pay if nothing at all were lost
            most = math.floor(min(most, (self._all - self.profit(best)) / self.price))
        if most <= self._least:
            return best
        ranges = [(self._least, most)]
        best = self._better(best, most)
        while ranges:
            low, high = ranges.pop()
            bound = self.value(high) - self.price * (low + 1)
            if high - low < 2 or bound < self.profit(best) or self.loss(low) == self.loss(high):
                continue
            middle = (low + high) // 2
            best = self._better(best, middle)
            ranges += [(middle, high), (low, middle)]
        return best

    def paying(self, work: float) -> int:
        """The most replicas of which the last one pays while so much work arrives, without a reserve."""
        if self._each * self._capacity < self.price or self._each * work <= self.price:
            return 0
        # The last one has what the others leave.
        left = work - self.price / self._each
        return math.floor(left / self._capacity) + 1

    def _better(self, one: int, other: int) -> int:
        return max(sorted((one, other)), key=self.profit)
